//! `[tls]`, `listener.tls` and `listener.certificates`: what fits together, and what is in their files.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::ServerName;

use super::node::existing_name;
use crate::config::given::{self, Given, Listener, ListenerProtocol};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::settings::{ListenerTls, UpstreamTls};
use crate::config::surroundings::{Invalid, Surroundings};
use crate::tls::{
    ClientAuth, ClientSettings, ClientTls, Held, Pair, Part, Roots, ServerSettings, TicketKeys, system_roots,
};

/// Bytes read of a file of ticket keys at most: three lines have some 200.
const TICKET_KEYS_BYTES_MAX: u64 = 4096;
/// Command that makes such a file, with what a stock Debian has.
const TICKET_KEYS_COMMAND: &str =
    "for k in 1 2 3; do od -An -v -tx1 -N32 /dev/urandom | tr -d ' \\n'; echo; done";

/// A listener's TLS; `None` where it speaks none, or there are problems.
pub fn listener(
    given: &Listener,
    path: &KeyPath,
    surroundings: &Surroundings,
    problems: &mut Problems<'_>,
) -> Option<ListenerTls> {
    let protocol = given.protocol.unwrap_or(ListenerProtocol::Http);
    if protocol != ListenerProtocol::Https {
        let fault = match protocol {
            ListenerProtocol::TlsPassthrough => "TLS is the endpoints': the listener passes it on",
            _ => "the listener speaks no TLS",
        };
        for (key, is_given) in [
            ("tls", given.tls.is_some()),
            ("certificates", given.certificates.is_some()),
        ] {
            if is_given {
                let remedy = "add protocol = \"https\", or remove this";
                problems.add(&path.key(key), fault, remedy);
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
        let file = |file: &Option<PathBuf>, key: &str, problems: &mut Problems<'_>| {
            existing_name(file.as_ref()?, &path.key(key), problems)
        };
        let cert_file = file(&certificate.cert_file, "cert_file", problems);
        let key_file = file(&certificate.key_file, "key_file", problems);
        let (Some(cert_file), Some(key_file)) = (cert_file, key_file) else {
            continue;
        };
        let held = match &certificate.acme_names {
            // What is wrong with what is there is mended by the next order.
            Some(names) => Some(match Pair::load(&cert_file, &key_file) {
                Ok(pair) => Held::Pair(pair),
                Err(_) => Held::Awaited(names.iter().map(|name| name.to_ascii_lowercase()).collect()),
            }),
            None => pair(&cert_file, &key_file, now, surroundings.invalid, &path, problems).map(Held::Pair),
        };
        if let Some(held) = held {
            pairs.push(held);
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
            problems.add(
                path,
                "nobody is named who may issue clients' certificates",
                remedy,
            );
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
                problems.add(
                    &path.key("cert_file"),
                    format!("{} {fault}", cert_file.display()),
                    remedy,
                );
                return None;
            }
            Some(pair)
        }
        Err(fault) => {
            let key = match fault.part {
                Part::Certificate => "cert_file",
                Part::Key => "key_file",
            };
            problems.add(
                &path.key(key),
                format!("{} {}", fault.file.display(), fault.fault),
                fault.remedy,
            );
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
    let make = format!(
        "make one with: ({TICKET_KEYS_COMMAND}) > {0} && chmod 600 {0}",
        file.display()
    );
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

/// Whose signature is trusted on certificates of others: those of a file, else those that the system trusts.
pub(super) fn roots(given: Option<&PathBuf>, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Roots> {
    let file = match given {
        Some(file) => Some(existing_name(file, path, problems)?),
        None => system_roots(),
    };
    let Some(file) = file else {
        let remedy = "write the path of a file with the authority of the certificates";
        problems.add(
            path,
            "this system has no file of authorities that it trusts",
            remedy,
        );
        return None;
    };
    Roots::load(&file)
        .map_err(|fault| {
            let text = format!("{} {}", file.display(), fault.fault);
            problems.add(path, text, fault.remedy);
        })
        .ok()
}

/// `upstream.tls`; `None` where it speaks none, or there are problems.
pub fn upstream(
    given: Option<&given::UpstreamTls>,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<UpstreamTls> {
    let given = given?;
    let roots = roots(given.ca_file.as_ref(), &path.key("ca_file"), problems);
    let name = given.server_name.as_ref().and_then(|name| {
        let parsed = ServerName::try_from(name.clone()).ok();
        if parsed.is_none() {
            let remedy = "write a host name or an address, without a port";
            problems.add(&path.key("server_name"), format!("\"{name}\" is no name"), remedy);
        }
        parsed
    });
    let own = match (&given.cert_file, &given.key_file) {
        (None, None) => None,
        (Some(cert_file), Some(key_file)) => {
            let cert_file = existing_name(cert_file, &path.key("cert_file"), problems)?;
            let key_file = existing_name(key_file, &path.key("key_file"), problems)?;
            let now = SystemTime::now();
            let pair = pair(&cert_file, &key_file, now, Invalid::Served, path, problems)?;
            Some((pair, (cert_file, key_file)))
        }
        (Some(_), None) => {
            problems.add(
                &path.key("key_file"),
                "the certificate's key is missing",
                "add key_file = \"…\"",
            );
            None
        }
        (None, Some(_)) => {
            problems.add(
                &path.key("cert_file"),
                "the key's certificate is missing",
                "add cert_file = \"…\"",
            );
            None
        }
    };
    let (pair, files) = own.unzip();
    let settings = ClientSettings {
        roots: roots?,
        name,
        pair,
    };
    match ClientTls::new(&settings) {
        Ok(client) => Some(UpstreamTls {
            client: Arc::new(client),
            files,
        }),
        Err(error) => {
            problems.add(path, format!("cannot be used: {error}"), "write other files");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::load::load_text;
    use crate::config::problem::Refused;
    use crate::config::settings::Settings;
    use crate::tls::MinVersion;
    use crate::tls::testing::{Authority, Folder};

    fn loaded(folder: &Folder, text: &str, invalid: Invalid) -> Result<Settings, Refused> {
        let surroundings = Surroundings {
            cores: 1,
            state_directory: "/state".into(),
            invalid,
        };
        load_text(&folder.path().join("t.toml"), text, &surroundings)
    }

    #[track_caller]
    fn check(folder: &Folder, text: &str, wanted: &[&str]) {
        let text = format!("[node]\nname='a'\n{text}");
        Refused::expect(loaded(folder, &text, Invalid::Refused), &text, wanted);
    }

    fn listener(protocol: &str, keys: &str) -> String {
        format!("[[listener]]\nname='web'\naddress='127.0.0.1:8443'\nprotocol='{protocol}'\n{keys}\n")
    }

    /// A folder with `a.pem`, `a.key`, `b.pem`, `b.key` and `ca.pem`.
    fn folder() -> (Folder, Authority) {
        let (folder, authority) = (Folder::new(), Authority::new("root"));
        folder.pair("a", &authority.issue(&["a.example"]));
        folder.pair("b", &authority.issue(&["b.example"]));
        folder.file("ca.pem", &authority.pem(), 0o644);
        (folder, authority)
    }

    const A: &str = "{cert_file='a.pem',key_file='a.key'}";
    const B: &str = "{cert_file='b.pem',key_file='b.key',default=true}";

    #[test]
    fn every_key_of_tls_reaches_the_settings() {
        let (folder, _) = folder();
        folder.file(
            "keys",
            &["01", "02", "03"].map(|key| key.repeat(32) + "\n").concat(),
            0o600,
        );
        let tls = "tls={min_version='1.3',client_auth='optional',client_ca_file='ca.pem',handshakes_max=7}";
        let text = format!(
            "[node]\nname='a'\n[tls]\nticket_keys_file='keys'\n{}",
            listener("https", &format!("certificates=[{A},{B}]\n{tls}"))
        );
        let settings = loaded(&folder, &text, Invalid::Refused).unwrap();
        assert_eq!(settings.ticket_keys.unwrap().1.current, [2; 32]);
        let tls = settings.listeners[0].tls.as_ref().unwrap();
        let server = &tls.server;
        assert_eq!(server.min_version, MinVersion::Tls13);
        assert_eq!(
            (server.client_auth, server.handshakes_max, server.default),
            (ClientAuth::Optional, 7, 1)
        );
        assert_eq!(server.client_roots.as_ref().unwrap().certificates.len(), 1);
        assert_eq!(server.pairs[1].names(), ["b.example"]);
        assert_eq!(tls.files[0].0, folder.path().join("a.pem"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        let (folder, authority) = folder();
        let https = |keys: &str| listener("https", keys);
        check(&folder, &https(&format!("certificates=[{A}]")), &[]);
        check(
            &folder,
            &https(""),
            &["certificates: a listener with TLS needs a certificate"],
        );
        check(
            &folder,
            &listener("http", &format!("certificates=[{A}]\ntls={{}}")),
            &[
                "tls: the listener speaks no TLS",
                "certificates: the listener speaks no TLS",
            ],
        );
        check(
            &folder,
            &https(&format!("certificates=[{A}]\ntls={{client_auth='required'}}")),
            &["client_ca_file: nobody is named"],
        );
        check(
            &folder,
            &https(&format!("certificates=[{A}]\ntls={{client_ca_file='ca.pem'}}")),
            &["client_ca_file: clients are asked for no certificate"],
        );
        check(
            &folder,
            &https(&format!("certificates=[{B},{B}]")),
            &["certificates[1].default: certificates[0] is the default already"],
        );
        check(
            &folder,
            &https(
                "certificates=[{cert_file='a.pem',key_file='b.key'},{cert_file='none.pem',key_file='a.key'}]",
            ),
            &["certificates[0].key_file: ", "certificates[1].cert_file: "],
        );
        check(
            &folder,
            &https("tls={min_version='1.1'}\ncertificates=[{}]"),
            &[
                "tls.min_version: ",
                "certificates[0].cert_file: ",
                "certificates[0].key_file: ",
            ],
        );
        let (day, now) = (Duration::from_secs(86_400), SystemTime::now());
        folder.pair(
            "old",
            &authority.issue_for(&["old.example"], now - 9 * day, now - 2 * day),
        );
        let old = https("certificates=[{cert_file='old.pem',key_file='old.key'}]");
        check(&folder, &old, &["certificates[0].cert_file: "]);
        let text = format!("[node]\nname='a'\n{old}");
        assert!(
            loaded(&folder, &text, Invalid::Served).is_ok(),
            "a node that starts by itself"
        );
    }

    #[test]
    fn tls_to_endpoints_wants_files_that_will_do() {
        let (folder, _) = folder();
        let upstream = |keys: &str, endpoint: &str| {
            format!(
                "{}[[upstream]]\nname='u'\nendpoints=[{{address='10.0.0.1:443'{endpoint}}}]\n{keys}\n",
                listener("http", "")
            )
        };
        let good = "tls={ca_file='ca.pem',server_name='u.internal',cert_file='a.pem',key_file='a.key'}";
        check(&folder, &upstream(good, ",channels=[{tls=false}]"), &[]);
        check(
            &folder,
            &upstream("tls={ca_file='none.pem',server_name='a b'}", ""),
            &["tls.ca_file: ", "tls.server_name: \"a b\" is no name"],
        );
        check(
            &folder,
            &upstream("tls={ca_file='ca.pem',cert_file='a.pem'}", ""),
            &["tls.key_file: the certificate's key is missing"],
        );
        check(
            &folder,
            &upstream("", ",channels=[{tls=true}]"),
            &["channels[0].tls: nothing says how TLS is spoken"],
        );
        check(
            &folder,
            &upstream(good, ",channels=[{tls=true}]"),
            &["channels[0]: it is the same way as one before it"],
        );
    }
}
