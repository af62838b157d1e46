//! From a file to settings: read, parse, check the shape, check the sense. All problems at once, or settings.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::document::Document;
use super::kept;
use super::limits;
use super::problem::{Problems, Refused};
use super::settings::Settings;
use super::shape;
use super::surroundings::{Invalid, Surroundings};
use super::validate::validate;

/// Reads, parses and checks a configuration file, the secrets it names, and the routes that the admin API set beside it.
///
/// Blocks on the file system: not for a worker thread.
///
/// # Errors
/// Every problem found, each with its place and its remedy. Syntax errors hide what comes after them.
pub fn load(path: &Path) -> Result<Settings, Refused> {
    let text = read(path)?;
    kept::merged(load_text(path, &text, &Surroundings::here())?)
}

/// The same for a node that starts, which nobody may be there to help.
///
/// # Errors
/// As [`load`], but for certificates that are not valid now.
pub fn load_to_start(path: &Path) -> Result<Settings, Refused> {
    let text = read(path)?;
    let surroundings = Surroundings {
        invalid: Invalid::Served,
        ..Surroundings::here()
    };
    kept::merged(load_text(path, &text, &surroundings)?)
}

/// Checks a configuration's text alone; `path` is what messages call it, and where relative paths in it start.
///
/// # Errors
/// As [`load`].
pub fn load_text(path: &Path, text: &str, surroundings: &Surroundings) -> Result<Settings, Refused> {
    let (document, value, foreign) = Document::parse(path, text)?;
    let mut problems = Problems::new(&document);
    kept::report(foreign, &mut problems);
    let given = shape::read(value, &mut problems);
    let settings = given.and_then(|given| validate(&given, surroundings, &mut problems));
    problems.into_result()?;
    // Settings are absent only where there are problems; should that ever fail, refusing is the safe side.
    settings.ok_or_else(|| {
        let fault = "could not be resolved, for a reason that no check names".to_owned();
        Refused::unreadable(
            path.to_owned(),
            fault,
            "please report this file as a bug of gateway",
        )
    })
}

fn read(path: &Path) -> Result<String, Refused> {
    let refused = |fault: String, remedy: &str| Refused::unreadable(path.to_owned(), fault, remedy);
    let unreadable = |error: std::io::Error| {
        refused(
            format!("cannot be read: {error}"),
            "give the path of a configuration file that this user may read",
        )
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(limits::FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > limits::FILE_BYTES_MAX {
        let fault = format!("is larger than {} bytes", limits::FILE_BYTES_MAX);
        return Err(refused(fault, "give the path of a configuration file"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to())
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        refused(format!("line {line} is not UTF-8"), "save the file as UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::SocketAddr;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::super::settings::ChannelSettings;
    use super::super::snapshot::HashBy;
    use super::super::snapshot::{
        AdminListen, EncodedSlash, Expect, Failure, GrpcWeb, HttpMode, ListenerHttp, MergeSlashes, Networks,
        Outcomes, Retries, RouteHttp,
    };
    use super::*;
    use crate::balance::{Balancer, Hashing, Zone, Zones};
    use crate::resilience::channel;
    use crate::resilience::limits::{Limit, UNLIMITED};

    const NODE: &str = "[node]\nname = \"a\"\naddress = \"10.0.0.1\"\n";
    const WEB: &str = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:8080\"\n";
    const DATAPLANE: &str = "[dataplane]\ninterfaces = [\"eth0\"]\n";
    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

    /// A directory of its own, removed in the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("gateway-load-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, content: &str, mode: u32) -> PathBuf {
            let file = self.0.join(name);
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            file
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn surroundings() -> Surroundings {
        Surroundings {
            cores: 4,
            state_directory: PathBuf::from("/state"),
            invalid: crate::config::surroundings::Invalid::Refused,
        }
    }

    fn loaded(text: &str) -> Result<Settings, Refused> {
        load_text(Path::new("t.toml"), text, &surroundings())
    }

    #[track_caller]
    fn check(text: &str, wanted: &[&str]) {
        Refused::expect(loaded(text), text, wanted);
    }

    #[test]
    fn defaults_are_filled_in() {
        let settings = loaded(&format!("{NODE}{WEB}{DATAPLANE}")).unwrap();
        assert_eq!((settings.node.weight, settings.node.workers), (1, 4));
        assert_eq!(
            settings.admin.listen,
            AdminListen::Tcp("127.0.0.1:9900".parse().unwrap())
        );
        assert_eq!(settings.admin.token_file, Path::new("/state/admin.token"));
        let dataplane = settings.dataplane.unwrap();
        assert_eq!(dataplane.cluster_interfaces, ["eth0"]);
        assert_eq!(
            (dataplane.flow_table_entries, dataplane.tables, dataplane.path_mtu),
            (1_000_000, 64, 1500)
        );
        assert_eq!(dataplane.pin_directory, Path::new("/sys/fs/bpf/gateway"));
    }

    #[test]
    fn routes_reach_their_listeners_and_upstreams() {
        let settings = loaded(&format!(
            "{NODE}{WEB}[[listener]]\nname='other'\naddress='127.0.0.1:8081'\n\
             [[upstream]]\nname='u'\nendpoints=[{{address='10.0.1.1:80'}}]\n\
             [[route]]\nname='r'\nlisteners=['web','other']\nupstream='u'\nmatch={{hosts=['A.example'],path='/a'}}\n\
             [[route]]\nname='s'\nlisteners=['web']\nrespond={{status=204}}\nmatch={{path_prefix='/'}}\ntimeout='3s'\n"
        ))
        .unwrap();
        let routes = |index: usize| {
            settings.listeners[index]
                .routes
                .iter()
                .map(|r| r.name.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!((routes(0), routes(1)), (vec!["r", "s"], vec!["r"]));
        let listener = &settings.listeners[0].route_http;
        let timeouts: Vec<u64> = settings
            .routes
            .iter()
            .map(|route| route.keys.over(listener).timeout.as_secs())
            .collect();
        assert_eq!(timeouts, [15, 3]);
    }

    #[test]
    fn all_problems_come_at_once_by_line_and_with_a_summary() {
        let text = "[node]\nname = \"a b\"\nweigth = 1\n\n[admin]\nlisten = \"0.0.0.0:9900\"\n\n\
                    [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:80\"\n\
                    [[route]]\nname = \"r\"\nlisteners = [\"wbe\"]\nupstream = \"users\"\nmatch = { path = \"a\" }\n";
        let refused = loaded(text).unwrap_err();
        let lines: Vec<usize> = refused
            .problems()
            .iter()
            .filter_map(|problem| problem.line)
            .collect();
        assert_eq!(lines, [2, 3, 6, 13, 14, 15]);
        let text = refused.to_string();
        let first = "t.toml:2: node.name: \"a b\" will not do as a name; write 1 to 63 letters";
        assert!(text.starts_with(first), "{text}");
        assert!(text.ends_with("\n6 problems; nothing was changed"), "{text}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        let v4 = "[[vip]]\nname='v'\naddress='203.0.113.1'\nports=[8080]\n";
        check(
            NODE,
            &["t.toml:1: listener: there is neither a listener nor a VIP"],
        );
        check(
            &format!("{NODE}{WEB}{WEB}"),
            &[
                "listener[1].name: \"web\" is the name of another listener already (line 5)",
                "listener[1].address: 127.0.0.1:8080 is taken already by listener[0].address (line 6",
            ],
        );
        check(
            &format!("{NODE}{WEB}{v4}"),
            &["vip[0]: a VIP is steered by the data plane, and there is no [dataplane]"],
        );
        check(
            &format!("{NODE}{WEB}{DATAPLANE}{v4}"),
            &["vip[0].ports[0]: no listener accepts on 203.0.113.1:8080; \
            add a [[listener]] with address = \"0.0.0.0:8080\""],
        );
        let any = "[[listener]]\nname='any'\naddress='[::]:8080'\n";
        check(&format!("{NODE}{any}{DATAPLANE}{v4}"), &[]);
        check(&format!("{NODE}{WEB}{DATAPLANE}{v4}protocol='udp'\n"), &[]);
        check(
            &format!("{NODE}{any}{DATAPLANE}{v4}{v4}"),
            &[
                "vip[1].name: \"v\" is the name",
                "vip[1].ports[0]: 203.0.113.1 port 8080 is taken already by vip[0].ports[0] (line 12)",
            ],
        );
        let v6 = "[[vip]]\nname='v'\naddress='2001:db8::1'\nports=[8080]\n";
        check(
            &format!("{NODE}{any}{DATAPLANE}{v6}"),
            &["2001:db8::1 is IPv6, and node.address_v6 is missing"],
        );
        check(
            &format!("{NODE}{any}{DATAPLANE}{}", v4.replace("203.0.113.1", "10.0.0.1")),
            &["node.address: 10.0.0.1 is a VIP; write this machine's own address"],
        );
        check(
            &format!("{NODE}{WEB}{DATAPLANE}cluster_interfaces=['eth1']\n"),
            &["cluster_interfaces[0]: \"eth1\" is not among dataplane.interfaces"],
        );
        let ports: Vec<u16> = (1..=64).collect();
        let many: String = (0..65)
            .map(|vip| {
                format!(
                    "[[vip]]\nname='v{vip}'\naddress='203.0.113.{vip}'\nports={ports:?}\nprotocol='udp'\n"
                )
            })
            .collect();
        check(
            &format!("{NODE}{WEB}{DATAPLANE}{many}"),
            &["vip: 4160 ports in all are more than the kernel's VIP map holds; list at most 4096 in all"],
        );
        check(
            &format!("{NODE}{WEB}[dataplane]\ninterfaces=['a/b']\n"),
            &["\"a/b\" is not the name of an interface"],
        );
        check(
            &format!(
                "{NODE}{WEB}[dataplane]\ninterfaces={:?}\n",
                (0..17).map(|n| format!("eth{n}")).collect::<Vec<_>>()
            ),
            &["interfaces: 17 entries are too many; list at most 16"],
        );
        check(
            &format!("{NODE}{WEB}[defaults]\ntimeout='2h'\n"),
            &["defaults.timeout: \"2h\" is out of range; write \"1ms\""],
        );
        for (listen, fault) in [
            ("10.0.0.1:9900", "can be reached from other machines"),
            ("localhost:9900", "is neither an address with a port nor a socket"),
            ("unix:run/x", "does not start with /"),
            ("127.0.0.1:8080", "127.0.0.1:8080 is where the admin API listens"),
        ] {
            check(&format!("{NODE}{WEB}[admin]\nlisten='{listen}'\n"), &[fault]);
        }
    }

    #[test]
    fn routes_and_upstreams_that_make_no_sense_are_refused() {
        let route = |rest: &str| format!("{NODE}{WEB}[[route]]\nname='r'\nlisteners=['web']\n{rest}\n");
        let ok = "respond={status=200}\nmatch={path='/'}";
        check(&route(ok), &[]);
        check(
            &route("match={path='/'}"),
            &["route[0].upstream: the route does nothing"],
        );
        check(
            &route("upstream='u'\nrespond={status=200}\nmatch={path='/'}"),
            &["keep one of upstream and respond"],
        );
        check(
            &route("upstream='u'\nmatch={path='/'}"),
            &["there is no upstream \"u\"; add a [[upstream]] with that"],
        );
        check(
            &route("respond={status=200}\nmatch={}"),
            &["route[0].match.path: no path is given; add path_prefix"],
        );
        check(
            &route("respond={status=200}\nmatch={path='/',path_prefix='/'}"),
            &["keep one of path and path_prefix"],
        );
        check(
            &route("respond={status=99}\nmatch={path='/'}"),
            &["respond.status: 99 is out of range; write a whole"],
        );
        check(
            &route("respond={status=204,body='x'}\nmatch={path='/'}"),
            &["answers with status 204 have no body"],
        );
        check(
            &route(&format!(
                "{ok}\n[[route]]\nname='s'\nlisteners=['web','web','wb']\n{ok}"
            )),
            &[
                "route[1].listeners[1]: \"web\" stands here twice",
                "route[1].listeners[2]: there is no listener \"wb\"; did you mean \"web\"?",
                "route[1].match: route \"r\" (line 7) takes every method / for every host already",
            ],
        );
        let named =
            |name: &str| format!("respond={{status=200}}\nmatch={{path='/u/{{{name}}}',methods=['GET']}}");
        check(
            &route(&format!(
                "{}\n[[route]]\nname='s'\nlisteners=['web']\n{}",
                named("a"),
                named("b")
            )),
            &["route \"r\" (line 7) takes GET /u/{} for every host already"],
        );
        let upstream = |rest: &str| format!("{NODE}{WEB}[[upstream]]\nname='u'\n{rest}\n");
        check(
            &upstream("endpoints=[{address='10.0.0.1:80'},{address='10.0.0.1:80'},{address='0.0.0.0:80'}]"),
            &[
                "10.0.0.1:80 is an endpoint of this upstream already",
                "nobody can be connected to at 0.0.0.0",
            ],
        );
        check(
            &upstream(
                "endpoints=[{address='10.0.0.1:80'}]\nhealth={readiness={http='readyz',interval='1ms'}}",
            ),
            &[
                "readiness.http: \"readyz\" does not start with /",
                "interval: \"1ms\" is out of range; write \"100ms\"",
            ],
        );
    }

    #[test]
    fn faults_of_balancing_and_guards_are_named() {
        let upstream = |rest: &str| {
            format!("{NODE}{WEB}[[upstream]]\nname='u'\nendpoints=[{{address='10.0.0.1:80'}}]\n{rest}\n")
        };
        let rows: [(&str, &[&str]); 22] = [
            ("balancer='fastest'", &["upstream[0].balancer: "]),
            (
                "balancer='consistent-hash'",
                &["hash: consistent-hash needs what to go by"],
            ),
            (
                "balancer='consistent-hash'\nhash={}",
                &["hash: it does not say what to go by"],
            ),
            (
                "balancer='consistent-hash'\nhash={header='x-a',cookie='b'}",
                &["hash.cookie: header is given already"],
            ),
            (
                "balancer='consistent-hash'\nhash={header='X-A'}",
                &["hash.header: \"X-A\" is no name of a header field in lower case"],
            ),
            (
                "balancer='consistent-hash'\nhash={path=true,load_factor=2.0}",
                &["hash.load_factor: only a ring is bounded"],
            ),
            ("hash={path=true}", &["hash: the balancer does not hash"]),
            (
                "balancer='ip-hash'\nhash={query='q'}",
                &["hash.query: ip-hash goes by the client's address"],
            ),
            ("prefer_zone=true", &["prefer_zone: this node has no zone"]),
            (
                "circuit_breaker={slow_ratio=0.2}",
                &["circuit_breaker.slow_ratio: nothing says what is slow"],
            ),
            (
                "circuit_breaker={failure_ratio=0.0,open_for='2m'}",
                &[
                    "circuit_breaker.failure_ratio: 0",
                    "circuit_breaker.open_for: is longer",
                ],
            ),
            ("panic_threshold=nan", &["panic_threshold: "]),
            (
                "sticky={}",
                &[
                    "sticky.cookie",
                    "sticky: there is no key to make the cookie's values with",
                ],
            ),
            (
                "sticky={cookie='a b',key_file='none',ttl='1500ms',path='a;b',same_site='none'}",
                &[
                    "sticky.cookie: \"a b\" is no name of a cookie",
                    "sticky.ttl: clients count whole seconds; write 2 s",
                    "sticky.path: \"a;b\" is no path of a cookie",
                    "sticky.same_site: browsers drop such a cookie that is not secure",
                    "sticky.key_file: ",
                ],
            ),
            (
                "sticky={cookie='__Host-srv',path='/app',secure=true,ttl='401days'}",
                &[
                    "sticky.cookie: browsers drop \"__Host-srv\" with a path but \"/\"",
                    "sticky.ttl: ",
                    "sticky: there is no key",
                ],
            ),
            (
                "sticky={cookie='__secure-srv'}",
                &[
                    "sticky.cookie: browsers drop \"__secure-srv\" where it is not secure",
                    "sticky: there is no key",
                ],
            ),
            (
                "retry_budget={share='much'}",
                &["retry_budget.share: 'much' is not a number; write a number from"],
            ),
            (
                "limits={requests=0,connections=5,pending=-1,endpoint={connections=6,retries=1.5}}",
                &[
                    "limits.requests: 0",
                    "limits.pending: ",
                    "limits.endpoint.retries: ",
                    "limits.endpoint.connections: is more than all of the upstream may have",
                ],
            ),
            (
                "limits={requests=9,pending=5}",
                &["limits.pending: nobody waits where connections have no limit"],
            ),
            (
                "limits={endpoint={pending=5}}",
                &["limits.endpoint.pending: nobody waits where connections have no limit"],
            ),
            (
                "outlier={base_ejection='6m'}",
                &["outlier.base_ejection: is longer than max_ejection"],
            ),
            (
                "outlier={consecutive_failures=0,success_rate=false}",
                &["outlier: all of its rules are off"],
            ),
        ];
        for (rest, faults) in rows {
            check(&upstream(rest), faults);
        }
        for (name, is_good) in [
            ("x-left-ms", true),
            ("none", true),
            ("X-Left", false),
            ("x-request-id", false),
            ("x-forwarded-for", false),
            ("host", false),
            ("content-length", false),
            ("x left", false),
        ] {
            let text = format!("[defaults]\ndeadline_header='{name}'\n{}", upstream(""));
            match loaded(&text) {
                Ok(_) => assert!(is_good, "{name}"),
                Err(refused) => {
                    assert!(
                        !is_good && refused.to_string().contains("deadline_header"),
                        "{name}: {refused}"
                    );
                }
            }
        }
        let whole = "balancer='consistent-hash'\nhash={cookie='sid',algorithm='ring',load_factor=1.5}\nslow_start='5s'\n\
            panic_threshold=0.3\nretry_budget={share=0.1,min=0}\n\
            limits={connections=40,pending=0,requests=80,retries=3,endpoint={connections=10,requests=20}}\n\
            circuit_breaker={failure_ratio=0.4,slow_call='1s',slow_ratio=0.6,window='20s',min_calls=7,open_for='3s',\
            open_for_max='9s',half_open_calls=2,ramp='1s'}\n\
            outlier={consecutive_failures=3,failure_ratio=0.5,min_calls=9,interval='5s',base_ejection='2s',\
            max_ejection='4s',max_ejected_share=0.25}";
        let placed = "[node]\nname='a'\nzone='x'\n[[listener]]\nname='w'\naddress='127.0.0.1:80'\n[[upstream]]\nname='u'\nprefer_zone=true\n\
            endpoints=[{address='10.0.0.1:80',zone='x'},{address='10.0.0.2:80',zone='y',priority=1}]\n";
        let placed = &loaded(placed).unwrap().upstreams[0];
        assert_eq!(placed.terms.zones, Zones::LocalFirst);
        let places = placed.endpoints.iter().map(|one| (one.zone, one.priority));
        assert_eq!(places.collect::<Vec<_>>(), [(Zone::Local, 0), (Zone::Other, 1)]);
        let settings = loaded(&upstream(whole)).unwrap();
        let upstream = &settings.upstreams[0];
        assert_eq!(
            upstream.balancer,
            Balancer::ConsistentHash(Hashing::Ring {
                load_max_per_cent: 150
            })
        );
        assert_eq!(upstream.hash_by, HashBy::Cookie("sid".to_owned()));
        assert_eq!(upstream.slow_start, Duration::from_secs(5));
        assert_eq!(upstream.terms.panic_below_per_cent, 30);
        assert_eq!(
            (
                upstream.retry_budget.share_per_mille,
                upstream.retry_budget.retries_min
            ),
            (100, 0)
        );
        let (whole, endpoint) = (upstream.limits.whole, upstream.limits.endpoint);
        assert_eq!(Limit::ALL.map(|limit| whole.of(limit)), [40, 0, 80, 3]);
        let expected = [10, 1_024, 20, UNLIMITED];
        assert_eq!(Limit::ALL.map(|limit| endpoint.of(limit)), expected);
        assert_eq!(upstream.slow_call, Some(Duration::from_secs(1)));
        let breaker = upstream.guards.breaker.unwrap();
        assert_eq!(
            (breaker.failure_ratio, breaker.slow_ratio, breaker.min_calls),
            (0.4, Some(0.6), 7)
        );
        assert_eq!(
            [
                breaker.window,
                breaker.open_for,
                breaker.open_for_max,
                breaker.ramp
            ]
            .map(|time| time.as_secs()),
            [20, 3, 9, 1]
        );
        assert_eq!(breaker.half_open_calls, 2);
        let outliers = upstream.guards.outliers.unwrap();
        assert_eq!(outliers.consecutive_failures, Some(3));
        assert_eq!(
            outliers.failure_ratio.map(|rule| (rule.ratio, rule.min_calls)),
            Some((0.5, 9))
        );
        assert_eq!(
            [outliers.interval, outliers.base_ejection, outliers.max_ejection].map(|time| time.as_secs()),
            [5, 2, 4]
        );
        assert_eq!(outliers.max_ejected_share, 0.25);
    }

    #[test]
    fn faults_of_retries_and_fallbacks_are_named() {
        let route = |rest: &str| {
            format!(
                "{NODE}{WEB}[[upstream]]\nname='u'\nendpoints=[{{address='10.0.0.1:80'}}]\n\
                [[upstream]]\nname='two'\nprotocol='http2'\nendpoints=[{{address='10.0.0.2:80'}}]\n\
                [[route]]\nname='r'\nlisteners=['web']\nmatch={{path='/'}}\nupstream='u'\n{rest}\n"
            )
        };
        let rows: [(&str, &[&str]); 10] = [
            (
                "retry={on=['5xx','504-502']}",
                &[
                    "retry.on[0]: \"5xx\" is no outcome",
                    "retry.on[1]: \"504-502\" is an empty range",
                ],
            ),
            ("retry={on=['unavailable']}", &["retry.on: nobody can be asked"]),
            ("retry={attempts=11}", &["retry.attempts: 11 is out of range"]),
            ("retry={backoff='0s',retry_after_max='0s'}", &[]),
            (
                "retry={backoff='2s'}",
                &["retry.backoff: is longer than backoff_max"],
            ),
            (
                "fallback_on=['reset']",
                &["fallback_on: the route has no fallback"],
            ),
            (
                // Another protocol is no fault.
                "fallback=[{upstream='u'},{upstream='two'}]",
                &["fallback[0].upstream: \"u\" is asked already"],
            ),
            (
                "fallback=[{respond={status=503}},{upstream='v'}]",
                &["fallback[1]: comes after an answer"],
            ),
            ("fallback=[{}]", &["fallback[0]: the fallback does nothing"]),
            (
                "fallback=[{respond={status=503,content_type='json',retry_after='1ms'}}]",
                &[
                    "content_type: \"json\" is no content type",
                    "retry_after: \"1ms\" is out of range",
                ],
            ),
        ];
        for (rest, faults) in rows {
            check(&route(rest), faults);
        }
        let own = format!(
            "{NODE}{WEB}[[route]]\nname='r'\nlisteners=['web']\nmatch={{path='/'}}\nrespond={{status=200}}\nfallback=[{{respond={{status=503}}}}]\n"
        );
        check(&own, &["fallback: the route asks no upstream that could fail"]);
    }

    #[test]
    fn channels_are_resolved_against_the_first_way() {
        let text = format!(
            "{NODE}{WEB}[[upstream]]\nname='u'\nprotocol='http2'\nchannels=[{{protocol='http1'}},{{port=81}}]\n\
            endpoints=[{{address='10.0.0.1:80'}},{{address='10.0.0.2:80',channels=[{{address='192.168.0.2:90'}}]}}]\n\
            failback={{rise=2,stay='3s',stay_max='4s',interval='5s',interval_max='6s',timeout='7s'}}\n"
        );
        let settings = loaded(&text).unwrap();
        let upstream = &settings.upstreams[0];
        let to = |channels: &[ChannelSettings], endpoint: &str| -> Vec<String> {
            let endpoint = endpoint.parse().unwrap();
            let channels = channels.iter();
            channels
                .map(|channel| {
                    channel
                        .to(endpoint, upstream.protocol, upstream.security())
                        .to_string()
                })
                .collect()
        };
        assert_eq!(
            to(&upstream.channels, "10.0.0.1:80"),
            ["10.0.0.1:80 (http1)", "10.0.0.1:81 (http2)"]
        );
        assert!(upstream.endpoints[0].channels.is_empty());
        assert_eq!(
            to(&upstream.endpoints[1].channels, "10.0.0.2:80"),
            ["192.168.0.2:90 (http2)"]
        );
        let seconds = Duration::from_secs;
        assert_eq!(
            upstream.failback,
            channel::Settings {
                rise: 2,
                stay_min: seconds(3),
                stay_max: seconds(4),
                probe_interval: seconds(5),
                probe_interval_max: seconds(6),
                probe_timeout: seconds(7),
            }
        );
    }

    #[test]
    fn faults_of_channels_are_named() {
        let upstream = |keys: &str, endpoint: &str| {
            format!("{NODE}{WEB}[[upstream]]\nname='u'\nendpoints=[{{{endpoint}}}]\n{keys}\n")
        };
        let one = "address='10.0.0.1:80'";
        let rows: [(&str, &str, &[&str]); 10] = [
            (
                "channels=[{}]",
                one,
                &["channels[0]: nothing says in what it differs"],
            ),
            (
                "channels=[{protocol='http1'}]",
                one,
                &["channels[0]: it is the same way as one before it"],
            ),
            (
                "channels=[{port=81},{port=81}]",
                one,
                &["channels[1]: it is the same way as one before it"],
            ),
            (
                "channels=[{address='10.0.0.2:80'}]",
                one,
                &["channels[0].address: all endpoints would be reached at one address"],
            ),
            (
                "failback={rise=2}",
                one,
                &["failback: there is no other way to come back from"],
            ),
            (
                "channels=[{port=81}]\nfailback={stay='9s',stay_max='1s',interval='31s'}",
                one,
                &[
                    "failback.stay: is longer than stay_max",
                    "failback.interval: is longer than interval_max",
                ],
            ),
            (
                "",
                "address='10.0.0.1:80',channels=[{address='10.0.0.1:81',port=82},{address='0.0.0.0:1'},{address='10.0.0.9:0'}]",
                &[
                    "channels[0].port: it stands beside an address",
                    "channels[1].address: nobody can be connected to at 0.0.0.0",
                    "channels[2].address: 10.0.0.9:0 has no port",
                ],
            ),
            (
                "",
                "address='10.0.0.1:80',channels=[{address='10.0.0.1:80'}]",
                &["endpoints[0].channels[0]: it is the same way"],
            ),
            (
                "",
                "address='a.example:80',channels=[{address='10.0.0.1:80'}]",
                &["channels[0].address: a.example may stand for several addresses"],
            ),
            (
                "",
                "address='127.0.0.1:80',channels=[{port=8080}]",
                &["channels[0].port: 127.0.0.1:8080 is listener \"web\""],
            ),
        ];
        for (keys, endpoint, faults) in rows {
            check(&upstream(keys, endpoint), faults);
        }
    }

    #[test]
    fn every_key_of_the_l7_core_reaches_the_settings() {
        let listener_keys = "mode='lenient'\nhead_bytes_max=16384\nfields_max=50\ntarget_bytes_max=4096\n\
            first_byte_timeout='1s'\nhead_timeout='2s'\nstalled_timeout='3s'\nkeep_alive_timeout='4s'\n\
            h2_idle_timeout='5s'\nconnection_age='6s'\ntrusted_proxies=['10.0.0.0/8','2001:db8::1']\n\
            h2_streams_max=7\nh2_stream_window_bytes=20000\nh2_connection_window_bytes=80000\n\
            h2_head_bytes_max=8192\n";
        let route_keys = "timeout='7s'\ntimeout_total='8s'\ntry_timeout='900ms'\ndeadline_header='x-left-ms'\nresponse_idle_timeout='10s'\n\
            tunnel_idle_timeout='11s'\nbody_bytes_max=0\ngrpc_message_bytes_max=13\ngrpc_web=true\nreplay_bytes_max=14\n\
            merge_slashes=false\nencoded_slash='keep'\nexpect='forward'\nupgrades=['websocket','x-tunnel']\n\
            retry={attempts=4,on=['reset','502-504'],backoff='15ms',backoff_max='16ms',retry_after_max='17s'}\n";
        let listener_http = ListenerHttp {
            mode: HttpMode::Lenient,
            head_bytes_max: 16_384,
            fields_max: 50,
            target_bytes_max: 4096,
            first_byte_timeout: Duration::from_secs(1),
            head_timeout: Duration::from_secs(2),
            stalled_timeout: Duration::from_secs(3),
            keep_alive_timeout: Duration::from_secs(4),
            h2_idle_timeout: Duration::from_secs(5),
            connection_age: Some(Duration::from_secs(6)),
            trusted_proxies: Networks(vec![
                "10.0.0.0/8".parse().unwrap(),
                "2001:db8::1/128".parse().unwrap(),
            ]),
            h2_streams_max: 7,
            h2_stream_window_bytes: 20_000,
            h2_connection_window_bytes: 80_000,
            h2_head_bytes_max: 8192,
        };
        let route_http = RouteHttp {
            timeout: Duration::from_secs(7),
            timeout_total: Some(Duration::from_secs(8)),
            try_timeout: Some(Duration::from_millis(900)),
            deadline_header: Some(http::HeaderName::from_static("x-left-ms")),
            response_idle_timeout: Duration::from_secs(10),
            tunnel_idle_timeout: Duration::from_secs(11),
            body_bytes_max: 0,
            grpc_message_bytes_max: 13,
            grpc_web: GrpcWeb::Translated,
            replay_bytes_max: 14,
            merge_slashes: MergeSlashes::Off,
            encoded_slash: EncodedSlash::Keep,
            expect: Expect::Forward,
            upgrades: vec!["websocket".to_owned(), "x-tunnel".to_owned()],
            retry: Retries {
                attempts: 4,
                on: {
                    let mut on = Outcomes::of(&[Failure::Reset]);
                    on.add("502-504").unwrap();
                    on
                },
                backoff: crate::resilience::backoff::Backoff {
                    base: Duration::from_millis(15),
                    max: Duration::from_millis(16),
                    retry_after_max: Duration::from_secs(17),
                },
            },
        };
        let route = "[[route]]\nname='r'\nlisteners=['web']\nrespond={status=200}\nmatch={path='/'}\n";
        // Of the listener, and of its route.
        let rows = [
            (
                format!("{NODE}{WEB}{route}"),
                (ListenerHttp::default(), RouteHttp::default()),
                "nothing is said",
            ),
            (
                format!("{NODE}[defaults]\n{listener_keys}{route_keys}{WEB}{route}"),
                (listener_http.clone(), route_http.clone()),
                "[defaults] says all",
            ),
            (
                format!("{NODE}{WEB}{listener_keys}{route_keys}{route}"),
                (listener_http.clone(), route_http.clone()),
                "the listener says all",
            ),
            (
                format!("{NODE}{WEB}{route}{route_keys}"),
                (ListenerHttp::default(), route_http.clone()),
                "the route says all that it may",
            ),
            (
                format!(
                    "{NODE}[defaults]\n{listener_keys}{route_keys}{WEB}connection_age='none'\ntry_timeout='1s'\n\
                     trusted_proxies=[]\n{route}timeout_total='none'\nmerge_slashes=true\nupgrades=[]\n"
                ),
                (
                    ListenerHttp {
                        connection_age: None,
                        trusted_proxies: Networks::default(),
                        ..listener_http
                    },
                    RouteHttp {
                        try_timeout: Some(Duration::from_secs(1)),
                        timeout_total: None,
                        merge_slashes: MergeSlashes::On,
                        upgrades: Vec::new(),
                        ..route_http
                    },
                ),
                "each says something",
            ),
        ];
        for (text, expected, why) in rows {
            let settings = loaded(&text).unwrap();
            let listener = &settings.listeners[0];
            let route = settings.routes[0].keys.over(&listener.route_http);
            assert_eq!((listener.http.clone(), route), expected, "{why}");
        }

        let settings = loaded(&format!(
            "{NODE}connections_max=1000\nconnections_per_client_max=10\n{WEB}\
             [[upstream]]\nname='u'\nendpoints=[{{address='10.0.1.1:80'}}]\nmode='monitor'\nidle_timeout='9s'\n\
             connection_age='1h'\ndrain_timeout='5s'\nh2_connections_max=2\nh2_streams_max=50\n"
        ))
        .unwrap();
        let (node, upstream) = (&settings.node, &settings.upstreams[0]);
        assert_eq!(
            (node.connections_max, node.connections_per_client_max),
            (Some(1000), Some(10))
        );
        assert_eq!(upstream.mode, HttpMode::Monitor);
        assert_eq!(
            (
                upstream.idle_timeout,
                upstream.connection_age,
                upstream.drain_timeout
            ),
            (
                Duration::from_secs(9),
                Some(Duration::from_secs(3600)),
                Duration::from_secs(5)
            )
        );
        assert_eq!((upstream.h2_connections_max, upstream.h2_streams_max), (2, 50));
        let plain = loaded(&format!("{NODE}{WEB}")).unwrap();
        assert_eq!(plain.restart_needed(&settings), ["node.connections_max"]);
    }

    #[test]
    fn keys_of_the_l7_core_that_make_no_sense_are_refused() {
        let route = "[[route]]\nname='r'\nlisteners=['web']\nrespond={status=200}\nmatch={path='/'}\n";
        let on_listener: &[(&str, &[&str])] = &[
            ("connection_age='none'\ntimeout_total='none'", &[]),
            ("try_timeout='20s'", &[]),
            (
                "first_byte_timeout='none'",
                &[
                    "listener[0].first_byte_timeout: 'none' is not a length of time; write a number and a unit",
                ],
            ),
            (
                "connection_age='never'",
                &[
                    "connection_age: 'never' is not a length of time; write a number and a unit in quotes, \
                   as in \"15s\" or \"500ms\", or \"none\"",
                ],
            ),
            (
                "connection_age='1ms'",
                &["\"1ms\" is out of range; write \"1s\" to \"30days\", or \"none\""],
            ),
            (
                "mode='strickt'",
                &[
                    "'strickt' is not known here; did you mean \"strict\"? write \"strict\" or \"lenient\" or \"monitor\"",
                ],
            ),
            (
                "head_bytes_max=4096",
                &["4096 is out of range; write a whole number from 8192 to 1048576"],
            ),
            (
                "head_bytes_max=8192\ntarget_bytes_max=9000",
                &[
                    "listener[0].target_bytes_max: 9000 is more than head_bytes_max, which is 8192; write at most 8192",
                ],
            ),
            (
                "h2_stream_window_bytes=100_000\nh2_connection_window_bytes=65_535",
                &["h2_stream_window_bytes: 100000 is more than h2_connection_window_bytes"],
            ),
            (
                "trusted_proxies=['10.0.0.1/8','::ffff:10.0.0.0/104','10.1.0.0/16','10.1.0.0/16','proxy','10.2.3.4']",
                &[
                    "trusted_proxies[0]: 10.0.0.1/8 has bits beyond its prefix; \
                     write \"10.0.0.0/8\" for the network, or \"10.0.0.1\" for the address",
                    "trusted_proxies[1]: ::ffff:10.0.0.0/104 is IPv4 written as IPv6",
                    "trusted_proxies[3]: 10.1.0.0/16 stands here twice",
                    "trusted_proxies[4]: 'proxy' is not a network or an IP address; write it as in",
                ],
            ),
            (
                "timeout='2s'\ntry_timeout='3s'",
                &["listener[0].try_timeout: is longer than timeout, which comes first"],
            ),
            (
                "timeout='2s'\ntimeout_total='1s'",
                &["listener[0].timeout: is longer than timeout_total, which comes first"],
            ),
            (
                "headtimeout='2s'",
                &["listener[0].headtimeout: unknown key; did you mean head_timeout?"],
            ),
        ];
        for (keys, wanted) in on_listener {
            check(&format!("{NODE}{WEB}{keys}\n"), wanted);
            let of_defaults: Vec<String> = wanted
                .iter()
                .map(|text| text.replace("listener[0]", "defaults"))
                .collect();
            let wanted: Vec<&str> = of_defaults.iter().map(String::as_str).collect();
            check(&format!("{NODE}{WEB}[defaults]\n{keys}\n"), &wanted);
        }
        let on_route: &[(&str, &[&str])] = &[
            ("upgrades=[]\nbody_bytes_max=0\nreplay_bytes_max=0", &[]),
            (
                "upgrades=['h2c','WebSocket','a b','tls/1.0','websocket','websocket']",
                &[
                    "route[0].upgrades[0]: \"h2c\" is HTTP/2 by upgrade, which is never taken up",
                    "route[0].upgrades[1]: \"WebSocket\" is not in lower case, in which names are compared; \
                     write \"websocket\"",
                    "route[0].upgrades[2]: \"a b\" is not the name of a protocol",
                    "route[0].upgrades[3]: \"tls/1.0\" has a version; write the name",
                    "route[0].upgrades[5]: \"websocket\" stands here twice; remove one",
                ],
            ),
            (
                "upgrades='websocket'",
                &["'websocket' is not a list; write a list in brackets, as in"],
            ),
            (
                "merge_slashes='off'",
                &["merge_slashes: 'off' is not true or false"],
            ),
            ("encoded_slash='decode'", &["write \"refuse\" or \"keep\""]),
            (
                "body_bytes_max=-1",
                &["body_bytes_max: -1 is out of range; write a whole number from 0 to"],
            ),
            (
                "replay_bytes_max=2_000_000",
                &["2000000 is out of range; write a whole number from 0 to 1048576"],
            ),
            ("mode='strict'", &["route[0].mode: unknown key"]),
        ];
        for (keys, wanted) in on_route {
            check(&format!("{NODE}{WEB}{route}{keys}\n"), wanted);
        }
        check(
            &format!("{NODE}connections_max=10\nconnections_per_client_max=11\n{WEB}"),
            &[
                "node.connections_per_client_max: 11 is more than connections_max, which is 10; write at most 10",
            ],
        );
    }

    #[test]
    fn endpoints_that_lead_back_here_are_refused() {
        let vip =
            "[dataplane]\ninterfaces=['eth0']\n[[vip]]\nname='public'\naddress='203.0.113.1'\nports=[81]\n";
        let any = "[[listener]]\nname='any'\naddress='[::]:81'\n";
        let upstream = |address: &str| {
            format!(
                "{NODE}{WEB}{any}{vip}[[upstream]]\nname='u'\n\
                 endpoints=[{{address='10.0.1.1:80'}},{{address='{address}'}}]\n"
            )
        };
        check(&upstream("10.0.0.1:8080"), &[]);
        check(&upstream("10.0.0.2:81"), &[]);
        for address in ["10.0.0.1:81", "127.0.0.1:81", "[::1]:81", "203.0.113.1:81"] {
            check(
                &upstream(address),
                &[&format!(
                    "upstream[0].endpoints[1].address: {address} is listener \"any\" (line 9) of this node: its \
                     requests would come back here; write the address of the server behind it"
                )],
            );
        }
        check(
            &upstream("127.0.0.1:8080"),
            &["127.0.0.1:8080 is listener \"web\" (line 6) of this node"],
        );
        let udp = "[[vip]]\nname='other'\naddress='203.0.113.9'\nports=[82]\n";
        let elsewhere = "[[listener]]\nname='x'\naddress='203.0.113.9:82'\n";
        check(
            &format!("{}{udp}{elsewhere}", upstream("203.0.113.9:82")),
            &["203.0.113.9:82 is listener \"x\""],
        );
    }

    #[test]
    fn endpoints_and_dns_servers_are_addresses_or_names_that_can_be_asked_for() {
        let upstream = |address: &str| {
            format!("{NODE}{WEB}[[upstream]]\nname='u'\nendpoints=[{{address='{address}'}}]\n")
        };
        for address in [
            "users:80",
            "users.internal:8080",
            "a_b.x-1.Internal.:1",
            "localhost:65535",
            "[::1]:80",
        ] {
            check(&upstream(address), &[]);
        }
        for address in [
            "users",
            "users:0",
            "users:70000",
            "users:",
            ":80",
            "us ers:80",
            "10.0.0.256:80",
            "10.0.0:80",
            "::1:80",
            "http://users:80",
            "users..internal:80",
            "-:",
            "users:80/x",
            "*.internal:80",
        ] {
            check(
                &upstream(address),
                &["is not an IP address or a host name with a port; write it as in \"10.0.1.1"],
            );
        }
        check(
            &format!(
                "{NODE}{WEB}[[upstream]]\nname='u'\nendpoints=[{{address='a:80'}},{{address='A:80'}}]\n"
            ),
            &["upstream[0].endpoints[1].address: a:80 is an endpoint of this upstream already"],
        );
        check(
            &format!("{NODE}{WEB}[dns]\n"),
            &["dns.servers: is missing; add servers, as in"],
        );
        check(
            &format!(
                "{NODE}{WEB}[dns]\nservers=['10.0.0.53:53','10.0.0.53:53','0.0.0.0:53','10.0.0.1:0','dns:53']\n"
            ),
            &[
                "dns.servers[1]: 10.0.0.53:53 stands here twice",
                "dns.servers[2]: 0.0.0.0:53 stands for any address",
                "dns.servers[3]: 10.0.0.1:0 has no port",
                "dns.servers[4]: 'dns:53' is not an IP address with a port",
            ],
        );
        let names: String = (0..5)
            .map(|upstream| {
                let endpoints: String = (0..1000)
                    .map(|n| format!("{{address='n{upstream}-{n}:80'}},"))
                    .collect();
                format!("[[upstream]]\nname='u{upstream}'\nendpoints=[{endpoints}]\n")
            })
            .collect();
        check(
            &format!("{NODE}{WEB}{names}"),
            &["upstream: 5000 host names in all are too many; use at most 4096"],
        );
    }

    #[test]
    fn what_follows_from_a_problem_is_no_problem_of_its_own() {
        check(
            &format!(
                "{NODE}[[listener]]\nname=7\naddress='127.0.0.1:80'\n[[route]]\nname='r'\nlisteners=['web']\n\
                        respond={{status=200}}\nmatch={{path='/'}}\n"
            ),
            &["listener[0].name: 7 is not text"],
        );
        check(
            "[node]\nname='a'\naddress='x'\n[dataplane]\ninterfaces=['e']\n[[listener]]\nname='web'\naddress='[::]:80'\n\
               [[vip]]\nname='v'\naddress='203.0.113.1'\nports=[80]\n",
            &["node.address: 'x' is not an IPv4 address"],
        );
    }

    #[test]
    fn cluster_keys_are_read_and_those_that_others_read_are_refused() {
        let scratch = Scratch::new("keys");
        scratch.file("good", KEY, 0o600);
        scratch.file("open", KEY, 0o644);
        scratch.file("short", "0011\n", 0o600);
        let check = |cluster: &str, wanted: Result<(), &str>| {
            let text = format!("{NODE}{WEB}[cluster]\n{cluster}\n");
            match (
                load_text(&scratch.0.join("t.toml"), &text, &surroundings()),
                wanted,
            ) {
                (Ok(settings), Ok(())) => assert_eq!(settings.cluster.unwrap().key.0[31], 31),
                (Err(refused), Err(wanted)) => {
                    assert!(
                        refused.to_string().contains(wanted),
                        "{wanted:?} is not in {refused}"
                    );
                    assert_eq!(refused.problems().len(), 1, "{refused}");
                    assert!(!refused.to_string().contains("0011"), "{refused}");
                }
                (seen, _) => panic!("{cluster}: {seen:?}"),
            }
        };
        let with = |key: &str| format!("listen='10.0.0.1:7946'\nkey_file='{key}'");
        check(&with("good"), Ok(()));
        check(&with("open"), Err("has mode 0644"));
        check(&with("short"), Err("does not hold 32 bytes"));
        check(
            &with("none"),
            Err("make one with: od -An -v -tx1 -N32 /dev/urandom"),
        );
        check(
            "listen='0.0.0.0:7946'\nkey_file='good'",
            Err("as in \"10.0.0.1:7946\""),
        );
        check(
            "listen='10.0.0.1:7946'\nkey_file='good'\nseeds=['[::1]:1']",
            Err("of the other address family"),
        );
        check("listen='10.0.0.1:7946'", Err("cluster.key_file: is missing"));
        let own: SocketAddr = "10.0.0.1:7946".parse().unwrap();
        let text = format!(
            "{NODE}{WEB}[cluster]\n{}\nseeds=['{own}','10.0.0.2:7946']\n",
            with("good")
        );
        let settings = load_text(&scratch.0.join("t.toml"), &text, &surroundings()).unwrap();
        assert_eq!(
            settings.cluster.unwrap().seeds,
            ["10.0.0.2:7946".parse().unwrap()]
        );
    }

    #[test]
    fn files_that_cannot_be_read_are_refused_in_one_line() {
        let scratch = Scratch::new("files");
        let absent = load(&scratch.0.join("absent.toml")).unwrap_err().to_string();
        assert!(
            absent.contains("absent.toml: cannot be read: No such file"),
            "{absent}"
        );
        let binary = scratch.0.join("binary.toml");
        fs::write(&binary, b"a = 1\n\xff").unwrap();
        assert!(
            load(&binary)
                .unwrap_err()
                .to_string()
                .contains("line 2 is not UTF-8")
        );
    }

    #[test]
    fn no_text_makes_a_check_panic_and_every_refusal_has_lines_of_that_text() {
        let text = fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../examples/three-nodes.toml"
        ))
        .unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let without = |index: usize| [&lines[..index], &lines[index + 1..]].concat().join("\n");
        let twice = |index: usize| [&lines[..=index], &lines[index..]].concat().join("\n");
        let cut = (0..text.len())
            .step_by(7)
            .filter_map(|end| text.get(..end).map(str::to_owned));
        let odd = [
            "\u{feff}",
            "[[[[",
            "a=[1",
            "node=[[]]\n",
            "[node]\nname=[]\n",
            "node.name.x=1\n",
            "'",
            "\0",
        ];
        let texts = cut
            .chain((0..lines.len()).map(without))
            .chain((0..lines.len()).map(twice))
            .chain(odd.map(str::to_owned));
        for text in texts {
            let Err(refused) = loaded(&text) else { continue };
            let last = text.lines().count().max(1);
            for problem in refused.problems() {
                assert!(
                    problem.line.is_some_and(|line| (1..=last).contains(&line)),
                    "{problem} in:\n{text}"
                );
                assert!(
                    !problem.fault.is_empty() && !problem.remedy.is_empty(),
                    "{problem}"
                );
            }
        }
    }

    #[test]
    fn problems_are_bounded_however_many_there_are() {
        let keys: String = (0..5000).map(|n| format!("zz{n} = 1\n")).collect();
        let refused = loaded(&format!("{keys}{NODE}{WEB}")).unwrap_err();
        assert_eq!(refused.problems().len(), limits::PROBLEMS_MAX);
        let summary = "5000 problems, the first 100 listed; nothing was changed";
        assert!(refused.to_string().ends_with(summary), "{refused}");
        let endpoints = "{address='10.0.0.1:80'},".repeat(5000);
        check(
            &format!("{NODE}{WEB}[[upstream]]\nname='u'\nendpoints=[{endpoints}]\n"),
            &["upstream[0].endpoints: 5000 entries are too many; list at most 1024"],
        );
    }

    #[test]
    fn every_example_is_accepted() {
        let scratch = Scratch::new("examples");
        let key = scratch.file("cluster.key", KEY, 0o600);
        let mut names = Vec::new();
        for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            // The key lies on a node, not beside the example.
            let text = fs::read_to_string(&path)
                .unwrap()
                .replace("/etc/gateway/cluster.key", key.to_str().unwrap());
            if let Err(refused) = load_text(&path, &text, &surroundings()) {
                panic!("{refused}");
            }
            names.push(path.file_name().unwrap().to_owned());
        }
        names.sort();
        assert_eq!(names, ["quickstart.toml", "three-nodes.toml"]);
    }
}
