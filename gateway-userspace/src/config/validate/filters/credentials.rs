//! `basic_auth` and `api_key`: their files, and where requests have their keys.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;

use super::changeable;
use super::secrets::{self, Wrong};
use crate::config::given;
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::filters::passwords::Hash;
use crate::filters::{api_key, basic_auth};

/// Characters of a realm at most: browsers show a line.
const REALM_CHARS_MAX: usize = 100;
/// What makes a line of a file of users.
const MAKE_USER: &str = "htpasswd -nB NAME";
/// What makes a line of a file of keys, and shows the key.
const MAKE_KEY: &str = "key=$(openssl rand -hex 32); echo \"key: $key\"; printf 'NAME:%s\\n' \"$(printf %s \"$key\" | sha256sum | cut -d' ' -f1)\"";

/// Users and their passwords' hashes; `None` where they cannot be read.
pub(super) fn basic_auth(
    given: &given::BasicAuth,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<basic_auth::Settings> {
    let realm = given.realm.as_deref().unwrap_or(limits::REALM);
    let is_plain = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    if realm.is_empty() || realm.len() > REALM_CHARS_MAX || !realm.bytes().all(is_plain) {
        let remedy =
            format!("write 1 to {REALM_CHARS_MAX} printable ASCII characters but quotes and backslashes");
        problems.add(&path.key("realm"), "that is no realm", remedy);
    }
    let users = secrets::of(given.file.as_ref(), &path.key("file"), problems, users)?;
    let challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
    with_users(challenge.ok()?, users)
}

fn with_users(challenge: HeaderValue, users: Vec<basic_auth::User>) -> Option<basic_auth::Settings> {
    Some(basic_auth::Settings {
        challenge,
        some: Arc::clone(&users.first()?.hash),
        users,
    })
}

/// The same with the users that the file has now.
///
/// # Errors
/// What is wrong with it, and what helps.
pub(super) fn renewed_users(held: &basic_auth::Settings, file: &Path) -> Result<basic_auth::Settings, Wrong> {
    let nobody = || ("names nobody".to_owned(), format!("add a line with: {MAKE_USER}"));
    with_users(held.challenge.clone(), users(file)?).ok_or_else(nobody)
}

/// Users of a file, each once.
///
/// # Errors
/// What is wrong with it, and what helps.
pub(super) fn users(file: &Path) -> Result<Vec<basic_auth::User>, Wrong> {
    let read = |name, secret: &str| {
        let hash = Arc::new(Hash::parse(secret)?);
        Ok(basic_auth::User { name, hash })
    };
    let users = secrets::lines(file, MAKE_USER, read)?;
    let mut names = HashSet::new();
    if let Some(user) = users.iter().find(|user| !names.insert(user.name.as_bytes())) {
        let name = user.name.to_str().unwrap_or_default();
        return Err((
            format!("is wrong: {name} stands there twice"),
            "remove one line".to_owned(),
        ));
    }
    Ok(users)
}

/// Keys of a file.
///
/// # Errors
/// What is wrong with it, and what helps.
pub(super) fn keys(file: &Path) -> Result<Vec<api_key::Key>, Wrong> {
    let read = |name, secret: &str| {
        let digest = digest(secret).ok_or("is no SHA-256 of 64 hexadecimal digits")?;
        Ok(api_key::Key { name, digest })
    };
    secrets::lines(file, MAKE_KEY, read)
}

/// Keys' digests; `None` where they cannot be read.
pub(super) fn api_key(
    given: &given::ApiKey,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<api_key::Settings> {
    let place = match (&given.header, &given.query) {
        (Some(name), None) => {
            let name = changeable(name, &path.key("header"), problems);
            name.map(api_key::Place::Header)
        }
        (None, Some(name)) => query(name, &path.key("query"), problems).map(api_key::Place::Query),
        (Some(_), Some(_)) => {
            let remedy = "keep one of header and query";
            problems.add(&path.key("query"), "the filter has header already", remedy);
            None
        }
        (None, None) => {
            // One of them was there, and is reported already.
            if !problems.is_known_below(&path.key("header")) && !problems.is_known_below(&path.key("query")) {
                let remedy = "add header = \"x-api-key\", or query = \"key\"";
                problems.add(path, "it does not say where requests have their key", remedy);
            }
            None
        }
    };
    let keys = secrets::of(given.file.as_ref(), &path.key("file"), problems, keys)?;
    Some(api_key::Settings { place: place?, keys })
}

fn query(name: &str, path: &KeyPath, problems: &mut Problems<'_>) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if name.is_empty() || name.len() > limits::NAME_CHARS_MAX || !name.bytes().all(is_plain) {
        let fault = format!("\"{name}\" is no name of a parameter that needs no escapes");
        problems.add(path, fault, "write it as in \"key\"");
        return None;
    }
    Some(name.to_owned())
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use http::HeaderName;

    use super::super::tests::load_in;
    use super::*;
    use crate::filters::Settings;
    use crate::filters::passwords::tests::{ARGON2, BCRYPT};

    /// A directory of its own for a test, with a file in it.
    pub(in crate::config::validate::filters) struct Scratch(PathBuf);

    impl Scratch {
        pub(in crate::config::validate::filters) fn new(test: &str, content: &str, mode: u32) -> Self {
            let directory = std::env::temp_dir().join(format!("gateway-{test}-{}", std::process::id()));
            fs::create_dir_all(&directory).unwrap();
            let file = directory.join("secrets");
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            Self(directory)
        }

        /// What a filter that names the file comes to.
        pub(in crate::config::validate::filters) fn load(&self, filter: &str) -> Result<Settings, String> {
            let settings = load_in(&self.0, "", &format!("{{name='f',{filter}}}"));
            let settings = settings.map_err(|refused| refused.to_string())?;
            Ok(settings.routes[0].filters[0].kind.clone())
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn users_are_read_from_their_file() {
        let content = format!("# users\n\nann:{BCRYPT}\n bob:{ARGON2} \n");
        let scratch = Scratch::new("users", &content, 0o640);
        let Ok(Settings::BasicAuth(settings)) = scratch.load("basic_auth={file='secrets'}") else {
            panic!("not read")
        };
        assert_eq!(settings.challenge, "Basic realm=\"gateway\", charset=\"UTF-8\"");
        let hash = |text| Arc::new(Hash::parse(text).unwrap());
        let user = |name, text| basic_auth::User {
            name: HeaderValue::from_static(name),
            hash: hash(text),
        };
        assert_eq!(settings.users, [user("ann", BCRYPT), user("bob", ARGON2)]);
        assert_eq!(settings.some, hash(BCRYPT));
        assert!(!format!("{settings:?}").contains("$2y$"), "nothing prints hashes");
    }

    #[test]
    fn keys_are_read_from_their_file() {
        let digits = "00ff".repeat(16);
        let scratch = Scratch::new(
            "keys",
            &format!("shop:{digits}\nshop:{}\n", digits.to_uppercase()),
            0o600,
        );
        let key = || api_key::Key {
            name: HeaderValue::from_static("shop"),
            digest: [[0, 255]; 16].concat().try_into().unwrap(),
        };
        let rows = [
            (
                "header='x-api-key'",
                api_key::Place::Header(HeaderName::from_static("x-api-key")),
            ),
            ("query='key'", api_key::Place::Query("key".to_owned())),
        ];
        for (place, expected) in rows {
            let settings = scratch.load(&format!("api_key={{file='secrets',{place}}}"));
            let expected = api_key::Settings {
                place: expected,
                keys: vec![key(), key()],
            };
            assert_eq!(settings, Ok(Settings::ApiKey(expected)));
        }
    }

    #[test]
    fn faults_of_files_are_named_without_their_secrets() {
        let twice = format!("ann:{BCRYPT}\nann:{BCRYPT}\n");
        let secret = "5f4dcc3b5aa765d61d8327deb882cf99";
        let rows = [
            (
                "",
                0o600,
                "names nobody: all would be refused; add a line with: htpasswd",
            ),
            ("ann\n", 0o600, "line 1: has no colon"),
            ("# x\n:x\n", 0o600, "line 2: has no name"),
            (
                "ann:5f4dcc3b5aa765d61d8327deb882cf99\n",
                0o600,
                "line 1: the secret of ann is neither bcrypt nor argon2",
            ),
            (&*twice, 0o600, "ann stands there twice"),
            (
                &*twice,
                0o644,
                "has mode 0644: every user of this machine may read it; take it",
            ),
        ];
        for (index, (content, mode, fault)) in rows.into_iter().enumerate() {
            let scratch = Scratch::new(&format!("faulty-users-{index}"), content, mode);
            let refused = scratch.load("basic_auth={file='secrets'}").unwrap_err();
            assert!(
                refused.contains(fault) && !refused.contains(secret),
                "{fault:?} is not in:\n{refused}"
            );
            assert!(refused.contains("basic_auth.file: "), "{refused}");
        }
        let rows = [
            (
                "{file='secrets',header='x-api-key'}",
                "line 1: the secret of ann is no SHA-256",
            ),
            ("{file='none',header='x-api-key'}", "none cannot be read"),
            ("{file='',header='x-api-key'}", "api_key.file: the path is empty"),
            ("{file='.',header='x-api-key'}", "is not a file"),
            ("{header='x-api-key'}", "api_key.file: is missing"),
            (
                "{file='secrets'}",
                "api_key: it does not say where requests have their key",
            ),
            (
                "{file='secrets',header='x-a',query='a'}",
                "api_key.query: the filter has header already",
            ),
            ("{file='secrets',header='host'}", "api_key.header: host frames"),
            (
                "{file='secrets',query='a b'}",
                "api_key.query: \"a b\" is no name of a parameter",
            ),
        ];
        let scratch = Scratch::new("faulty-keys", "ann:zz\n", 0o600);
        for (filter, fault) in rows {
            let refused = scratch.load(&format!("api_key={filter}")).unwrap_err();
            assert!(refused.contains(fault), "{fault:?} is not in:\n{refused}");
        }
        let refused = scratch
            .load("basic_auth={file='secrets',realm='a\"b'}")
            .unwrap_err();
        assert!(
            refused.contains("basic_auth.realm: that is no realm"),
            "{refused}"
        );
    }
}
