//! `route.split` and `split_by`: upstreams that share a route's requests.

use std::sync::Arc;

use super::balancing;
use super::names::{Names, Resolution};
use crate::config::given;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::settings::{SplitSettings, UpstreamSettings};
use crate::config::snapshot::{HashBy, Shares};

/// Reads both; `None` where there are problems.
pub fn split(
    route: &given::Route,
    upstreams: &[Arc<UpstreamSettings>],
    names: &Names,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<SplitSettings> {
    let by = by(route.split_by.as_ref(), &path.key("split_by"), problems);
    let path = path.key("split");
    let mut found: Vec<Arc<UpstreamSettings>> = Vec::new();
    let mut weights = Vec::new();
    for (index, share) in route.split.iter().flatten().enumerate() {
        let path = path.index(index).key("upstream");
        let (Some(name), Some(weight)) = (&share.upstream, share.weight) else {
            continue;
        };
        if found.iter().any(|other| other.name == *name) {
            let fault = format!("\"{name}\" has a share already");
            problems.add(&path, fault, "add its weight there, and remove this one");
            continue;
        }
        if names.resolves(name, &path, problems) == Resolution::Found {
            let upstream = upstreams.iter().find(|upstream| upstream.name == *name);
            found.extend(upstream.map(Arc::clone));
            weights.extend(upstream.map(|_| weight));
        }
    }
    let shares = Shares::new(weights.iter().copied());
    if shares.is_none() && !weights.is_empty() && !problems.is_known_below(&path) {
        problems.add(
            &path,
            "nobody gets a request: all weights are 0",
            "write a weight of 1 or more",
        );
    }
    Some(SplitSettings {
        upstreams: found,
        weights,
        shares: shares?,
        by,
    })
}

fn by(given: Option<&given::SplitBy>, path: &KeyPath, problems: &mut Problems<'_>) -> HashBy {
    let Some(given) = given else {
        return HashBy::Nothing;
    };
    if given.cookie.is_none() && given.header.is_none() && given.client != Some(true) {
        if !problems.is_known_below(path) {
            let remedy = "add one of cookie, header and client = true";
            problems.add(path, "it does not say what to go by", remedy);
        }
        return HashBy::Nothing;
    }
    let hash = given::Hash {
        cookie: given.cookie.clone(),
        header: given.header.clone(),
        client: given.client,
        ..given::Hash::default()
    };
    balancing::hash_by(&hash, path, problems)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config::load::load_text;
    use crate::config::problem::Refused;
    use crate::config::settings::{ActionSettings, Settings};
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
    fn shares_reach_the_settings() {
        let settings = load(
            "split=[{upstream='u',weight=95},{upstream='v',weight=0}]\nsplit_by={cookie='sid'}\n\
             fallback=[{upstream='u'}]",
        )
        .unwrap();
        let ActionSettings::Split(split) = &settings.routes[0].action else {
            panic!("{:?}", settings.routes[0]);
        };
        let names: Vec<&str> = split.upstreams.iter().map(|one| one.name.as_str()).collect();
        assert_eq!((names, split.weights.as_slice()), (vec!["u", "v"], &[95, 0][..]));
        assert_eq!(split.by, HashBy::Cookie("sid".to_owned()));
    }

    #[test]
    fn faults_are_named() {
        let ok = "split=[{upstream='u',weight=1}]";
        let rows: [(&str, &str); 11] = [
            ("split=[]", "route[0].split: the list is empty"),
            ("split=[{upstream='u'}]", "split[0].weight: is missing"),
            (
                "split=[{upstream='u',weight=1001}]",
                "split[0].weight: 1001 is out of range",
            ),
            (
                "split=[{upstream='w',weight=1}]",
                "split[0].upstream: there is no upstream \"w\"",
            ),
            (
                "split=[{upstream='u',weight=1},{upstream='u',weight=1}]",
                "split[1].upstream: \"u\" has a share already",
            ),
            (
                "split=[{upstream='u',weight=0},{upstream='v',weight=0}]",
                "route[0].split: nobody gets a request: all weights are 0",
            ),
            (
                "upstream='u'\nsplit_by={client=true}",
                "route[0].split_by: the route has no split",
            ),
            (
                &format!("{ok}\nsplit_by={{}}"),
                "split_by: it does not say what to go by",
            ),
            (
                &format!("{ok}\nsplit_by={{cookie='a',client=true}}"),
                "split_by.client: cookie is given already",
            ),
            (
                &format!("{ok}\nsplit_by={{header='X'}}"),
                "split_by.header: \"X\" is no name of a header field in lower case",
            ),
            (
                &format!("{ok}\nsubset='a'"),
                "route[0].subset: the route splits its requests among whole upstreams",
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
