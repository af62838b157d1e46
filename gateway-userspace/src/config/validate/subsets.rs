//! `metadata` of endpoints, and the subsets of an upstream that go by it.

use std::collections::HashMap;

use http::HeaderName;

use super::names::{Names, Resolution};
use crate::config::given;
use crate::config::metadata::{Metadata, faults, has_all};
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::settings::{SubsetSettings, SubsetsSettings};
use crate::config::snapshot::{SubsetBy, SubsetFallback, SubsetPolicy};

/// What is said of an endpoint, or asked of one.
pub fn metadata(given: Option<&Metadata>, path: &KeyPath, problems: &mut Problems<'_>) -> Metadata {
    let Some(given) = given else {
        return Metadata::new();
    };
    for (name, fault, remedy) in faults(given) {
        let path = name.map_or_else(|| path.clone(), |name| path.key(name));
        problems.add(&path, fault, remedy);
    }
    given.clone()
}

/// The subsets of an upstream.
pub fn subsets(given: &given::Upstream, path: &KeyPath, problems: &mut Problems<'_>) -> SubsetsSettings {
    let (all, names) = all(given, &path.key("subsets"), problems);
    let is_any = given.subsets.is_some() || problems.is_known_below(&path.key("subsets"));
    let keys = [
        ("subset_by", given.subset_by.is_some()),
        ("subset_fallback", given.subset_fallback.is_some()),
        ("subset_default", given.subset_default.is_some()),
    ];
    for (key, _) in keys.iter().filter(|(_, is_given)| *is_given && !is_any) {
        let remedy = "add subsets = [ { name = \"…\", match = { … } } ], or remove it";
        problems.add(&path.key(key), "the upstream has no subsets", remedy);
    }
    let by = given.subset_by.as_ref().filter(|_| is_any);
    let by = by.and_then(|by| subset_by(by, &all, &path.key("subset_by"), problems));
    let fallback = if is_any {
        fallback(given, &all, &names, path, problems)
    } else {
        SubsetFallback::Any
    };
    SubsetsSettings { all, by, fallback }
}

fn all(given: &given::Upstream, path: &KeyPath, problems: &mut Problems<'_>) -> (Vec<SubsetSettings>, Names) {
    let mut names = Names::new("subset");
    let mut all: Vec<SubsetSettings> = Vec::new();
    for (index, subset) in given.subsets.iter().flatten().enumerate() {
        let path = path.index(index);
        let name = names.declare(subset.name.as_ref(), &path.key("name"), problems);
        let path = path.key("match");
        let matching = metadata(subset.matching.as_ref(), &path, problems);
        let has = |endpoint: &given::Endpoint| {
            let metadata = endpoint.metadata.as_ref();
            metadata.is_some_and(|metadata| has_all(metadata, &matching))
        };
        if subset.matching.is_some() && matching.is_empty() && !problems.is_known_below(&path) {
            let remedy = "write what its endpoints have, as in match = { version = \"v2\" }";
            problems.add(&path, "it asks for nothing", remedy);
        } else if let Some(other) = all.iter().find(|other| other.matching == matching) {
            let fault = format!("subset \"{}\" has the same endpoints", other.name);
            problems.add(&path, fault, "remove one of both");
        } else if subset.matching.is_some()
            && given.registration.is_none()
            && !given.endpoints.iter().flatten().any(has)
            && !problems.is_known_below(&path)
        {
            let whose = name.as_deref().unwrap_or_default();
            problems.add(
                &path,
                format!("subset \"{whose}\" is empty: no endpoint of the upstream has this metadata"),
                "add metadata = { … } to an endpoint, or remove the subset",
            );
        }
        if let Some(name) = name {
            all.push(SubsetSettings { name, matching });
        }
    }
    (all, names)
}

fn subset_by(
    given: &given::SubsetBy,
    all: &[SubsetSettings],
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<SubsetBy> {
    let header = given.header.as_ref().and_then(|name| {
        let header = HeaderName::from_lowercase(name.as_bytes()).ok();
        if header.is_none() {
            let fault = format!("\"{name}\" is no name of a header field in lower case");
            problems.add(&path.key("header"), fault, "write it as in \"x-version\"");
        }
        header
    });
    let wanted = given.metadata.as_ref()?;
    let value = |(index, subset): (usize, &SubsetSettings)| {
        let value = subset
            .matching
            .get(wanted)
            .filter(|_| subset.matching.len() == 1)?;
        Some((value.clone(), index))
    };
    let subsets: HashMap<_, _> = all.iter().enumerate().filter_map(value).collect();
    if subsets.is_empty() && !all.is_empty() {
        problems.add(
            &path.key("metadata"),
            format!("no subset's match has \"{wanted}\" and nothing else"),
            format!("add subsets with match = {{ {wanted} = \"…\" }}, or write another name"),
        );
    }
    Some(SubsetBy {
        header: header?,
        subsets,
    })
}

fn fallback(
    given: &given::Upstream,
    all: &[SubsetSettings],
    names: &Names,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> SubsetFallback {
    let path = path.key("subset_default");
    match (
        given.subset_fallback.unwrap_or(SubsetPolicy::Any),
        &given.subset_default,
    ) {
        (SubsetPolicy::Default, Some(name)) => {
            if all.is_empty() || names.resolves(name, &path, problems) == Resolution::Unknown {
                return SubsetFallback::Any;
            }
            let position = all.iter().position(|subset| subset.name == *name);
            position.map_or(SubsetFallback::Any, SubsetFallback::Subset)
        }
        (SubsetPolicy::Default, None) => {
            if !problems.is_known_at(&path) {
                let remedy = "add subset_default = \"NAME\", the name of a subset";
                problems.add(&path, "nothing says which subset is the default", remedy);
            }
            SubsetFallback::Any
        }
        (_, Some(_)) => {
            let remedy = "add subset_fallback = \"default\", or remove it";
            problems.add(&path, "nothing falls back to it", remedy);
            SubsetFallback::Any
        }
        (SubsetPolicy::Any, None) => SubsetFallback::Any,
        (SubsetPolicy::None, None) => SubsetFallback::None,
    }
}

/// Which subset of its upstream a route wants.
pub fn of_route(
    given: &given::Route,
    subsets: Option<&SubsetsSettings>,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<usize> {
    let wanted = given.subset.as_ref()?;
    let path = path.key("subset");
    let (Some(upstream), Some(subsets)) = (&given.upstream, subsets) else {
        if given.split.is_some() {
            let fault = "the route splits its requests among whole upstreams";
            problems.add(&path, fault, "remove it, or write upstream instead of split");
        } else if given.upstream.is_none() {
            problems.add(&path, "the route asks no upstream", "remove it");
        }
        return None;
    };
    if subsets.all.is_empty() {
        let fault = format!("upstream \"{upstream}\" has no subsets");
        problems.add(&path, fault, "add subsets to the upstream, or remove it");
        return None;
    }
    let mut names = Names::new("subset");
    names.expect(subsets.all.iter().map(|subset| &subset.name));
    names.resolves(wanted, &path, problems);
    subsets.all.iter().position(|subset| subset.name == *wanted)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config::load::load_text;
    use crate::config::problem::Refused;
    use crate::config::settings::Settings;
    use crate::config::surroundings::Surroundings;

    fn load(endpoints: &str, upstream: &str, route: &str) -> Result<Settings, Refused> {
        let text = format!(
            "[node]\nname='a'\n[[listener]]\nname='web'\naddress='127.0.0.1:80'\n\
             [[route]]\nname='r'\nlisteners=['web']\nupstream='u'\nmatch={{path_prefix='/'}}\n{route}\n\
             [[upstream]]\nname='u'\nendpoints=[{{address='10.0.1.1:80'}},{{address='10.0.1.2:80'{endpoints}}}]\n{upstream}\n"
        );
        let surroundings = Surroundings {
            cores: 2,
            state_directory: PathBuf::from("/state"),
            invalid: crate::config::surroundings::Invalid::Refused,
        };
        load_text(Path::new("t.toml"), &text, &surroundings)
    }

    const V2: &str = ",metadata={version='v2',stage='canary'}";
    const SUBSETS: &str =
        "subsets=[{name='new',match={version='v2'}},{name='both',match={version='v2',stage='canary'}}]";

    #[test]
    fn subsets_are_resolved_to_indices() {
        let upstream = format!(
            "{SUBSETS}\nsubset_by={{header='x-version',metadata='version'}}\nsubset_fallback='default'\n\
             subset_default='both'"
        );
        let settings = load(V2, &upstream, "subset='both'").unwrap();
        let subsets = &settings.upstreams[0].subsets;
        let names: Vec<_> = subsets.all.iter().map(|subset| subset.name.as_str()).collect();
        assert_eq!(names, ["new", "both"]);
        assert_eq!(subsets.fallback, SubsetFallback::Subset(1));
        let by = subsets.by.as_ref().unwrap();
        assert_eq!(by.header, "x-version");
        assert_eq!(
            by.subsets,
            HashMap::from([("v2".to_owned(), 0)]),
            "not the narrower one"
        );
        assert_eq!(settings.routes[0].subset, Some(1));
        let metadata = &settings.upstreams[0].endpoints[1].metadata;
        assert_eq!(metadata.get("stage").map(String::as_str), Some("canary"));
        for (policy, expected) in [("any", SubsetFallback::Any), ("none", SubsetFallback::None)] {
            let settings = load(V2, &format!("{SUBSETS}\nsubset_fallback='{policy}'"), "").unwrap();
            assert_eq!(settings.upstreams[0].subsets.fallback, expected);
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let rows: &[(&str, &str, &str, &[&str])] = &[
            (
                ",metadata={version=2}",
                "",
                "",
                &["metadata.version: 2 is not text"],
            ),
            (
                ",metadata={'a b'='v'}",
                "",
                "",
                &["\"a b\" will not do as a name"],
            ),
            (
                "",
                SUBSETS,
                "",
                &[
                    "upstream[0].subsets[0].match: subset \"new\" is empty",
                    "upstream[0].subsets[1].match: subset \"both\" is empty",
                ],
            ),
            (
                V2,
                "subsets=[{name='new',match={}}]",
                "",
                &["subsets[0].match: it asks for nothing"],
            ),
            (
                V2,
                "subsets=[{name='new'}]",
                "",
                &["subsets[0].match: is missing; add match = { version = \"v2\" }"],
            ),
            (
                V2,
                "subsets=[{name='new',match={version='v2'}},{name='new',match={version='v2'}}]",
                "",
                &[
                    "is the name of another subset already",
                    "subset \"new\" has the same endpoints",
                ],
            ),
            (
                V2,
                "subset_by={header='x',metadata='version'}",
                "",
                &["subset_by: the upstream has no subsets"],
            ),
            (
                V2,
                &format!("{SUBSETS}\nsubset_by={{header='X',metadata='stage'}}"),
                "",
                &[
                    "is no name of a header field",
                    "no subset's match has \"stage\" and nothing else",
                ],
            ),
            (
                V2,
                &format!("{SUBSETS}\nsubset_fallback='default'"),
                "",
                &["nothing says which subset"],
            ),
            (
                V2,
                &format!("{SUBSETS}\nsubset_default='new'"),
                "",
                &["nothing falls back to it"],
            ),
            (
                V2,
                &format!("{SUBSETS}\nsubset_fallback='default'\nsubset_default='nev'"),
                "",
                &["there is no subset \"nev\"; did you mean \"new\"?"],
            ),
            (
                V2,
                SUBSETS,
                "subset='bot'",
                &["route[0].subset: there is no subset \"bot\"; did you mean \"both\"?"],
            ),
            (
                V2,
                "",
                "subset='new'",
                &["route[0].subset: upstream \"u\" has no subsets"],
            ),
        ];
        for (endpoints, upstream, route, faults) in rows {
            let refused = load(endpoints, upstream, route).unwrap_err();
            let text = refused.to_string();
            for fault in *faults {
                assert!(text.contains(fault), "{upstream} {route}: {fault}\n{text}");
            }
            assert_eq!(
                refused.problems().len(),
                faults.len(),
                "{upstream} {route}: {text}"
            );
        }
        let registers = format!("{SUBSETS}\nregistration={{}}\nhealth={{heartbeat={{pushed=true}}}}");
        load("", &registers, "").unwrap();
    }
}
