//! `[acme]`, and the certificates of listeners that ask for it.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::Uri;

use super::node::existing_name;
use super::patterns;
use super::tls::roots;
use crate::acme::{AccountKey, Binding, Settings, Wanted};
use crate::config::given::{self, Given, Time};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::settings::ListenerSettings;
use crate::config::snapshot::Carries;
use crate::config::surroundings::Surroundings;
use crate::tls::{ClientSettings, ClientTls};

/// First orders of the nodes of a cluster are spread over so long: an order takes some seconds.
const CLUSTER_SPREAD: Duration = Duration::from_secs(60);
/// Bytes of a binding's key at most, as text.
const BINDING_BYTES_MAX: u64 = 4_096;
/// Bytes of a binding's key at least: HMAC with SHA-256 wants as many as a digest has, and authorities give as many or more.
const BINDING_KEY_BYTES_MIN: usize = 16;

/// Base64url, padded or not.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is to be had by ACME; `None` where nothing is, or there are problems.
pub fn acme(
    given: &Given,
    listeners: &[ListenerSettings],
    surroundings: &Surroundings,
    problems: &mut Problems<'_>,
) -> Option<Settings> {
    let path = KeyPath::top("acme");
    let wanted = wanted(given, problems);
    let acme = given.acme.as_ref()?;
    let asks = |listener: &given::Listener| {
        let mut certificates = listener.certificates.iter().flatten();
        certificates.any(|certificate| certificate.acme_names.is_some())
    };
    if !given.listener.iter().flatten().any(asks) {
        let remedy = "add acme_names = [\"…\"] to a certificate of a listener, or remove this table";
        problems.add(&path, "no certificate is had by it", remedy);
    }
    // Of a listener with a problem it is not known what it would do.
    let is_plain =
        |listener: &ListenerSettings| listener.carries == Carries::Requests && listener.tls.is_none();
    if !problems.is_known_below(&KeyPath::top("listener")) && !listeners.iter().any(is_plain) {
        let remedy =
            "add a [[listener]] with protocol = \"http\" on port 80, where the authority asks for each name";
        problems.add(&path, "no listener can answer the authority", remedy);
    }
    if acme.terms_of_service_agreed == Some(false) {
        let remedy = "read the authority's terms of service, and write true if you agree";
        let fault = "no authority issues anything to who does not agree";
        problems.add(&path.key("terms_of_service_agreed"), fault, remedy);
    }
    let contact = contact(acme, &path.key("contact"), problems);
    let directory = directory(acme, &path.key("directory"), problems);
    let roots = roots(acme.ca_file.as_ref(), &path.key("ca_file"), problems);
    let account_key_file = account_key_file(acme, &path.key("account_key_file"), surroundings, problems);
    let binding = match &acme.external_account {
        Some(account) => Some(binding(account, &path.key("external_account"), problems)?),
        None => None,
    };
    let client = ClientSettings {
        roots: roots?,
        name: None,
        pair: None,
    };
    let tls = match ClientTls::new(&client) {
        Ok(tls) => tls,
        Err(error) => {
            problems.add(
                &path.key("ca_file"),
                format!("cannot be used: {error}"),
                "write another file",
            );
            return None;
        }
    };
    Some(Settings {
        directory: directory?,
        tls: Arc::new(tls),
        contact,
        account_key_file: account_key_file?,
        binding,
        retry: acme.retry.map_or(limits::ACME_RETRY, |Time(retry)| retry),
        spread: match given.cluster {
            Some(_) => CLUSTER_SPREAD,
            None => Duration::ZERO,
        },
        wanted,
    })
}

/// The certificates that are to be had, those of one pair of files once.
fn wanted(given: &Given, problems: &mut Problems<'_>) -> Vec<Arc<Wanted>> {
    let mut all: Vec<(Wanted, KeyPath)> = Vec::new();
    let mut holders: HashMap<String, usize> = HashMap::new();
    let base = KeyPath::top("listener");
    for (index, listener) in given.listener.iter().flatten().enumerate() {
        let path = base.index(index).key("certificates");
        for (index, certificate) in listener.certificates.iter().flatten().enumerate() {
            let Some(names) = &certificate.acme_names else {
                continue;
            };
            let path = path.index(index).key("acme_names");
            if given.acme.is_none() {
                let remedy = "add [acme] with terms_of_service_agreed = true, or remove this";
                problems.add(&path, "no [acme] names an authority", remedy);
            }
            let names = self::names(names, &path, problems);
            let directory = problems.document().directory();
            let file = |file: &Option<PathBuf>| file.as_ref().map(|file| directory.join(file));
            let (Some(cert_file), Some(key_file)) =
                (file(&certificate.cert_file), file(&certificate.key_file))
            else {
                continue;
            };
            let listener = listener.name.clone().unwrap_or_default();
            let shares = |wanted: &Wanted| wanted.cert_file == cert_file || wanted.key_file == key_file;
            if let Some((held, first)) = all.iter_mut().find(|(held, _)| shares(held)) {
                let is_same =
                    (&held.cert_file, &held.key_file, &held.names) == (&cert_file, &key_file, &names);
                if is_same {
                    held.listeners.push(listener);
                } else {
                    let line = problems.document().line(first);
                    let fault = format!(
                        "{first} (line {line}) has one of these files for another pair or other names"
                    );
                    problems.add(&path, fault, "write the same files and names, or other files");
                }
                continue;
            }
            for name in &names {
                if let Some((_, first)) = holders.get(name).and_then(|holder| all.get(*holder)) {
                    let line = problems.document().line(first);
                    let fault = format!("{name} is had already by {first} (line {line})");
                    let remedy = "let both have the same files and names: an authority counts what it issues";
                    problems.add(&path, fault, remedy);
                }
                holders.entry(name.clone()).or_insert(all.len());
            }
            let wanted = Wanted {
                names,
                cert_file,
                key_file,
                listeners: vec![listener],
            };
            all.push((wanted, path));
        }
    }
    all.into_iter().map(|(wanted, _)| Arc::new(wanted)).collect()
}

fn names(given: &[String], path: &KeyPath, problems: &mut Problems<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (index, name) in given.iter().enumerate() {
        let path = path.index(index);
        let lower = name.to_ascii_lowercase();
        let plain = lower.trim_start_matches('[').trim_end_matches(']');
        if plain.parse::<IpAddr>().is_ok() {
            let remedy = "write host names: certificates of addresses are had by other means";
            problems.add(&path, format!("{name} is an address"), remedy);
        } else if name.contains('*') {
            let fault = format!("{name} stands for many names, which http-01 cannot validate");
            problems.add(&path, fault, "write each name");
        } else if let Err((fault, remedy)) = patterns::host(name) {
            problems.add(&path, fault, remedy);
        } else if names.contains(&lower) {
            problems.add(&path, format!("{name} stands here twice"), "remove one");
        }
        names.push(lower);
    }
    names
}

fn contact(given: &given::Acme, path: &KeyPath, problems: &mut Problems<'_>) -> Vec<String> {
    let given = given.contact.as_deref().unwrap_or_default();
    for (index, url) in given.iter().enumerate() {
        let address = url
            .strip_prefix("mailto:")
            .and_then(|address| address.split_once('@'));
        let is_plain =
            |part: &str| !part.is_empty() && !part.contains([',', '?', ' ', '@']) && part.is_ascii();
        if !address.is_some_and(|(who, host)| is_plain(who) && is_plain(host)) {
            let remedy = "write one mail address, as in \"mailto:ops@example.com\"";
            problems.add(&path.index(index), format!("\"{url}\" reaches nobody"), remedy);
        }
    }
    given.to_vec()
}

fn directory(given: &given::Acme, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Uri> {
    let text = given.directory.as_deref().unwrap_or(limits::ACME_DIRECTORY);
    let url = text.parse::<Uri>().ok();
    let url = url.filter(|url| url.scheme_str() == Some("https") && url.host().is_some());
    if url.is_none() {
        let remedy =
            "write the https URL of the authority's directory, as in \"https://acme.example.com/directory\"";
        problems.add(path, format!("\"{text}\" is no URL that is asked by TLS"), remedy);
    }
    url
}

/// One that is absent is made with the account; one that is there must be good.
fn account_key_file(
    given: &given::Acme,
    path: &KeyPath,
    surroundings: &Surroundings,
    problems: &mut Problems<'_>,
) -> Option<PathBuf> {
    let file = match &given.account_key_file {
        Some(file) => existing_name(file, path, problems)?,
        None => surroundings.acme_account_key_file(),
    };
    if let Err((fault, remedy)) = AccountKey::load(&file) {
        problems.add(path, fault, remedy);
    }
    Some(file)
}

fn binding(given: &given::ExternalAccount, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Binding> {
    let key_path = path.key("key_file");
    let key_id = given.key_id.clone();
    if key_id.as_ref().is_some_and(String::is_empty) {
        let remedy = "write what the authority calls the account";
        problems.add(&path.key("key_id"), "the name is empty", remedy);
    }
    let file = existing_name(given.key_file.as_ref()?, &key_path, problems)?;
    match binding_key(&file) {
        Ok(key) => Some(Binding { key_id: key_id?, key }),
        Err((fault, remedy)) => {
            problems.add(&key_path, format!("{} {fault}", file.display()), remedy);
            None
        }
    }
}

/// Reads a binding's key; what is wrong, and what helps. The texts hold none of it.
fn binding_key(file: &Path) -> Result<Vec<u8>, (String, String)> {
    let wanted = "put the key there that the authority gave with the key id, as base64url".to_owned();
    let unreadable = |error: std::io::Error| (format!("cannot be read: {error}"), wanted.clone());
    let opened = fs::File::open(file).map_err(unreadable)?;
    let mode = opened.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        let fault = format!("has mode {mode:04o}: every user of this machine may use the key");
        return Err((
            fault,
            format!("take it from others with: chmod o= {}", file.display()),
        ));
    }
    let mut text = String::new();
    opened
        .take(BINDING_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    match BASE64URL.decode(text.trim()) {
        Ok(key) if key.len() >= BINDING_KEY_BYTES_MIN => Ok(key),
        Ok(_) => Err(("holds a key of fewer than 16 bytes".to_owned(), wanted)),
        Err(_) => Err(("holds no base64url".to_owned(), wanted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::load_text;
    use crate::config::problem::Refused;
    use crate::config::surroundings::Invalid;
    use crate::tls::testing::{Authority, Folder};

    const PLAIN: &str = "[[listener]]\nname='plain'\naddress='127.0.0.1:80'\n";
    const AGREED: &str = "[acme]\nterms_of_service_agreed=true\n";

    fn loaded(folder: &Folder, text: &str) -> Result<crate::config::Settings, Refused> {
        let surroundings = Surroundings {
            cores: 1,
            state_directory: folder.path().join("state"),
            invalid: Invalid::Refused,
        };
        load_text(
            &folder.path().join("t.toml"),
            &format!("[node]\nname='a'\n{text}"),
            &surroundings,
        )
    }

    #[track_caller]
    fn check(folder: &Folder, text: &str, wanted: &[&str]) {
        Refused::expect(loaded(folder, text), text, wanted);
    }

    /// A listener with TLS on that port, with that certificate.
    fn secure(port: u16, certificate: &str) -> String {
        format!(
            "[[listener]]\nname='s{port}'\naddress='127.0.0.1:{port}'\nprotocol='https'\ncertificates=[{{{certificate}}}]\n"
        )
    }

    fn named(names: &str) -> String {
        secure(
            443,
            &format!("cert_file='a.pem',key_file='a.key',acme_names=[{names}]"),
        )
    }

    /// With a root for the directory, so that nothing depends on what this system trusts.
    fn folder() -> (Folder, Authority) {
        let (folder, authority) = (Folder::new(), Authority::new("root"));
        folder.file("ca.pem", &authority.pem(), 0o644);
        (folder, authority)
    }

    #[test]
    fn every_key_of_acme_reaches_the_settings() {
        let (folder, _) = folder();
        folder.file(
            "eab",
            "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n",
            0o600,
        );
        let acme = "[acme]\nterms_of_service_agreed=true\ndirectory='https://acme.internal:14000/dir'\nca_file='ca.pem'\n\
                    contact=['mailto:ops@a.example']\naccount_key_file='account.key'\nretry='7s'\n\
                    external_account={key_id='kid-1',key_file='eab'}\n";
        let two = "cert_file='a.pem',key_file='a.key',acme_names=['A.example','www.a.example']";
        let text = format!("{PLAIN}{}{}{acme}", secure(443, two), secure(444, two));
        let acme = loaded(&folder, &text).unwrap().acme.unwrap();
        assert_eq!(acme.directory, "https://acme.internal:14000/dir");
        assert_eq!(acme.contact, ["mailto:ops@a.example"]);
        assert_eq!(acme.account_key_file, folder.path().join("account.key"));
        assert_eq!(
            (acme.retry, acme.spread),
            (Duration::from_secs(7), Duration::ZERO)
        );
        assert_eq!(acme.tls.settings().roots.certificates.len(), 1);
        let binding = acme.binding.unwrap();
        assert_eq!((binding.key_id.as_str(), binding.key.len()), ("kid-1", 48));
        assert!(!format!("{binding:?}").contains("205"), "keys are never printed");
        let wanted: Vec<&Wanted> = acme.wanted.iter().map(|wanted| &**wanted).collect();
        let expected = Wanted {
            names: vec!["a.example".to_owned(), "www.a.example".to_owned()],
            cert_file: folder.path().join("a.pem"),
            key_file: folder.path().join("a.key"),
            listeners: vec!["s443".to_owned(), "s444".to_owned()],
        };
        assert_eq!(wanted, [&expected], "one order for both");
    }

    #[test]
    fn defaults_are_lets_encrypts_and_the_state_directorys() {
        let (folder, _) = folder();
        let text = format!("{PLAIN}{}{AGREED}ca_file='ca.pem'\n", named("'a.example'"));
        let acme = loaded(&folder, &text).unwrap().acme.unwrap();
        assert_eq!(acme.directory, limits::ACME_DIRECTORY);
        assert_eq!(
            acme.account_key_file,
            folder.path().join("state/acme/account.key")
        );
        assert_eq!(acme.retry, Duration::from_secs(300));
    }

    #[test]
    fn a_certificate_that_is_to_be_had_may_be_missing_expired_or_broken() {
        let (folder, authority) = folder();
        let text = format!("{PLAIN}{}{AGREED}ca_file='ca.pem'\n", named("'a.example'"));
        let held = |folder: &Folder| {
            let settings = loaded(folder, &text).unwrap();
            let tls = settings.listeners[1].tls.clone().unwrap();
            let held = &tls.server.pairs[0];
            (held.pair().is_some(), held.names().to_vec())
        };
        let own = || vec!["a.example".to_owned()];
        assert_eq!(held(&folder), (false, own()), "missing");
        folder.file("a.pem", "nothing", 0o644);
        folder.file("a.key", "nothing", 0o600);
        assert_eq!(held(&folder), (false, own()), "broken");
        let (day, now) = (Duration::from_secs(86_400), std::time::SystemTime::now());
        folder.pair(
            "a",
            &authority.issue_for(&["old.example"], now - 9 * day, now - 2 * day),
        );
        assert_eq!(held(&folder), (true, vec!["old.example".to_owned()]), "expired");
    }

    #[test]
    fn all_that_makes_no_sense_is_refused_with_what_would() {
        let (folder, _) = folder();
        folder.file("open", "0123456789abcdef0123456789abcdef", 0o644);
        folder.file("short", "MTIz", 0o600);
        folder.file("text", "!", 0o600);
        let acme = format!("{AGREED}ca_file='ca.pem'\n");
        let rows: &[(String, &[&str])] = &[
            (format!("{PLAIN}{}{acme}", named("'a.example'")), &[]),
            (
                format!("{PLAIN}{}", named("'a.example'")),
                &["acme_names: no [acme] names an authority; add [acme]"],
            ),
            (
                format!("{PLAIN}{acme}"),
                &["acme: no certificate is had by it; add acme_names"],
            ),
            (
                format!("{}{acme}", named("'a.example'")),
                &[
                    "acme: no listener can answer the authority; add a [[listener]] with protocol = \"http\" on port 80",
                ],
            ),
            (
                format!("{PLAIN}{}[acme]\nca_file='ca.pem'\n", named("'a.example'")),
                &["acme.terms_of_service_agreed: is missing"],
            ),
            (
                format!(
                    "{PLAIN}{}[acme]\nterms_of_service_agreed=false\nca_file='ca.pem'\n",
                    named("'a.example'")
                ),
                &["acme.terms_of_service_agreed: no authority issues anything"],
            ),
            (
                format!(
                    "{PLAIN}{}{acme}directory='http://a.example/'\ncontact=['ops@a.example','mailto:a@b,c@d']\nretry='0s'\n",
                    named("'*.a.example','10.0.0.1','[::1]','a.example','A.example','a b','a.example.'")
                ),
                &[
                    "acme_names[0]: *.a.example stands for many names, which http-01 cannot validate",
                    "acme_names[1]: 10.0.0.1 is an address",
                    "acme_names[2]: [::1] is an address",
                    "acme_names[4]: A.example stands here twice",
                    "acme_names[5]: \"a b\" is not a host name",
                    "acme_names[6]: \"a.example.\" is not a host name",
                    "acme.directory: \"http://a.example/\" is no URL that is asked by TLS",
                    "acme.contact[0]: \"ops@a.example\" reaches nobody",
                    "acme.contact[1]: \"mailto:a@b,c@d\" reaches nobody",
                    "acme.retry: ",
                ],
            ),
            (format!("{PLAIN}{}{acme}", named("")), &["acme_names: "]),
            (
                format!("{PLAIN}{}{acme}account_key_file='ca.pem'\n", named("'a.example'")),
                &["acme.account_key_file: "],
            ),
            (
                format!(
                    "{PLAIN}{}{acme}external_account={{key_id='',key_file='open'}}\n",
                    named("'a.example'")
                ),
                &[
                    "external_account.key_id: the name is empty",
                    "has mode 0644: every user of this machine may use the key",
                ],
            ),
            (
                format!(
                    "{PLAIN}{}{acme}external_account={{key_id='k',key_file='short'}}\n",
                    named("'a.example'")
                ),
                &["holds a key of fewer than 16 bytes; put the key there"],
            ),
            (
                format!(
                    "{PLAIN}{}{acme}external_account={{key_id='k',key_file='text'}}\n",
                    named("'a.example'")
                ),
                &["holds no base64url; put the key there"],
            ),
            (
                format!(
                    "{PLAIN}{}{acme}external_account={{key_id='k',key_file='absent'}}\n",
                    named("'a.example'")
                ),
                &["absent cannot be read"],
            ),
            (
                format!(
                    "{PLAIN}{}{}{acme}",
                    named("'a.example'"),
                    secure(444, "cert_file='a.pem',key_file='a.key',acme_names=['b.example']")
                ),
                &["has one of these files for another pair or other names"],
            ),
            (
                format!(
                    "{PLAIN}{}{}{acme}",
                    named("'a.example'"),
                    secure(
                        444,
                        "cert_file='b.pem',key_file='b.key',acme_names=['b.example','a.example']"
                    )
                ),
                &["a.example is had already by listener[1].certificates[0].acme_names"],
            ),
        ];
        for (text, wanted) in rows {
            check(&folder, text, wanted);
        }
    }
}
