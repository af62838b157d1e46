//! `upstream.sticky`: a cookie that clients will take, and the key that its values are made with.

use http::HeaderName;

use super::cluster;
use crate::config::given;
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::snapshot::{ClusterKey, SameSite, StickySettings};

/// What values are made with where the table names no key.
#[derive(Clone, Copy)]
pub enum DefaultKey<'k> {
    /// The cluster's.
    Cluster(&'k ClusterKey),
    /// There is a cluster, and its key is complained of already.
    Broken,
    /// There is no cluster.
    Missing,
}

/// The cookie; `None` where there is none, or where it will not do.
pub fn sticky(
    given: &given::Upstream,
    default: DefaultKey<'_>,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<StickySettings> {
    let given = given.sticky.as_ref()?;
    let path = path.key("sticky");
    let (secure, same_site) = (
        given.secure.unwrap_or(false),
        given.same_site.unwrap_or(SameSite::Lax),
    );
    let scope = given.path.as_deref().unwrap_or(limits::STICKY_PATH);
    if let Some(name) = &given.cookie {
        check_name(name, secure, scope, &path.key("cookie"), problems);
    }
    if let Some(ttl) = given.ttl
        && ttl.0.subsec_nanos() > 0
    {
        let remedy = format!("write {} s", ttl.0.as_secs() + 1);
        problems.add(&path.key("ttl"), "clients count whole seconds", remedy);
    }
    let is_plain = |byte: u8| (0x21..0x7f).contains(&byte) && byte != b';';
    if !scope.starts_with('/') || scope.len() > limits::PATH_BYTES_MAX || !scope.bytes().all(is_plain) {
        let fault = format!("\"{scope}\" is no path of a cookie");
        problems.add(&path.key("path"), fault, "write it as in \"/app\"");
    }
    if same_site == SameSite::None && !secure {
        let remedy = "add secure = true, or write \"lax\"";
        problems.add(
            &path.key("same_site"),
            "browsers drop such a cookie that is not secure",
            remedy,
        );
    }
    let key = match (&given.key_file, default) {
        (Some(file), _) => cluster::key(file, &path.key("key_file"), problems),
        (None, DefaultKey::Cluster(key)) => Some(key.clone()),
        (None, DefaultKey::Broken) => None,
        (None, DefaultKey::Missing) => {
            if !problems.is_known_at(&path.key("key_file")) {
                let remedy = format!(
                    "add key_file = \"…\"; make one with: {} > FILE && chmod 600 FILE",
                    cluster::KEY_COMMAND
                );
                problems.add(&path, "there is no key to make the cookie's values with", remedy);
            }
            None
        }
    };
    Some(StickySettings {
        cookie: given.cookie.clone()?,
        ttl: given.ttl.map(|ttl| ttl.0),
        path: scope.to_owned(),
        same_site,
        secure,
        http_only: given.http_only.unwrap_or(true),
        key: key?,
    })
}

/// Source: RFC 6265, section 4.1.1; the prefixes are of its successor's draft, section 4.1.3.
fn check_name(name: &str, secure: bool, scope: &str, path: &KeyPath, problems: &mut Problems<'_>) {
    let starts = |prefix: &str| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        let fault = format!("\"{name}\" is no name of a cookie");
        problems.add(path, fault, "write it as in \"srv\"");
    } else if (starts("__Secure-") || starts("__Host-")) && !secure {
        let fault = format!("browsers drop \"{name}\" where it is not secure");
        problems.add(path, fault, "add secure = true, or write another name");
    } else if starts("__Host-") && scope != "/" {
        let fault = format!("browsers drop \"{name}\" with a path but \"/\"");
        problems.add(path, fault, "remove path, or write another name");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::*;
    use crate::config::load::load_text;
    use crate::config::surroundings::Surroundings;

    /// A directory of its own for a test, with key files of these names whose digits are all that one.
    fn directory(test: &str, keys: &[(&str, char)]) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("gateway-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for (name, digit) in keys {
            let file = directory.join(name);
            std::fs::write(&file, digit.to_string().repeat(64)).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        directory
    }

    fn settings(directory: &Path, cluster: &str, sticky: &str) -> StickySettings {
        let text = format!(
            "[node]\nname='a'\naddress='10.0.0.1'\n{cluster}\n[[listener]]\nname='web'\naddress='127.0.0.1:80'\n\
             [[upstream]]\nname='u'\nendpoints=[{{address='10.0.1.1:80'}}]\nsticky={{cookie='srv'{sticky}}}\n"
        );
        let surroundings = Surroundings {
            cores: 2,
            state_directory: PathBuf::from("/state"),
            invalid: crate::config::surroundings::Invalid::Refused,
        };
        let settings = load_text(&directory.join("gateway.toml"), &text, &surroundings).unwrap();
        settings.upstreams[0].sticky.clone().unwrap()
    }

    #[test]
    fn key_is_the_tables_own_else_the_clusters() {
        let directory = directory("sticky-key", &[("own.key", '1'), ("cluster.key", '2')]);
        let cluster = "[cluster]\nlisten='10.0.0.1:7946'\nkey_file='cluster.key'";
        let rows = [
            ("", ", key_file='own.key'", 0x11),
            (cluster, ", key_file='own.key'", 0x11),
            (cluster, "", 0x22),
        ];
        for (cluster, sticky, byte) in rows {
            let settings = settings(&directory, cluster, sticky);
            assert_eq!(settings.key, ClusterKey([byte; 32]), "{cluster} {sticky}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn defaults_are_those_of_the_reference_and_all_may_be_changed() {
        let directory = directory("sticky-all", &[("own.key", '1')]);
        let least = StickySettings {
            cookie: "srv".to_owned(),
            ttl: None,
            path: "/".to_owned(),
            same_site: SameSite::Lax,
            secure: false,
            http_only: true,
            key: ClusterKey([0x11; 32]),
        };
        assert_eq!(settings(&directory, "", ", key_file='own.key'"), least);
        let all =
            ", key_file='own.key', ttl='8h', path='/app', same_site='none', secure=true, http_only=false";
        let expected = StickySettings {
            ttl: Some(Duration::from_secs(8 * 3600)),
            path: "/app".to_owned(),
            same_site: SameSite::None,
            secure: true,
            http_only: false,
            ..least
        };
        assert_eq!(settings(&directory, "", all), expected);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
