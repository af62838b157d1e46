//! Listeners and routes of connections (`tcp`, `tls_passthrough`): what they may say, which is less than those of requests,
//! and what their upstreams may be. Also where the PROXY protocol goes.

use std::sync::Arc;

use super::listeners;
use super::matching::{self, Matching};
use crate::config::given::{self, Given};
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::settings::{ActionSettings, ListenerSettings, RouteSettings, Settings, UpstreamSettings};
use crate::config::snapshot::{Carries, HashBy};
use crate::filters::FilterSettings;
use crate::router::PathPattern;

/// The only outcome after which a connection is tried once more.
const RETRIED: &str = "connect-failure";

/// The keys of `route.match` that ask for something which only requests have.
fn asks_of_requests(given: &given::Match) -> [(&'static str, bool); 8] {
    [
        ("path", given.path.is_some()),
        ("path_prefix", given.path_prefix.is_some()),
        ("path_regex", given.path_regex.is_some()),
        ("methods", given.methods.is_some()),
        ("headers", given.headers.is_some()),
        ("query", given.query.is_some()),
        ("cookies", given.cookies.is_some()),
        ("client_certificate", given.client_certificate.is_some()),
    ]
}

/// What a route's listeners carry; they must agree.
pub fn carries(
    route: &given::Route,
    served: &[String],
    listeners: &[(String, Carries)],
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Carries {
    let mut all = served
        .iter()
        .filter_map(|name| listeners.iter().find(|(listener, _)| listener == name));
    let Some((first, carries)) = all.next() else {
        return Carries::Requests;
    };
    if let Some((other, otherwise)) = all.find(|(_, otherwise)| otherwise != carries) {
        let mut given = route.listeners.iter().flatten();
        let index = given.position(|name| name == other);
        let fault = format!(
            "{other} carries {}, and {first} carries {}",
            word(*otherwise),
            word(*carries)
        );
        let path = path.key("listeners").index(index.unwrap_or_default());
        problems.add(&path, fault, "make a route of its own for each of the two");
    }
    *carries
}

fn word(carries: Carries) -> &'static str {
    match carries {
        Carries::Requests => "requests",
        Carries::Bytes => "connections of any kind",
        Carries::Tls => "TLS that is passed on",
    }
}

/// A listener of connections: keys of HTTP have no effect there.
pub fn listener(given: &given::Listener, path: &KeyPath, problems: &mut Problems<'_>) {
    let (http, route) = (given.listener_keys(), given.route_keys());
    let keys = [
        ("mode", http.mode.is_some()),
        ("head_bytes_max", http.head_bytes_max.is_some()),
        ("fields_max", http.fields_max.is_some()),
        ("target_bytes_max", http.target_bytes_max.is_some()),
        ("head_timeout", http.head_timeout.is_some()),
        ("stalled_timeout", http.stalled_timeout.is_some()),
        ("keep_alive_timeout", http.keep_alive_timeout.is_some()),
        ("h2_idle_timeout", http.h2_idle_timeout.is_some()),
        ("connection_age", http.connection_age.is_some()),
        ("trusted_proxies", http.trusted_proxies.is_some()),
        ("h2_streams_max", http.h2_streams_max.is_some()),
        ("h2_stream_window_bytes", http.h2_stream_window_bytes.is_some()),
        (
            "h2_connection_window_bytes",
            http.h2_connection_window_bytes.is_some(),
        ),
        ("h2_head_bytes_max", http.h2_head_bytes_max.is_some()),
    ];
    refuse(&keys, path, problems);
    route_keys(&route, path, problems);
    let waits = listeners::carries(given) == Carries::Tls || given.proxy_protocol.is_some();
    if http.first_byte_timeout.is_some() && !waits {
        let remedy = "remove it; tunnel_idle_timeout bounds the connection";
        let fault = "nothing is waited for here: an endpoint may be the first to speak";
        problems.add(&path.key("first_byte_timeout"), fault, remedy);
    }
    filters(given.filters.as_deref(), path, problems);
}

/// A route of connections.
pub fn route(given: &given::Route, path: &KeyPath, problems: &mut Problems<'_>) {
    let keys = [
        ("redirect", given.redirect.is_some()),
        ("respond", given.respond.is_some()),
        ("rewrite", given.rewrite.is_some()),
        ("mirror", given.mirror.is_some()),
        ("fault", given.fault.is_some()),
        ("fallback", given.fallback.is_some()),
        ("fallback_on", given.fallback_on.is_some()),
    ];
    refuse(&keys, path, problems);
    route_keys(&given.route_keys(), path, problems);
    filters(given.filters.as_deref(), path, problems);
    if let Some(by) = &given.split_by {
        let keys = [("cookie", by.cookie.is_some()), ("header", by.header.is_some())];
        let at = path.key("split_by");
        for (key, _) in keys.iter().filter(|(_, is_given)| *is_given) {
            let remedy = "write client = true";
            problems.add(&at.key(key), "a connection has no such thing", remedy);
        }
    }
}

/// Of what holds for requests, connections have little.
fn route_keys(keys: &given::RouteKeys, path: &KeyPath, problems: &mut Problems<'_>) {
    let others = [
        ("timeout_total", keys.timeout_total.is_some()),
        ("try_timeout", keys.try_timeout.is_some()),
        ("deadline_header", keys.deadline_header.is_some()),
        ("response_idle_timeout", keys.response_idle_timeout.is_some()),
        ("body_bytes_max", keys.body_bytes_max.is_some()),
        ("grpc_message_bytes_max", keys.grpc_message_bytes_max.is_some()),
        ("grpc_web", keys.grpc_web.is_some()),
        ("replay_bytes_max", keys.replay_bytes_max.is_some()),
        ("merge_slashes", keys.merge_slashes.is_some()),
        ("encoded_slash", keys.encoded_slash.is_some()),
        ("expect", keys.expect.is_some()),
        ("upgrades", keys.upgrades.is_some()),
    ];
    refuse(&others, path, problems);
    let Some(retry) = &keys.retry else { return };
    let path = path.key("retry");
    for (index, word) in retry.on.iter().flatten().enumerate() {
        if word != RETRIED {
            let fault = format!("\"{word}\" is an outcome of requests");
            let remedy = format!("write \"{RETRIED}\": once bytes have passed nobody can begin anew");
            problems.add(&path.key("on").index(index), fault, remedy);
        }
    }
    if retry.retry_after_max.is_some() {
        refuse(&[("retry_after_max", true)], &path, problems);
    }
}

/// Only addresses can be looked at.
fn filters(given: Option<&[given::Filter]>, path: &KeyPath, problems: &mut Problems<'_>) {
    for (index, filter) in given.into_iter().flatten().enumerate() {
        let kinds = [
            ("headers", filter.headers.is_some()),
            ("rate_limit", filter.rate_limit.is_some()),
            ("cors", filter.cors.is_some()),
            ("basic_auth", filter.basic_auth.is_some()),
            ("api_key", filter.api_key.is_some()),
            ("body_limit", filter.body_limit.is_some()),
            ("jwt", filter.jwt.is_some()),
            ("compression", filter.compression.is_some()),
            ("forward_auth", filter.forward_auth.is_some()),
        ];
        let path = path.key("filters").index(index);
        for (kind, _) in kinds.iter().filter(|(_, is_given)| *is_given) {
            let remedy = "remove it; connections pass ip_allow and ip_deny";
            problems.add(&path.key(kind), "is a filter of requests", remedy);
        }
    }
}

fn refuse(keys: &[(&str, bool)], path: &KeyPath, problems: &mut Problems<'_>) {
    for (key, _) in keys.iter().filter(|(_, is_given)| *is_given) {
        let fault = "is for requests, and the listener passes connections on unread";
        problems.add(&path.key(key), fault, "remove it, or write protocol = \"http\"");
    }
}

/// Which connections a route takes.
pub fn matching(
    given: Option<&given::Match>,
    carries: Carries,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Matching {
    let nothing = given::Match::default();
    let (given, path) = (given.unwrap_or(&nothing), path.key("match"));
    for (key, _) in asks_of_requests(given).iter().filter(|(_, is_given)| *is_given) {
        let remedy = match carries {
            Carries::Tls => "remove it; hosts (by SNI) and client can be asked for",
            _ => "remove it; client can be asked for",
        };
        problems.add(&path.key(key), "a connection has no such thing", remedy);
    }
    if carries == Carries::Bytes && given.hosts.is_some() {
        let remedy = "remove it, or write protocol = \"tls_passthrough\" for the listener";
        problems.add(&path.key("hosts"), "a connection names no host", remedy);
    }
    Matching {
        hosts: matching::hosts(given, &path, problems),
        path: PathPattern::Prefix("/".to_owned()),
        methods: Vec::new(),
        conditions: matching::conditions(given, &path, problems),
    }
}

/// The upstreams of a route of connections: what of them goes by requests has no effect.
pub fn upstreams(
    route: &given::Route,
    upstreams: &[Arc<UpstreamSettings>],
    path: &KeyPath,
    problems: &mut Problems<'_>,
) {
    let one = route.upstream.iter().map(|name| (name, path.key("upstream")));
    let shares = route.split.iter().flatten().enumerate();
    let shares = shares.filter_map(|(index, share)| {
        let path = path.key("split").index(index).key("upstream");
        Some((share.upstream.as_ref()?, path))
    });
    for (name, path) in one.chain(shares) {
        let Some(upstream) = upstreams.iter().find(|upstream| upstream.name == *name) else {
            continue;
        };
        let hashes_requests = !matches!(upstream.hash_by, HashBy::Nothing | HashBy::Client);
        let mut endpoints = upstream.endpoints.iter();
        let has_channels =
            !upstream.channels.is_empty() || endpoints.any(|endpoint| !endpoint.channels.is_empty());
        let unfit = [
            (
                upstream.tls.is_some(),
                "tls",
                "TLS to endpoints is made for requests",
            ),
            (upstream.sticky.is_some(), "sticky", "connections have no cookies"),
            (
                upstream.subsets.by.is_some(),
                "subset_by",
                "connections have no header",
            ),
            (
                hashes_requests,
                "hash",
                "connections are told apart by client = true alone",
            ),
            (has_channels, "channels", "other ways are tried by HTTP"),
        ];
        for (_, key, why) in unfit.iter().filter(|(is_there, ..)| *is_there) {
            let fault = format!("\"{name}\" has {key}: {why}");
            let remedy = "make an upstream without it for connections";
            problems.add(&path, fault, remedy);
        }
    }
}

/// A listener of connections without a route would close each at once.
pub fn serve(given: &Given, listeners: &[ListenerSettings], problems: &mut Problems<'_>) {
    if problems.is_known_below(&KeyPath::top("route")) {
        return;
    }
    for (index, listener) in given.listener.iter().flatten().enumerate() {
        let is_unserved = |settings: &&ListenerSettings| {
            Some(&settings.name) == listener.name.as_ref()
                && settings.carries != Carries::Requests
                && settings.routes.is_empty()
        };
        if listeners.iter().any(|settings| is_unserved(&settings)) {
            let remedy = "add a [[route]] with its name in listeners, and an upstream";
            let path = KeyPath::top("listener").index(index);
            problems.add(&path, "no route says where its connections go", remedy);
        }
    }
}

/// An upstream whose connections begin with a header of the PROXY protocol cannot get requests: its connections would be
/// kept for those of other clients.
pub fn headers(
    given: &Given,
    routes: &[Arc<RouteSettings>],
    listeners: &[ListenerSettings],
    problems: &mut Problems<'_>,
) {
    let path = KeyPath::top("upstream");
    for (index, upstream) in given.upstream.iter().flatten().enumerate() {
        let (Some(_), Some(name)) = (upstream.proxy_protocol, &upstream.name) else {
            continue;
        };
        let asks = |route: &&Arc<RouteSettings>| {
            takes_requests(route, listeners) && asked(route, listeners).any(|asked| asked == *name)
        };
        if let Some(route) = routes.iter().find(asks) {
            let fault = format!(
                "route \"{}\" sends requests there, over connections that serve any client",
                route.name
            );
            let remedy = "remove it: endpoints read X-Forwarded-For. It is for routes of tcp and tls_passthrough listeners";
            problems.add(&path.index(index).key("proxy_protocol"), fault, remedy);
        }
    }
}

/// The same of a route that comes to those that are there.
pub fn headers_of_added(
    route: &RouteSettings,
    settings: &Settings,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) {
    if !takes_requests(route, &settings.listeners) {
        return;
    }
    for name in asked(route, &settings.listeners) {
        let mut upstreams = settings.upstreams.iter();
        if upstreams.any(|upstream| upstream.name == name && upstream.proxy_header.is_some()) {
            let fault = format!(
                "\"{name}\" has proxy_protocol: its connections serve one client each, and no requests"
            );
            problems.add(path, fault, "name an upstream without it");
        }
    }
}

fn takes_requests(route: &RouteSettings, listeners: &[ListenerSettings]) -> bool {
    let mut served = listeners
        .iter()
        .filter(|listener| route.listeners.contains(&listener.name));
    served.any(|listener| listener.carries == Carries::Requests)
}

/// The upstreams that requests of a route go to, in whatever way.
fn asked<'a>(route: &'a RouteSettings, listeners: &'a [ListenerSettings]) -> impl Iterator<Item = &'a str> {
    let (one, shares) = match &route.action {
        ActionSettings::Upstream(upstream) => (Some(upstream), [].as_slice()),
        ActionSettings::Split(split) => (None, split.upstreams.as_slice()),
        ActionSettings::Redirect(_) | ActionSettings::Respond(_) => (None, [].as_slice()),
    };
    let mirror = route.mirror.iter().map(|mirror| &mirror.upstream);
    let all = one
        .into_iter()
        .chain(shares)
        .chain(&route.fallbacks)
        .chain(mirror);
    let served = listeners
        .iter()
        .filter(|listener| route.listeners.contains(&listener.name));
    let filters = served
        .flat_map(|listener| &listener.filters)
        .chain(&route.filters);
    all.map(|upstream| upstream.name.as_str())
        .chain(filters.filter_map(FilterSettings::authority))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::*;
    use crate::config::load::load_text;
    use crate::config::problem::Refused;
    use crate::config::settings::Settings;
    use crate::config::surroundings::Surroundings;
    use crate::proxy_protocol::Version;

    /// Two listeners of connections and one of requests, with routes; and upstreams `u` and `v`.
    fn load(tables: &str) -> Result<Settings, Refused> {
        let text = format!(
            "[node]\nname='a'\n\
             [[listener]]\nname='web'\naddress='127.0.0.1:80'\n\
             [[listener]]\nname='db'\naddress='127.0.0.1:81'\nprotocol='tcp'\n\
             [[listener]]\nname='tls'\naddress='127.0.0.1:82'\nprotocol='tls_passthrough'\n\
             [[route]]\nname='db'\nlisteners=['db']\nupstream='u'\n\
             [[route]]\nname='tls'\nlisteners=['tls']\nupstream='u'\nmatch={{hosts=['a.example','*.B.example']}}\n\
             [[upstream]]\nname='u'\nendpoints=[{{address='10.0.1.1:80'}}]\n\
             [[upstream]]\nname='v'\nendpoints=[{{address='10.0.1.2:80'}}]\n{tables}"
        );
        load_with(&text)
    }

    fn load_with(text: &str) -> Result<Settings, Refused> {
        let surroundings = Surroundings {
            cores: 1,
            state_directory: PathBuf::from("/state"),
            invalid: crate::config::surroundings::Invalid::Refused,
        };
        load_text(Path::new("t.toml"), text, &surroundings)
    }

    #[track_caller]
    fn check(tables: &str, expected: &[&str]) {
        check_all(tables, &load(tables), expected);
    }

    #[track_caller]
    fn check_all(tables: &str, loaded: &Result<Settings, Refused>, expected: &[&str]) {
        let problems = match loaded {
            Ok(_) => Vec::new(),
            Err(refused) => refused.problems().iter().map(ToString::to_string).collect(),
        };
        assert_eq!(problems.len(), expected.len(), "{tables}:\n{problems:#?}");
        for part in expected {
            let is_there = problems.iter().any(|problem| problem.contains(part));
            assert!(is_there, "{tables}: no {part:?} in {problems:#?}");
        }
    }

    #[test]
    fn connections_have_listeners_and_routes_of_their_own() {
        let more = "[[route]]\nname='more'\nlisteners=['db','tls']\nsplit=[{upstream='u',weight=1},{upstream='v',weight=2}]\n\
            split_by={client=true}\nmatch={client=['10.0.0.0/8']}\nretry={attempts=2,on=['connect-failure']}\n\
            timeout='3s'\ntunnel_idle_timeout='2h'\nfilters=[{name='f',ip_allow=['10.0.0.0/8']}]\n\
            [[listener]]\nname='far'\naddress='127.0.0.1:83'\nprotocol='tcp'\nfirst_byte_timeout='2s'\n\
            proxy_protocol={from=['10.0.0.0/8','2001:db8::1']}\n\
            [[route]]\nname='far'\nlisteners=['far']\nupstream='w'\n\
            [[upstream]]\nname='w'\nproxy_protocol='v2'\nendpoints=[{address='10.0.1.3:80'}]\n";
        // Of one listener of each kind, as both take this route.
        let refused = load(more).unwrap_err();
        let problem = refused.problems()[0].to_string();
        assert!(
            problem.contains("tls carries TLS that is passed on, and db carries"),
            "{problem}"
        );
        let settings = load(&more.replace("['db','tls']", "['db']")).unwrap();
        let carried: Vec<Carries> = settings.listeners.iter().map(|one| one.carries).collect();
        let expected = [Carries::Requests, Carries::Bytes, Carries::Tls, Carries::Bytes];
        assert_eq!(carried, expected);
        assert_eq!(settings.listeners[3].proxies.0.len(), 2);
        assert_eq!(settings.listeners[1].routes.len(), 2);
        assert_eq!(settings.routes[1].hosts.len(), 2);
        let headers: Vec<_> = settings.upstreams.iter().map(|one| one.proxy_header).collect();
        assert_eq!(headers, [None, None, Some(Version::V2)]);
        assert_eq!(
            settings.listeners[3].http.first_byte_timeout,
            Duration::from_secs(2)
        );
    }

    #[test]
    fn what_only_requests_have_is_refused_where_there_are_none() {
        let db = |keys: &str| {
            format!("[[route]]\nname='r'\nlisteners=['db']\nmatch={{client=['10.0.0.1']}}\n{keys}\n")
        };
        for key in [
            "rewrite={host='a.example'}",
            "mirror={upstream='v'}",
            "fault={abort={status=503,percent=1.0}}",
            "fallback_on=['unavailable']\nfallback=[{upstream='v'}]",
            "timeout_total='3s'",
            "try_timeout='3s'",
            "response_idle_timeout='3s'",
            "body_bytes_max=3",
            "upgrades=[]",
            "merge_slashes=false",
        ] {
            let tables = db(&format!("upstream='u'\n{key}"));
            let loaded = load(&tables);
            let problems = loaded.unwrap_err();
            for problem in problems.problems() {
                let text = problem.to_string();
                assert!(
                    text.contains("is for requests, and the listener passes"),
                    "{text}"
                );
            }
        }
        check(
            &db("redirect={host='b.example'}"),
            &["route[2].redirect: is for requests"],
        );
        check(
            &db("respond={status=200}"),
            &["route[2].respond: is for requests"],
        );
        check(
            &db(
                "upstream='u'\nfilters=[{name='f',cors={origins=['https://a.example']}},{name='g',ip_deny=['10.0.0.1']}]",
            ),
            &["route[2].filters[0].cors: is a filter of requests"],
        );
        check(
            &db("upstream='u'\nretry={on=['connect-failure','reset','502-504']}"),
            &[
                "retry.on[1]: \"reset\" is an outcome",
                "retry.on[2]: \"502-504\" is an outcome",
            ],
        );
        check(
            &db("split=[{upstream='u',weight=1}]\nsplit_by={cookie='c'}"),
            &["split_by.cookie: a connection has no such thing"],
        );
        let matched = "[[route]]\nname='r'\nlisteners=['tls']\nupstream='u'\nmatch={path='/',methods=['GET'],headers=[{name='a',present=true}]}\n";
        check(
            matched,
            &[
                "match.path: a connection has",
                "match.methods: a",
                "match.headers: a",
            ],
        );
        check(
            "[[route]]\nname='r'\nlisteners=['db']\nupstream='u'\nmatch={hosts=['a.example']}\n",
            &["match.hosts: a connection names no host; remove it, or write protocol = \"tls_passthrough\""],
        );
        check(
            "[[route]]\nname='r'\nlisteners=['db']\nupstream='v'\n",
            &["route \"db\" (line 14) takes connections for every host already"],
        );
        check(
            "[[route]]\nname='r'\nlisteners=['web']\nupstream='v'\n",
            &["route[2].match: is missing; add match = { path_prefix = \"/\" }"],
        );
        check(
            "[[route]]\nname='r'\nlisteners=['web','db']\nupstream='v'\nmatch={path='/'}\n",
            &[
                "listeners[1]: db carries connections of any kind, and web carries requests; make a route of its own",
            ],
        );
    }

    #[test]
    fn listeners_of_connections_have_few_keys_and_at_least_one_route() {
        let listener = |keys: &str| {
            format!(
                "[[listener]]\nname='l'\naddress='127.0.0.1:90'\nprotocol='tcp'\n{keys}\n[[route]]\nname='l'\nlisteners=['l']\nupstream='v'\n"
            )
        };
        check(&listener("tunnel_idle_timeout='1m'\ntimeout='1s'"), &[]);
        for key in [
            "mode='strict'",
            "trusted_proxies=['10.0.0.0/8']",
            "connection_age='2h'",
            "keep_alive_timeout='1s'",
        ] {
            check(
                &listener(key),
                &[": is for requests, and the listener passes connections on unread"],
            );
        }
        check(
            &listener("first_byte_timeout='1s'"),
            &["first_byte_timeout: nothing is waited for here"],
        );
        check(
            &listener("tls={min_version='1.2'}"),
            &["the listener speaks no TLS"],
        );
        check(
            &listener("tls={min_version='1.2'}").replace("'tcp'", "'tls_passthrough'"),
            &["TLS is the endpoints': the listener passes it on"],
        );
        check(
            &listener("filters=[{name='f',body_limit={bytes=3}}]"),
            &["body_limit: is a filter of requests"],
        );
        check(
            "[[listener]]\nname='l'\naddress='127.0.0.1:90'\nprotocol='tcp'\n",
            &["listener[3]: no route says where its connections go"],
        );
        check(
            &listener("proxy_protocol={}"),
            &["proxy_protocol.from: is missing"],
        );
        check(
            &listener("proxy_protocol={from=[]}"),
            &["proxy_protocol.from: the list is empty"],
        );
        check(
            &listener("proxy_protocol={from=['10.0.0.1/8']}"),
            &["proxy_protocol.from[0]: 10.0.0.1/8 has bits beyond its prefix"],
        );
    }

    #[test]
    fn upstreams_of_connections_go_by_nothing_that_only_requests_have() {
        let key = std::env::temp_dir().join(format!("gateway-connections-{}.key", std::process::id()));
        std::fs::write(&key, "1".repeat(64)).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        for (keys, why) in [
            (
                format!("sticky={{cookie='c',key_file='{}'}}", key.display()).as_str(),
                "has sticky: connections have no cookies",
            ),
            (
                "balancer='consistent-hash'\nhash={header='x-a'}",
                "has hash: connections are told apart by client = true alone",
            ),
            (
                "channels=[{port=81}]",
                "has channels: other ways are tried by HTTP",
            ),
            ("tls={}", "has tls: TLS to endpoints is made for requests"),
        ] {
            let tables = format!(
                "[[listener]]\nname='l'\naddress='127.0.0.1:90'\nprotocol='tcp'\n\
                 [[route]]\nname='l'\nlisteners=['l']\nupstream='w'\n\
                 [[upstream]]\nname='w'\nendpoints=[{{address='10.0.1.3:80'}}]\n{keys}\n"
            );
            let refused = load(&tables).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
        std::fs::remove_file(&key).unwrap();
    }

    #[test]
    fn a_header_in_front_of_connections_that_are_shared_is_refused() {
        let tables = |route: &str| {
            format!(
                "[[upstream]]\nname='w'\nproxy_protocol='v1'\nendpoints=[{{address='10.0.1.3:80'}}]\n\
                 [[route]]\nname='r'\nlisteners=['web']\nmatch={{path='/'}}\n{route}\n"
            )
        };
        let expected = "upstream[2].proxy_protocol: route \"r\" sends requests there, over connections that serve any client";
        for route in [
            "upstream='w'",
            "split=[{upstream='v',weight=1},{upstream='w',weight=1}]",
            "upstream='v'\nfallback=[{upstream='w'}]",
            "upstream='v'\nmirror={upstream='w'}",
            "upstream='v'\nfilters=[{name='f',forward_auth={upstream='w',path='/auth'}}]",
        ] {
            check(&tables(route), &[expected]);
        }
        check(&tables("upstream='v'"), &[]);
        check(
            &tables("upstream='v'").replace("'v1'", "'v3'"),
            &["proxy_protocol: 'v3'"],
        );
    }
}
