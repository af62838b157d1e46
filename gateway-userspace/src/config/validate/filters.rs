//! `route.filters` and `listener.filters`: names, exactly one kind each, and what each kind wants.

mod compression;
mod cors;
mod credentials;
mod forward_auth;
mod jwt;
mod rate_limit;
mod secrets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue};

use super::keys;
use super::names::Names;
use crate::config::given;
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::filters::addresses::{Addresses, Rule};
use crate::filters::api_key;
use crate::filters::body_limit::BodyLimit;
use crate::filters::headers::{Edit, Headers, is_own};
use crate::filters::jwt::Keys;
use crate::filters::{FilterSettings, Settings};
use crate::router::PathPattern;

/// Where filters stand.
#[derive(Clone, Copy)]
pub enum Scope<'s> {
    /// In a listener.
    Listener,
    /// In a route with that path, if it can be read.
    Route(Option<&'s PathPattern>),
}

/// The filters of the route or listener at that path; upstreams are those that they may ask.
pub fn filters(
    given: Option<&[given::Filter]>,
    scope: Scope<'_>,
    upstreams: &Names,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Vec<FilterSettings> {
    let path = path.key("filters");
    let mut names = Names::new("filter");
    let mut filters = Vec::new();
    for (index, filter) in given.into_iter().flatten().enumerate() {
        let path = path.index(index);
        let name = names.declare(filter.name.as_ref(), &path.key("name"), problems);
        let kind = kind(filter, scope, upstreams, &path, problems);
        let file = kind.as_ref().and_then(|kind| file(filter, kind, problems));
        filters.extend(
            name.zip(kind)
                .map(|(name, kind)| FilterSettings { name, kind, file }),
        );
    }
    filters
}

/// The file that must be read anew when it has changed.
fn file(given: &given::Filter, kind: &Settings, problems: &Problems<'_>) -> Option<PathBuf> {
    let named = match kind {
        Settings::BasicAuth(_) => given.basic_auth.as_ref().and_then(|given| given.file.as_ref()),
        Settings::ApiKey(_) => given.api_key.as_ref().and_then(|given| given.file.as_ref()),
        Settings::Jwt(settings) => match &settings.keys {
            Keys::Given { .. } => given.jwt.as_ref().and_then(|given| given.jwks_file.as_ref()),
            // Without a name it is the system's.
            Keys::Fetched { publisher, .. } => publisher.tls.as_ref().map(|tls| &tls.settings().roots.file),
        },
        _ => None,
    };
    Some(problems.document().directory().join(named?))
}

/// What a filter does with what its file holds now.
///
/// # Errors
/// Why the file is not good.
pub fn renewed(kind: &Settings, file: &Path) -> Result<Settings, String> {
    let renewed = match kind {
        Settings::BasicAuth(held) => credentials::renewed_users(held, file).map(Settings::BasicAuth),
        Settings::ApiKey(held) => credentials::keys(file).map(|keys| {
            Settings::ApiKey(api_key::Settings {
                place: held.place.clone(),
                keys,
            })
        }),
        Settings::Jwt(held) => jwt::renewed(held, file).map(Settings::Jwt),
        other => Ok(other.clone()),
    };
    renewed.map_err(|(fault, remedy)| format!("{} {fault}; {remedy}", file.display()))
}

/// Exactly one.
fn kind(
    given: &given::Filter,
    scope: Scope<'_>,
    upstreams: &Names,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<Settings> {
    let kinds = [
        ("headers", given.headers.is_some()),
        ("rate_limit", given.rate_limit.is_some()),
        ("ip_allow", given.ip_allow.is_some()),
        ("ip_deny", given.ip_deny.is_some()),
        ("cors", given.cors.is_some()),
        ("basic_auth", given.basic_auth.is_some()),
        ("api_key", given.api_key.is_some()),
        ("body_limit", given.body_limit.is_some()),
        ("jwt", given.jwt.is_some()),
        ("compression", given.compression.is_some()),
        ("forward_auth", given.forward_auth.is_some()),
    ];
    let mut there = kinds
        .iter()
        .filter(|(_, is_there)| *is_there)
        .map(|(key, _)| *key);
    match (there.next(), there.next()) {
        (Some(first), Some(second)) => {
            let fault = format!("the filter does {first} already");
            let remedy = "give each a filter of its own, in the order in which they are to work";
            problems.add(&path.key(second), fault, remedy);
            None
        }
        // What it was to do was there, perhaps under another name, and is reported already.
        (None, _) if problems.is_known_below(path) => None,
        (None, _) => {
            let known: Vec<&str> = kinds.iter().map(|(key, _)| *key).collect();
            let remedy = format!("add one of {}", known.join(", "));
            problems.add(path, "the filter does nothing", remedy);
            None
        }
        (Some(key), None) => settings(given, scope, upstreams, &path.key(key), problems),
    }
}

/// What the one kind comes to that is there.
fn settings(
    given: &given::Filter,
    scope: Scope<'_>,
    upstreams: &Names,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<Settings> {
    if let Some(given) = &given.headers {
        return Some(Settings::Headers(headers(given, path, problems)));
    }
    if let Some(given) = &given.rate_limit {
        return rate_limit::rate_limit(given, scope, path, problems).map(Settings::RateLimit);
    }
    if let Some(given) = &given.cors {
        return cors::cors(given, path, problems).map(Settings::Cors);
    }
    if let Some(given) = &given.basic_auth {
        return credentials::basic_auth(given, path, problems).map(Settings::BasicAuth);
    }
    if let Some(given) = &given.api_key {
        return credentials::api_key(given, path, problems).map(Settings::ApiKey);
    }
    if let Some(given) = &given.jwt {
        return jwt::jwt(given, path, problems).map(Settings::Jwt);
    }
    if let Some(given) = &given.forward_auth {
        return forward_auth::forward_auth(given, upstreams, path, problems).map(Settings::ForwardAuth);
    }
    if let Some(given) = &given.compression {
        let compression = compression::compression(given, path, problems);
        return Some(Settings::Compression(compression));
    }
    if let Some(given) = &given.body_limit {
        return given.bytes.map(|bytes| Settings::BodyLimit(BodyLimit { bytes }));
    }
    let lists = [(&given.ip_allow, Rule::Allow), (&given.ip_deny, Rule::Deny)];
    let list = lists
        .into_iter()
        .find_map(|(list, rule)| Some((list.as_ref()?, rule)));
    if let Some((list, rule)) = list {
        let networks = keys::networks(list, path, problems);
        return Some(Settings::Addresses(Addresses { networks, rule }));
    }
    None
}

fn headers(given: &given::HeadersFilter, path: &KeyPath, problems: &mut Problems<'_>) -> Headers {
    let headers = Headers {
        request: edit(given.request.as_ref(), &path.key("request"), problems),
        response: edit(given.response.as_ref(), &path.key("response"), problems),
    };
    if headers.request.is_empty() && headers.response.is_empty() && !problems.is_known_below(path) {
        let remedy = "add request or response, as in request = { set = { x-tenant = \"blue\" } }";
        problems.add(path, "nothing is changed", remedy);
    }
    headers
}

fn edit(given: Option<&given::HeaderEdit>, path: &KeyPath, problems: &mut Problems<'_>) -> Edit {
    let Some(given) = given else {
        return Edit::default();
    };
    let mut remove = Vec::new();
    for (index, name) in given.remove.iter().flatten().enumerate() {
        let path = path.key("remove").index(index);
        let Some(name) = changeable(name, &path, problems) else {
            continue;
        };
        if remove.contains(&name) {
            problems.add(&path, format!("\"{name}\" stands here twice"), "remove one");
        } else if given
            .set
            .as_ref()
            .is_some_and(|set| set.contains_key(name.as_str()))
        {
            let remedy = "leave it out here: what is set takes the place of what is there";
            problems.add(&path, format!("\"{name}\" is set, too"), remedy);
        }
        remove.push(name);
    }
    Edit {
        remove,
        set: fields(given.set.as_ref(), &path.key("set"), problems),
        add: fields(given.add.as_ref(), &path.key("add"), problems),
    }
}

fn fields(
    given: Option<&BTreeMap<String, String>>,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let given = given.into_iter().flatten();
    let count = given.clone().count();
    if count > limits::FILTER_FIELDS_MAX {
        let remedy = format!("list at most {}", limits::FILTER_FIELDS_MAX);
        problems.add(path, format!("{count} fields are too many"), remedy);
    }
    let mut fields = Vec::new();
    for (name, value) in given {
        let path = path.key(name);
        let name = changeable(name, &path, problems);
        let value = self::value(value, &path, problems);
        fields.extend(name.zip(value));
    }
    fields
}

/// A field that a filter may touch.
fn changeable(name: &str, path: &KeyPath, problems: &mut Problems<'_>) -> Option<HeaderName> {
    let parsed = field_name(name, path, problems)?;
    if is_own(name) {
        let fault = format!("{name} frames a message, is of one hop, or is the gateway's own word");
        let remedy = "use a field of your own; the gateway writes this one itself where it is wanted";
        problems.add(path, fault, remedy);
        return None;
    }
    Some(parsed)
}

/// The name of a field, in lower case.
fn field_name(name: &str, path: &KeyPath, problems: &mut Problems<'_>) -> Option<HeaderName> {
    let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    let parsed = parsed.filter(|_| is_lower && name.len() <= limits::NAME_CHARS_MAX);
    if parsed.is_none() {
        let fault = format!("\"{name}\" is no name of a field in lower case");
        problems.add(path, fault, "write it as in \"x-tenant\"");
    }
    parsed
}

/// Source: RFC 9110, section 5.5.
fn value(text: &str, path: &KeyPath, problems: &mut Problems<'_>) -> Option<HeaderValue> {
    let is_plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && text.trim() == text;
    let value = HeaderValue::from_str(text).ok();
    let value = value.filter(|_| is_plain && text.len() <= limits::FILTER_VALUE_CHARS_MAX);
    if value.is_none() {
        let remedy = format!(
            "write at most {} printable ASCII characters, without blanks around them",
            limits::FILTER_VALUE_CHARS_MAX
        );
        problems.add(path, "that is no value of a field", remedy);
    }
    value
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config::Settings as Loaded;
    use crate::config::load::load_text;
    use crate::config::problem::Refused;
    use crate::config::snapshot::Networks;
    use crate::config::surroundings::Surroundings;

    pub(super) fn load(listener: &str, route: &str) -> Result<Loaded, Refused> {
        load_in(Path::new(""), listener, route)
    }

    /// With filters of the listener and of the route; files are of that directory.
    pub(super) fn load_in(directory: &Path, listener: &str, route: &str) -> Result<Loaded, Refused> {
        let text = format!(
            "[node]\nname='a'\n[[listener]]\nname='web'\naddress='127.0.0.1:80'\nfilters=[{listener}]\n\
             [[route]]\nname='r'\nlisteners=['web']\nrespond={{status=200}}\nmatch={{path='/u/{{id}}'}}\nfilters=[{route}]\n"
        );
        let surroundings = Surroundings {
            cores: 2,
            state_directory: PathBuf::from("/state"),
            invalid: crate::config::surroundings::Invalid::Refused,
        };
        load_text(&directory.join("t.toml"), &text, &surroundings)
    }

    /// What a filter of a route comes to.
    pub(super) fn kind_of(filter: &str) -> Settings {
        let settings = load("", &format!("{{name='f',{filter}}}"));
        settings.unwrap().routes[0].filters[0].kind.clone()
    }

    #[track_caller]
    pub(super) fn check(filters: &str, wanted: &[&str]) {
        Refused::expect(load("", filters), filters, wanted);
    }

    #[test]
    fn a_filter_has_a_name_of_its_own_and_does_exactly_one_thing() {
        let ok = "headers={request={remove=['x-a']}}";
        check(&format!("{{name='a',{ok}}},{{name='b',{ok}}}"), &[]);
        check(
            &format!("{{name='a',{ok}}},{{name='a',{ok}}}"),
            &["route[0].filters[1].name: \"a\" is the name of another filter already"],
        );
        check(
            "{name='a'}",
            &["route[0].filters[0]: the filter does nothing; add one of headers"],
        );
        check(&format!("{{{ok}}}"), &["route[0].filters[0].name: is missing"]);
        check(
            "{name='a',header={}}",
            &["filters[0].header: unknown key; did you mean headers?"],
        );
        let many: Vec<String> = (0..17).map(|index| format!("{{name='f{index}',{ok}}}")).collect();
        check(
            &many.join(","),
            &["filters: 17 entries are too many; list at most 16"],
        );
        let same = format!("{{name='a',{ok}}}");
        let settings = load(&same, &same).unwrap();
        assert_eq!(settings.listeners[0].filters, settings.routes[0].filters);
    }

    #[test]
    fn fields_that_may_not_be_changed_are_named() {
        let rows: [(&str, &[&str]); 8] = [
            ("headers={}", &["headers: nothing is changed"]),
            (
                "headers={request={set={Host='a',host='b'}}}",
                &[
                    "set.Host: \"Host\" is no name of a field in lower case",
                    "set.host: host frames",
                ],
            ),
            (
                "headers={response={remove=['content-length','x-forwarded-for','via','x-request-id']}}",
                &[
                    "remove[0]",
                    "remove[1]",
                    "remove[2]",
                    "remove[3]: x-request-id frames a message",
                ],
            ),
            (
                "headers={request={add={x-a=\"a\\nb\",x-b=' c',x-c=''}}}",
                &["add.x-a: that is no value", "add.x-b: that is no value"],
            ),
            (
                "headers={request={remove=['x-a','x-a']}}",
                &["remove[1]: \"x-a\" stands here twice"],
            ),
            (
                "headers={request={remove=['x-a'],set={x-a='1'}}}",
                &["remove[0]: \"x-a\" is set, too"],
            ),
            ("headers={request={remove=[]}}", &["remove: the list is empty"]),
            ("headers={request={set={x-a=1}}}", &["set.x-a: 1 is not text"]),
        ];
        for (filter, faults) in rows {
            check(&format!("{{name='f',{filter}}}"), faults);
        }
    }

    #[test]
    fn networks_are_read_and_misleading_ones_named() {
        let networks = |texts: &[&str]| Networks(texts.iter().map(|text| text.parse().unwrap()).collect());
        let rows = [
            ("ip_allow=['10.0.0.0/8','2001:db8::1']", Rule::Allow),
            ("ip_deny=['10.0.0.0/8','2001:db8::1']", Rule::Deny),
        ];
        for (filter, rule) in rows {
            let networks = networks(&["10.0.0.0/8", "2001:db8::1/128"]);
            assert_eq!(kind_of(filter), Settings::Addresses(Addresses { networks, rule }));
        }
        check("{name='f',ip_allow=[]}", &["ip_allow: the list is empty"]);
        check(
            "{name='f',ip_deny=['10.0.0.1/8','::ffff:10.0.0.1','x','10.1.0.0/16','10.1.0.0/16']}",
            &[
                "ip_deny[0]: 10.0.0.1/8 has bits beyond its prefix",
                "ip_deny[1]: ::ffff:10.0.0.1/128 is IPv4 written as IPv6",
                "ip_deny[2]: 'x' is not a network",
                "ip_deny[4]: 10.1.0.0/16 stands here twice",
            ],
        );
        check(
            "{name='f',ip_allow=['10.0.0.0/8'],ip_deny=['10.1.0.0/16']}",
            &["filters[0].ip_deny: the filter does ip_allow already; give each a filter of its own"],
        );
    }

    #[test]
    fn bodies_are_bounded_by_bytes() {
        let kind = kind_of("body_limit={bytes=7}");
        assert_eq!(kind, Settings::BodyLimit(BodyLimit { bytes: 7 }));
        check("{name='f',body_limit={}}", &["body_limit.bytes: is missing"]);
        check(
            "{name='f',body_limit={bytes=-1}}",
            &["body_limit.bytes: -1 is out of range"],
        );
    }

    #[test]
    fn edits_are_read_as_they_stand() {
        let kind = kind_of("headers={request={remove=['x-a'],set={x-b='1'}},response={add={x-c='2 3'}}}");
        let field = |name, value| vec![(HeaderName::from_static(name), HeaderValue::from_static(value))];
        let expected = Headers {
            request: Edit {
                remove: vec![HeaderName::from_static("x-a")],
                set: field("x-b", "1"),
                add: Vec::new(),
            },
            response: Edit {
                add: field("x-c", "2 3"),
                ..Edit::default()
            },
        };
        assert_eq!(kind, Settings::Headers(expected));
    }
}
