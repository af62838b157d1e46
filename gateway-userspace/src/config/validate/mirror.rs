//! `route.mirror`: where copies of requests go.

use std::sync::Arc;

use super::names::{Names, Resolution};
use crate::config::given;
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::settings::{MirrorSettings, UpstreamSettings};
use crate::config::snapshot::Odds;

/// Reads it; `None` where there is none, or a problem.
pub fn mirror(
    route: &given::Route,
    upstreams: &[Arc<UpstreamSettings>],
    names: &Names,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<MirrorSettings> {
    let given = route.mirror.as_ref()?;
    let path = path.key("mirror");
    if route.redirect.is_some() || route.respond.is_some() {
        problems.add(&path, "the route asks no upstream", "remove it");
        return None;
    }
    let name = given.upstream.as_ref()?;
    let path = path.key("upstream");
    let shares = route.split.iter().flatten();
    let mut asked = route
        .upstream
        .iter()
        .chain(shares.filter_map(|share| share.upstream.as_ref()));
    if asked.any(|asked| asked == name) {
        let fault = format!("\"{name}\" gets the route's requests already");
        problems.add(&path, fault, "name another upstream");
        return None;
    }
    if names.resolves(name, &path, problems) != Resolution::Found {
        return None;
    }
    let upstream = upstreams.iter().find(|upstream| upstream.name == *name)?;
    Some(MirrorSettings {
        upstream: Arc::clone(upstream),
        odds: Odds::per_cent(given.percent.unwrap_or(limits::MIRRORED_PERCENT)),
        requests_max: given.requests_max.unwrap_or(limits::MIRRORED_MAX),
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config::load::load_text;
    use crate::config::problem::Refused;
    use crate::config::settings::Settings;
    use crate::config::surroundings::Surroundings;

    fn load(route: &str) -> Result<Settings, Refused> {
        let text = format!(
            "[node]\nname='a'\n[[listener]]\nname='web'\naddress='127.0.0.1:80'\n\
             [[route]]\nname='r'\nlisteners=['web']\nmatch={{path='/'}}\n{route}\n\
             [[upstream]]\nname='u'\nendpoints=[{{address='10.0.1.1:80'}}]\n\
             [[upstream]]\nname='v'\nendpoints=[{{address='10.0.1.2:80'}}]\n"
        );
        let surroundings = Surroundings {
            cores: 1,
            state_directory: PathBuf::from("/state"),
            invalid: crate::config::surroundings::Invalid::Refused,
        };
        load_text(Path::new("t.toml"), &text, &surroundings)
    }

    #[test]
    fn all_of_it_reaches_the_settings() {
        for (keys, percent, requests_max) in [
            ("upstream='v'", 100.0, limits::MIRRORED_MAX),
            ("upstream='v',percent=0.5,requests_max=7", 0.5, 7),
        ] {
            let settings = load(&format!("upstream='u'\nmirror={{{keys}}}")).unwrap();
            let mirror = settings.routes[0].mirror.clone().unwrap();
            assert_eq!(mirror.upstream.name, "v");
            assert_eq!(
                (mirror.odds, mirror.requests_max),
                (Odds::per_cent(percent), requests_max)
            );
        }
    }

    #[test]
    fn faults_are_named() {
        let rows = [
            ("upstream='u'\nmirror={}", "route[0].mirror.upstream: is missing"),
            (
                "upstream='u'\nmirror={upstream='w'}",
                "mirror.upstream: there is no upstream \"w\"",
            ),
            (
                "upstream='u'\nmirror={upstream='u'}",
                "mirror.upstream: \"u\" gets the route's requests already",
            ),
            (
                "split=[{upstream='u',weight=1},{upstream='v',weight=1}]\nmirror={upstream='v'}",
                "mirror.upstream: \"v\" gets the route's requests already",
            ),
            (
                "respond={status=200}\nmirror={upstream='v'}",
                "route[0].mirror: the route asks no upstream",
            ),
            (
                "upstream='u'\nmirror={upstream='v',percent=-1}",
                "mirror.percent: -1 is out of range",
            ),
            (
                "upstream='u'\nmirror={upstream='v',requests_max=0}",
                "mirror.requests_max: 0 is out of range",
            ),
        ];
        for (route, fault) in rows {
            match load(route) {
                Ok(_) => panic!("accepted: {route}"),
                Err(refused) => {
                    assert!(refused.to_string().contains(fault), "{route}: {refused}");
                    assert_eq!(refused.problems().len(), 1, "{route}: {refused}");
                }
            }
        }
    }
}
