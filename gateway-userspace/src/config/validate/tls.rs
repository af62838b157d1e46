//! `[tls]`, `listener.tls` and `listener.certificates`: what fits together, and what is in their files.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::ServerName;

use super::node::existing_name;
use crate::config::given::{Given, Listener, ListenerProtocol, UpstreamTls};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::settings::ListenerTls;
use crate::config::surroundings::{Invalid, Surroundings};
use crate::tls::{ClientAuth, ClientSettings, ClientTls, Pair, Part, Roots, ServerSettings, TicketKeys, system_roots};

/// Bytes read of a file of ticket keys at most: three lines have some 200.
const TICKET_KEYS_BYTES_MAX: u64 = 4096;
/// Command that makes such a file, with what a stock Debian has.
const TICKET_KEYS_COMMAND: &str = "for k in 1 2 3; do od -An -v -tx1 -N32 /dev/urandom | tr -d ' \\n'; echo; done";

/// A listener's TLS; `None` where it speaks none, or there are problems.
pub fn listener(
    given: &Listener,
    path: &KeyPath,
    surroundings: &Surroundings,
    problems: &mut Problems<'_>,
) -> Option<ListenerTls> {
    if given.protocol.unwrap_or(ListenerProtocol::Http) != ListenerProtocol::Https {
        for (key, is_given) in [
            ("tls", given.tls.is_some()),
            ("certificates", given.certificates.is_some()),
        ] {
            if is_given {
                let remedy = "add protocol = \"https\", or remove this";
                problems.add(&path.key(key), "the listener speaks no TLS", remedy);
            }
        }
        return None;
    }
    let keys = given.tls.as_ref();
    let client_auth = keys.and_then(|keys| keys.client_auth).unwrap_or_default();
    let client_roots = client_roots(
        keys.and_then(|keys| keys.client_ca_file.as_ref()),
        client_auth,
        &path.key("tls").key("client_ca_file"),
        problems,
    );
    let path = path.key("certificates");
    let Some(certificates) = &given.certificates else {
        let remedy = "add certificates = [{ cert_file = \"…\", key_file = \"…\" }]";
        problems.add(&path, "a listener with TLS needs a certificate", remedy);
        return None;
    };
    let now = SystemTime::now();
    let (mut pairs, mut files, mut default) = (Vec::new(), Vec::new(), None);
    for (index, certificate) in certificates.iter().enumerate() {
        let path = path.index(index);
        if certificate.default == Some(true) {
            match default {
                None => default = Some(index),
                Some(first) => {
                    let fault = format!("certificates[{first}] is the default already");
                    problems.add(&path.key("default"), fault, "keep one of them");
                }
            }
        }
        let mut file = |file: &Option<PathBuf>, key: &str, problems: &mut Problems<'_>| {
            existing_name(file.as_ref()?, &path.key(key), problems)
        };
        let cert_file = file(&certificate.cert_file, "cert_file", problems);
        let key_file = file(&certificate.key_file, "key_file", problems);
        let (Some(cert_file), Some(key_file)) = (cert_file, key_file) else {
            continue;
        };
        if let Some(pair) = pair(&cert_file, &key_file, now, surroundings.invalid, &path, problems) {
            pairs.push(pair);
            files.push((cert_file, key_file));
        }
    }
    // Where one is missing, its problem is known.
    (pairs.len() == certificates.len() && !pairs.is_empty()).then(|| ListenerTls {
        server: ServerSettings {
            min_version: keys.and_then(|keys| keys.min_version).unwrap_or_default(),
            client_auth,
            client_roots,
            handshakes_max: keys
                .and_then(|keys| keys.handshakes_max)
                .unwrap_or(limits::HANDSHAKES_MAX),
            pairs,
            default: default.unwrap_or(0),
        },
        files,
    })
}

fn client_roots(
    file: Option<&PathBuf>,
    client_auth: ClientAuth,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<Roots> {
    let Some(file) = file else {
        if client_auth != ClientAuth::None {
            let remedy = "add client_ca_file = \"…\", or write client_auth = \"none\"";
            problems.add(path, "nobody is named who may issue clients' certificates", remedy);
        }
        return None;
    };
    if client_auth == ClientAuth::None {
        let remedy = "add client_auth = \"required\" or \"optional\", or remove this";
        problems.add(path, "clients are asked for no certificate", remedy);
    }
    let file = existing_name(file, path, problems)?;
    match Roots::load(&file) {
        Ok(roots) => Some(roots),
        Err(fault) => {
            problems.add(path, format!("{} {}", file.display(), fault.fault), fault.remedy);
            None
        }
    }
}

fn pair(
    cert_file: &Path,
    key_file: &Path,
    now: SystemTime,
    invalid: Invalid,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<Pair> {
    match Pair::load(cert_file, key_file) {
        Ok(pair) => {
            if invalid == Invalid::Refused
                && let Err(fault) = pair.facts.check(now)
            {
                let remedy = "put a certificate there that is valid now";
                problems.add(&path.key("cert_file"), format!("{} {fault}", cert_file.display()), remedy);
                return None;
            }
            Some(pair)
        }
        Err(fault) => {
            let key = match fault.part {
                Part::Certificate => "cert_file",
                Part::Key => "key_file",
            };
            problems.add(&path.key(key), format!("{} {}", fault.file.display(), fault.fault), fault.remedy);
            None
        }
    }
}

/// `tls.ticket_keys_file`.
pub fn ticket_keys(given: &Given, problems: &mut Problems<'_>) -> Option<(PathBuf, TicketKeys)> {
    let path = KeyPath::top("tls").key("ticket_keys_file");
    let file = given.tls.as_ref()?.ticket_keys_file.as_ref()?;
    let file = existing_name(file, &path, problems)?;
    match read_ticket_keys(&file) {
        Ok(keys) => Some((file, keys)),
        Err((fault, remedy)) => {
            problems.add(&path, format!("{} {fault}", file.display()), remedy);
            None
        }
    }
}

/// Reads ticket keys; what is wrong, and what helps. The texts hold none of them.
///
/// # Errors
/// The file cannot be read, others may read it, or it holds no three keys.
pub fn read_ticket_keys(file: &Path) -> Result<TicketKeys, (String, String)> {
    let make = format!("make one with: ({TICKET_KEYS_COMMAND}) > {0} && chmod 600 {0}", file.display());
    let unreadable = |error: std::io::Error| (format!("cannot be read: {error}"), make.clone());
    let opened = fs::File::open(file).map_err(unreadable)?;
    let mode = opened.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        let remedy = format!("take the keys from others with: chmod o= {}", file.display());
        return Err((
            format!("has mode {mode:04o}: every user of this machine may read sessions"),
            remedy,
        ));
    }
    let mut text = String::new();
    opened
        .take(TICKET_KEYS_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    TicketKeys::parse(&text).map_err(|error| (error.to_string(), make))
}

/// `upstream.tls`; `None` where it speaks none, or there are problems.
pub fn upstream(
    given: Option<&UpstreamTls>,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<Arc<ClientTls>> {
    let given = given?;
    let roots = match &given.ca_file {
        Some(file) => Some(existing_name(file, &path.key("ca_file"), problems)?),
        None => system_roots(),
    };
    let Some(roots) = roots else {
        let remedy = "add ca_file = \"…\" with the authority of the endpoints' certificates";
        problems.add(&path.key("ca_file"), "this system has no file of authorities that it trusts", remedy);
        return None;
    };
    let roots = Roots::load(&roots)
        .map_err(|fault| {
            let text = format!("{} {}", roots.display(), fault.fault);
            problems.add(&path.key("ca_file"), text, fault.remedy);
        })
        .ok();
    let name = given.server_name.as_ref().and_then(|name| {
        let parsed = ServerName::try_from(name.clone()).ok();
        if parsed.is_none() {
            let remedy = "write a host name or an address, without a port";
            problems.add(&path.key("server_name"), format!("\"{name}\" is no name"), remedy);
        }
        parsed
    });
    let pair = match (&given.cert_file, &given.key_file) {
        (None, None) => None,
        (Some(cert_file), Some(key_file)) => {
            let cert_file = existing_name(cert_file, &path.key("cert_file"), problems)?;
            let key_file = existing_name(key_file, &path.key("key_file"), problems)?;
            Some(pair(&cert_file, &key_file, SystemTime::now(), Invalid::Served, path, problems)?)
        }
        (Some(_), None) => {
            problems.add(&path.key("key_file"), "the certificate's key is missing", "add key_file = \"…\"");
            None
        }
        (None, Some(_)) => {
            problems.add(&path.key("cert_file"), "the key's certificate is missing", "add cert_file = \"…\"");
            None
        }
    };
    let settings = ClientSettings {
        roots: roots?,
        name,
        pair,
    };
    match ClientTls::new(&settings) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(error) => {
            problems.add(path, format!("cannot be used: {error}"), "write other files");
            None
        }
    }
}
