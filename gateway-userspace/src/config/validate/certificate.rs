//! `match.client_certificate`: what a route asks of the client's certificate, and that its listeners ask for one.

use super::matching::Tests;
use crate::config::given::{self, CertificateMatch, ListenerProtocol, SanMatch, SanType};
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::settings::ListenerSettings;
use crate::router::{Condition, NameKind, Source, Test};
use crate::tls::ClientAuth;

/// What is asked of the subject, and of the names.
pub(super) fn conditions(
    given: &CertificateMatch,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> (Option<Condition>, Vec<Condition>) {
    if given.subject.is_none() && given.san.is_none() && !problems.is_known_below(path) {
        let remedy = "add subject or san; subject = { present = true } wants a certificate, whatever it says";
        problems.add(path, "it asks for nothing", remedy);
    }
    let subject = given.subject.as_ref().and_then(|subject| {
        let tests = Tests {
            exact: subject.exact.as_deref(),
            prefix: subject.prefix.as_deref(),
            regex: subject.regex.as_deref(),
            present: subject.present,
        };
        let test = tests.read(&path.key("subject"), problems)?;
        Some(Condition {
            source: Source::Subject,
            test,
        })
    });
    let mut names: Vec<Condition> = Vec::new();
    for (index, san) in given.san.iter().flatten().enumerate() {
        let path = path.key("san").index(index);
        let Some(name) = name(san, &path, problems) else {
            continue;
        };
        if names.contains(&name) {
            problems.add(&path, format!("\"{name}\" stands here twice"), "remove one");
        } else {
            names.push(name);
        }
    }
    (subject, names)
}

fn name(given: &SanMatch, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Condition> {
    let tests = Tests {
        exact: given.exact.as_deref(),
        prefix: given.prefix.as_deref(),
        regex: given.regex.as_deref(),
        present: given.present,
    };
    let test = tests.read(path, problems)?;
    let kind = match given.kind? {
        SanType::Dns => NameKind::Dns,
        SanType::Uri => NameKind::Uri,
        SanType::Email => NameKind::Email,
    };
    if let (NameKind::Dns, Test::Exact(text) | Test::Prefix(text)) = (kind, &test)
        && text.bytes().any(|byte| byte.is_ascii_uppercase())
    {
        let key = if matches!(test, Test::Exact(_)) {
            "exact"
        } else {
            "prefix"
        };
        let fault = format!("\"{text}\" has upper-case letters: DNS names are compared in lower case");
        let remedy = format!("write \"{}\"", text.to_ascii_lowercase());
        problems.add(&path.key(key), fault, remedy);
        return None;
    }
    Some(Condition {
        source: Source::Name(kind),
        test,
    })
}

/// What a listener asks clients for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// It speaks no TLS.
    Nothing,
    /// For no certificate.
    NoCertificate,
    /// For one.
    Certificate,
}

impl Asks {
    /// As the file has it.
    pub(super) fn given(listener: &given::Listener) -> Self {
        let tls = listener.tls.as_ref().and_then(|tls| tls.client_auth);
        match listener.protocol {
            Some(ListenerProtocol::Https) => Self::of(tls.unwrap_or_default()),
            _ => Self::Nothing,
        }
    }

    /// As it was accepted.
    pub(super) fn accepted(listener: &ListenerSettings) -> Self {
        let tls = listener.tls.as_ref();
        tls.map_or(Self::Nothing, |tls| Self::of(tls.server.client_auth))
    }

    fn of(auth: ClientAuth) -> Self {
        match auth {
            ClientAuth::None => Self::NoCertificate,
            ClientAuth::Optional | ClientAuth::Required => Self::Certificate,
        }
    }
}

/// Reports a route whose listeners ask clients for no certificate, so that nothing could ever hold of one.
pub(super) fn asked_for(
    all: &[(String, Asks)],
    listeners: &[String],
    route: &KeyPath,
    problems: &mut Problems<'_>,
) {
    let path = route.key("match").key("client_certificate");
    for (name, asks) in all.iter().filter(|(name, _)| listeners.contains(name)) {
        let (fault, remedy) = match asks {
            Asks::Certificate => continue,
            Asks::Nothing => (
                format!("listener \"{name}\" speaks no TLS, so that nobody has a certificate there"),
                "give the listener protocol = \"https\" and tls.client_auth, or remove this",
            ),
            Asks::NoCertificate => (
                format!("listener \"{name}\" asks clients for no certificate"),
                "give the listener tls.client_auth = \"optional\" or \"required\", or remove this",
            ),
        };
        problems.add(&path, fault, remedy);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load::load_text;
    use crate::config::problem::Refused;
    use crate::config::settings::Settings;
    use crate::config::surroundings::{Invalid, Surroundings};
    use crate::tls::testing::{Authority, Folder};

    /// A listener with TLS and those keys of it, and a route with that match.
    fn load(folder: &Folder, keys: &str, wanted: &str) -> Result<Settings, Refused> {
        let text = format!(
            "[node]\nname='a'\n[[listener]]\nname='web'\naddress='127.0.0.1:443'\n{keys}\n\
             [[route]]\nname='r'\nlisteners=['web']\nrespond={{status=200}}\n\
             match={{path='/',client_certificate={{{wanted}}}}}\n"
        );
        let surroundings = Surroundings {
            cores: 1,
            state_directory: "/state".into(),
            invalid: Invalid::Refused,
        };
        load_text(&folder.path().join("t.toml"), &text, &surroundings)
    }

    fn folder() -> Folder {
        let (folder, authority) = (Folder::new(), Authority::new("root"));
        folder.pair("web", &authority.issue(&["a.example"]));
        folder.file("ca.pem", &authority.pem(), 0o644);
        folder
    }

    const HTTPS: &str = "protocol='https'\ncertificates=[{cert_file='web.pem',key_file='web.key'}]\n";
    const ASKS: &str = "tls={client_auth='optional',client_ca_file='ca.pem'}";

    #[test]
    fn what_is_asked_of_certificates_reaches_the_settings() {
        let folder = folder();
        let rows = [
            ("subject={exact='CN=a,O=b'}", "certificate subject = \"CN=a,O=b\""),
            ("subject={present=false}", "certificate subject absent"),
            (
                "san=[{type='uri',prefix='spiffe://a/'},{type='dns',exact='a.example'}]",
                "certificate dns = \"a.example\" or certificate uri = \"spiffe://a/\" and more",
            ),
            (
                "subject={regex='CN=[a-z]+'},san=[{type='email',present=true}]",
                "certificate email present, certificate subject like \"CN=[a-z]+\"",
            ),
        ];
        for (wanted, expected) in rows {
            let settings = load(&folder, &format!("{HTTPS}{ASKS}"), wanted).unwrap();
            assert_eq!(settings.routes[0].conditions.to_string(), expected, "{wanted}");
        }
    }

    #[test]
    fn what_could_never_hold_is_refused_with_what_could() {
        let folder = folder();
        let asks = format!("{HTTPS}{ASKS}");
        let rows = [
            (
                "",
                "subject={present=true}",
                "client_certificate: listener \"web\" speaks no TLS",
            ),
            (
                HTTPS,
                "subject={present=true}",
                "client_certificate: listener \"web\" asks clients for no certificate; give the listener tls.client_auth",
            ),
            (
                &asks,
                "",
                "client_certificate: it asks for nothing; add subject or san",
            ),
            (
                &asks,
                "subject={}",
                "client_certificate.subject: it does not say what the value must be",
            ),
            (
                &asks,
                "subject={exact='a',prefix='b'}",
                "client_certificate.subject.prefix: exact is given already",
            ),
            (&asks, "san=[]", "client_certificate.san: the list is empty"),
            (
                &asks,
                "san=[{exact='a'}]",
                "client_certificate.san[0].type: is missing",
            ),
            (
                &asks,
                "san=[{type='ip',exact='a'}]",
                "client_certificate.san[0].type: ",
            ),
            (
                &asks,
                "san=[{type='uri'}]",
                "client_certificate.san[0]: it does not say",
            ),
            (
                &asks,
                "san=[{type='dns',exact='A.example'}]",
                "san[0].exact: \"A.example\" has upper-case letters: DNS names are compared in lower case; write \"a.example\"",
            ),
            (
                &asks,
                "san=[{type='uri',exact='a'},{type='uri',exact='a'}]",
                "client_certificate.san[1]: \"certificate uri = \"a\"\" stands here twice",
            ),
        ];
        for (keys, wanted, fault) in rows {
            let refused = load(&folder, keys, wanted).unwrap_err().to_string();
            assert!(refused.contains(fault), "{wanted}: {refused}");
        }
    }
}
