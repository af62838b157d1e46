//! `[upstream.health]` and `[upstream.registration]`.

use std::path::Path;

use super::patterns;
use crate::config::given::{self, health::Common};
use crate::config::limits::{self, CheckDefaults};
use crate::config::path::KeyPath;
use crate::config::precedence::time;
use crate::config::problem::Problems;
use crate::config::snapshot::{
    Check, CheckMethod, Health, Heartbeat, HttpCheck, Pushed, Startup, Statuses, UpstreamProtocol, Way,
};

/// What to write where a check does not say how it asks.
const WAYS: &str =
    "write one of http = \"/path\", tcp = true, grpc = \"service\" or command = [\"/program\"]";

/// `upstream.health`; `protocol` is what is spoken to the endpoints.
pub fn health(
    given: Option<&given::health::Health>,
    protocol: UpstreamProtocol,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Health {
    let Some(given) = given else {
        return Health::default();
    };
    let mut check = |common: Common, key: &str, defaults| {
        let path = path.key(key);
        self::check(&common, defaults, protocol, &path, problems)
    };
    let liveness = given.liveness.as_ref();
    let liveness = liveness.and_then(|given| check(given.common(), "liveness", limits::LIVENESS_CHECK));
    let readiness = given.readiness.as_ref();
    let readiness = readiness.and_then(|given| check(given.common(), "readiness", limits::READINESS_CHECK));
    let startup = given.startup.as_ref().and_then(|given| {
        Some(Startup {
            check: check(given.common(), "startup", limits::STARTUP_CHECK)?,
            grace: time(given.grace, limits::STARTUP_GRACE),
        })
    });
    let heartbeat = given.heartbeat.as_ref();
    let heartbeat =
        heartbeat.and_then(|given| self::heartbeat(given, protocol, &path.key("heartbeat"), problems));
    Health {
        heartbeat,
        liveness,
        readiness,
        startup,
    }
}

fn heartbeat(
    given: &given::health::Heartbeat,
    protocol: UpstreamProtocol,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<Heartbeat> {
    let common = given.common();
    if given.pushed == Some(true) {
        if let Some(key) = present(&common).first() {
            problems.add(
                &path.key(key),
                "a pushed heartbeat is not asked for",
                format!("remove {key}, or pushed"),
            );
        }
        return Some(Heartbeat::Pushed(Pushed {
            ttl_max: time(given.ttl_max, limits::TTL_MAX),
        }));
    }
    if given.ttl_max.is_some() {
        problems.add(
            &path.key("ttl_max"),
            "goes with a pushed heartbeat alone",
            "add pushed = true, or remove it",
        );
    }
    check(&common, limits::HEARTBEAT_CHECK, protocol, path, problems).map(Heartbeat::Asked)
}

/// The keys that say how, how often, or how long to ask.
fn present(given: &Common) -> Vec<&'static str> {
    let keys = [
        ("http", given.http.is_some()),
        ("tcp", given.tcp.is_some()),
        ("grpc", given.grpc.is_some()),
        ("command", given.command.is_some()),
        ("method", given.method.is_some()),
        ("host", given.host.is_some()),
        ("statuses", given.statuses.is_some()),
        ("protocol", given.protocol.is_some()),
        ("port", given.port.is_some()),
        ("interval", given.interval.is_some()),
        ("timeout", given.timeout.is_some()),
        ("rise", given.rise.is_some()),
        ("fall", given.fall.is_some()),
    ];
    let present = keys.into_iter().filter(|(_, is_given)| *is_given);
    present.map(|(key, _)| key).collect()
}

fn check(
    given: &Common,
    defaults: CheckDefaults,
    protocol: UpstreamProtocol,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<Check> {
    let way = way(given, protocol, path, problems)?;
    let fitting: &[&str] = match way {
        Way::Http(_) => &["method", "host", "statuses", "protocol"],
        Way::Grpc { .. } => &["host"],
        Way::Tcp | Way::Command { .. } => &[],
    };
    for key in present(given) {
        let is_of_http = matches!(key, "method" | "host" | "statuses" | "protocol");
        if is_of_http && !fitting.contains(&key) {
            problems.add(
                &path.key(key),
                "says nothing to this way of checking",
                format!("remove it, or check by http; {key} is for that"),
            );
        }
    }
    if matches!(way, Way::Command { .. }) && given.port.is_some() {
        problems.add(
            &path.key("port"),
            "says nothing to a command",
            "give it to the command as an argument",
        );
    }
    Some(Check {
        way,
        port: given.port,
        interval: time(given.interval, defaults.interval),
        timeout: time(given.timeout, defaults.timeout),
        rise: given.rise.unwrap_or(defaults.rise),
        fall: given.fall.unwrap_or(defaults.fall),
    })
}

/// The one way of a check; `None` where there is none, or more.
fn way(
    given: &Common,
    protocol: UpstreamProtocol,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Option<Way> {
    if given.tcp == Some(false) {
        problems.add(&path.key("tcp"), "false is no way to check", WAYS);
        return None;
    }
    let ways: Vec<&str> = present(given)
        .into_iter()
        .filter(|key| matches!(*key, "http" | "tcp" | "grpc" | "command"))
        .collect();
    match ways.as_slice() {
        [_] => {}
        [] => {
            // Not where the way was there and had the wrong type.
            if !problems.is_known_below(path) {
                problems.add(path, "does not say how to check", WAYS);
            }
            return None;
        }
        [first, second, ..] => {
            let fault = format!("{second} is a second way beside {first}");
            problems.add(&path.key(second), fault, "keep one of them");
            return None;
        }
    }
    let host = given.host.clone();
    if let Some(text) = &host
        && (text.is_empty() || text.parse::<http::uri::Authority>().is_err() || text.contains('@'))
    {
        problems.add(
            &path.key("host"),
            format!("\"{text}\" is not a host"),
            "write it as in \"users.internal\"",
        );
    }
    if let Some(http) = &given.http {
        check_path(http, &path.key("http"), problems);
        return Some(Way::Http(HttpCheck {
            path: http.clone(),
            method: given.method.unwrap_or(CheckMethod::Get),
            host,
            statuses: statuses(given.statuses.as_deref(), &path.key("statuses"), problems),
            protocol: given.protocol.unwrap_or(protocol),
        }));
    }
    if let Some(service) = &given.grpc {
        check_service(service, &path.key("grpc"), problems);
        return Some(Way::Grpc {
            service: service.clone(),
            host,
        });
    }
    let Some(command) = &given.command else {
        return Some(Way::Tcp);
    };
    let (program, arguments) = command.split_first()?;
    let path = path.key("command").index(0);
    if !Path::new(program).is_absolute() {
        problems.add(
            &path,
            format!("\"{program}\" is not an absolute path"),
            "write it as in \"/usr/local/bin/check-users\"",
        );
    }
    Some(Way::Command {
        program: program.into(),
        arguments: arguments.to_vec(),
    })
}

/// A path that endpoints can be asked for, with or without a query.
pub(super) fn check_path(http: &str, path: &KeyPath, problems: &mut Problems<'_>) {
    // A query is welcome here: nothing is matched against it.
    let (target, _) = http.split_once('?').unwrap_or((http, ""));
    if let Err((fault, remedy)) = patterns::path(target) {
        problems.add(path, fault, remedy);
    } else if http.parse::<http::uri::PathAndQuery>().is_err() || http.contains(['{', '}']) {
        problems.add(
            path,
            format!("\"{http}\" cannot be asked for"),
            "write it as in \"/readyz\"",
        );
    }
}

/// Names of services are dotted identifiers, or empty.
fn check_service(service: &str, path: &KeyPath, problems: &mut Problems<'_>) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if service.len() > limits::CHECK_SERVICE_BYTES_MAX || !service.chars().all(is_plain) {
        problems.add(
            path,
            format!("\"{service}\" is not the name of a gRPC service"),
            "write it as in \"shop.Orders\", or \"\" for the whole server",
        );
    }
}

fn statuses(given: Option<&[String]>, path: &KeyPath, problems: &mut Problems<'_>) -> Statuses {
    let default = limits::CHECK_STATUSES.map(str::to_owned);
    let mut ranges = Vec::new();
    for (index, text) in given.unwrap_or(&default).iter().enumerate() {
        match range(text) {
            Some(range) => ranges.push(range),
            None => problems.add(
                &path.index(index),
                format!("\"{text}\" is no status from 200 to 599"),
                "write it as in \"204\", \"200-299\" or \"2xx\"",
            ),
        }
    }
    Statuses(ranges)
}

/// `204`, `200-299` or `2xx`. Interim answers (1xx) end no check.
fn range(text: &str) -> Option<(u16, u16)> {
    let status = |text: &str| text.parse().ok().filter(|status| (200..600).contains(status));
    let (least, most) = match (text.strip_suffix("xx"), text.split_once('-')) {
        (Some(hundreds), _) => {
            let least = status(&format!("{hundreds}00"))?;
            (least, least + 99)
        }
        (None, Some((least, most))) => (status(least)?, status(most)?),
        (None, None) => (status(text)?, status(text)?),
    };
    (least <= most).then_some((least, most))
}

/// `registration.endpoints_max`; 0 where none may register. Also: whether there are endpoints at all.
pub fn registered_max(
    upstream: &given::Upstream,
    health: &Health,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> usize {
    let Some(registration) = &upstream.registration else {
        let path = path.key("endpoints");
        if upstream.endpoints.is_none() && !problems.is_known_at(&path) {
            problems.add(
                &path,
                "is missing",
                "add endpoints = [ … ] with at least one entry",
            );
        }
        return 0;
    };
    if health.pushed().is_none() && !problems.is_known_below(&path.key("health")) {
        problems.add(
            &path.key("registration"),
            "endpoints that register must renew themselves",
            "add heartbeat = { pushed = true } to [upstream.health]",
        );
    }
    registration.endpoints_max.unwrap_or(limits::REGISTERED_MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::load::load_text;
    use crate::config::settings::UpstreamSettings;
    use crate::config::snapshot::Kind;
    use crate::config::surroundings::Surroundings;

    fn loaded(upstream: &str) -> Result<std::sync::Arc<UpstreamSettings>, String> {
        let text = format!(
            "[node]\nname = 'a'\n[[listener]]\nname = 'web'\naddress = '127.0.0.1:8080'\n[[upstream]]\nname = 'u'\n{upstream}\n"
        );
        let surroundings = Surroundings {
            cores: 1,
            state_directory: "/state".into(),
            invalid: crate::config::surroundings::Invalid::Refused,
        };
        let settings = load_text(Path::new("t.toml"), &text, &surroundings);
        let settings = settings.map_err(|refused| refused.to_string())?;
        Ok(std::sync::Arc::clone(&settings.upstreams[0]))
    }

    const ENDPOINTS: &str = "endpoints = [{ address = '10.0.0.1:80' }]\n";

    #[test]
    fn each_kind_has_its_defaults_and_each_way_its_keys() {
        let health = loaded(&format!(
            "{ENDPOINTS}protocol = 'http2'\n[upstream.health]\n\
             heartbeat = {{ tcp = true, port = 81 }}\n\
             liveness = {{ command = ['/bin/check', '-q'] }}\n\
             readiness = {{ http = '/readyz?deep=1', host = 'a.example:80', method = 'HEAD', statuses = ['2xx', '401', '300-304'] }}\n\
             startup = {{ grpc = '', grace = '5m' }}\n"
        ))
        .unwrap()
        .health
        .clone();
        let figures: Vec<(Kind, u128, u128, u32, u32)> = health
            .asked()
            .map(|(kind, check)| {
                let (interval, timeout) = (check.interval.as_millis(), check.timeout.as_millis());
                (kind, interval, timeout, check.rise, check.fall)
            })
            .collect();
        assert_eq!(
            figures,
            [
                (Kind::Heartbeat, 500, 500, 2, 2),
                (Kind::Liveness, 5000, 2000, 1, 3),
                (Kind::Readiness, 1000, 1000, 2, 3),
                (Kind::Startup, 1000, 1000, 1, 1),
            ]
        );
        assert_eq!(health.startup.unwrap().grace, Duration::from_secs(300));
        let Some(Heartbeat::Asked(heartbeat)) = health.heartbeat else {
            panic!("it asks");
        };
        assert_eq!((heartbeat.way, heartbeat.port), (Way::Tcp, Some(81)));
        let Some(Way::Http(http)) = health.readiness.map(|check| check.way) else {
            panic!("it asks over HTTP");
        };
        let expected = HttpCheck {
            path: "/readyz?deep=1".into(),
            method: CheckMethod::Head,
            host: Some("a.example:80".into()),
            statuses: Statuses(vec![(200, 299), (401, 401), (300, 304)]),
            protocol: UpstreamProtocol::Http2,
        };
        assert_eq!(http, expected);
        let program = Way::Command {
            program: "/bin/check".into(),
            arguments: vec!["-q".into()],
        };
        assert_eq!(health.liveness.map(|check| check.way), Some(program));
    }

    #[test]
    fn endpoints_may_register_where_heartbeats_are_pushed() {
        let pushed = "[upstream.health]\nheartbeat = { pushed = true, ttl_max = '30s' }\n";
        let registering = format!("{pushed}[upstream.registration]\n");
        for (text, endpoints, registered_max) in [
            (format!("{ENDPOINTS}{pushed}"), 1, 0),
            (format!("{ENDPOINTS}{registering}"), 1, 64),
            (format!("{registering}endpoints_max = 3\n"), 0, 3),
        ] {
            let upstream = loaded(&text).unwrap();
            let ttl_max = upstream.health.pushed().map(|pushed| pushed.ttl_max);
            assert_eq!(ttl_max, Some(Duration::from_secs(30)), "{text}");
            let seen = (upstream.endpoints.len(), upstream.registered_max);
            assert_eq!(seen, (endpoints, registered_max), "{text}");
        }
    }

    #[test]
    fn checks_that_make_no_sense_are_refused_once_with_what_would() {
        let rows = [
            (
                "readiness = { interval = '1s' }",
                "health.readiness: does not say how to check; write one of http =",
            ),
            (
                "readiness = { tcp = false }",
                "readiness.tcp: false is no way to check; write one of",
            ),
            (
                "readiness = { http = '/', tcp = true }",
                "readiness.tcp: tcp is a second way beside http; keep one",
            ),
            (
                "liveness = { grpc = '', command = ['/a'] }",
                "liveness.command: command is a second way beside grpc",
            ),
            (
                "readiness = { http = 'readyz' }",
                "readiness.http: \"readyz\" does not start with /",
            ),
            ("readiness = { http = '/a b' }", "readiness.http: \"/a b\""),
            (
                "readiness = { http = '/{id}' }",
                "readiness.http: \"/{id}\" cannot be asked for",
            ),
            ("readiness = { http = 7 }", "readiness.http: 7 is not text"),
            (
                "readiness = { http = '/', method = 'PUT' }",
                "method: 'PUT' is not known here; write \"GET\" or",
            ),
            (
                "readiness = { http = '/', host = 'a b' }",
                "readiness.host: \"a b\" is not a host",
            ),
            (
                "readiness = { http = '/', statuses = [] }",
                "readiness.statuses: the list is empty",
            ),
            (
                "readiness = { http = '/', statuses = ['2xx', '100'] }",
                "statuses[1]: \"100\" is no status from 200 to 599; write it as in \"204\", \"200-299\" or \"2xx\"",
            ),
            (
                "readiness = { http = '/', statuses = ['6xx'] }",
                "statuses[0]: \"6xx\" is no status",
            ),
            (
                "readiness = { http = '/', statuses = ['299-200'] }",
                "statuses[0]: \"299-200\" is no status",
            ),
            (
                "readiness = { tcp = true, statuses = ['2xx'] }",
                "statuses: says nothing to this way of checking",
            ),
            (
                "readiness = { grpc = '', method = 'GET' }",
                "method: says nothing to this way of checking",
            ),
            (
                "readiness = { grpc = 'a b' }",
                "readiness.grpc: \"a b\" is not the name of a gRPC service",
            ),
            (
                "readiness = { command = [] }",
                "readiness.command: the list is empty",
            ),
            (
                "readiness = { command = ['check'] }",
                "command[0]: \"check\" is not an absolute path",
            ),
            (
                "readiness = { command = ['/check'], port = 1 }",
                "port: says nothing to a command",
            ),
            (
                "readiness = { tcp = true, port = 0 }",
                "readiness.port: 0 is out of range",
            ),
            (
                "readiness = { tcp = true, interval = '1ms' }",
                "readiness.interval: \"1ms\" is out of range",
            ),
            (
                "readiness = { tcp = true, pushed = true }",
                "readiness.pushed: unknown key",
            ),
            ("startup = { tcp = true, fall = 3 }", "startup.fall: unknown key"),
            (
                "heartbeat = { pushed = true, tcp = true }",
                "heartbeat.tcp: a pushed heartbeat is not asked for; remove tcp",
            ),
            (
                "heartbeat = { pushed = true, rise = 1 }",
                "heartbeat.rise: a pushed heartbeat is not asked for",
            ),
            (
                "heartbeat = { tcp = true, ttl_max = '1m' }",
                "heartbeat.ttl_max: goes with a pushed heartbeat alone",
            ),
            (
                "heartbeat = { pushed = true, ttl_max = '10ms' }",
                "heartbeat.ttl_max: \"10ms\" is out of range",
            ),
            ("alive = { tcp = true }", "health.alive: unknown key"),
        ];
        for (health, wanted) in rows {
            check_refused(&format!("{ENDPOINTS}[upstream.health]\n{health}"), wanted);
        }
    }

    #[test]
    fn registrations_that_make_no_sense_are_refused_once() {
        let pushed = "[upstream.health]\nheartbeat = { pushed = true }";
        let registration = "[upstream.registration]\nendpoints_max = ";
        let rows = [
            (
                String::new(),
                "endpoints: is missing; add endpoints = [ … ] with at least one entry",
            ),
            (pushed.to_owned(), "endpoints: is missing"),
            ("endpoints = 7".to_owned(), "endpoints: 7 is not a list"),
            (
                format!("{ENDPOINTS}{registration}3"),
                "registration: endpoints that register must renew themselves; add heartbeat = { pushed = true }",
            ),
            (
                format!("{ENDPOINTS}[upstream.health]\nheartbeat = {{ tcp = true }}\n{registration}3"),
                "registration: endpoints that register must renew themselves",
            ),
            (
                format!("{pushed}\n{registration}0"),
                "endpoints_max: 0 is out of range",
            ),
        ];
        for (text, wanted) in rows {
            check_refused(&text, wanted);
        }
    }

    #[track_caller]
    fn check_refused(upstream: &str, wanted: &str) {
        let refused = loaded(upstream).expect_err(upstream);
        assert!(refused.contains(wanted), "{wanted:?} is not in:\n{refused}");
        assert_eq!(
            refused.lines().count(),
            2,
            "one problem and the summary: {refused}"
        );
    }
}
