//! Requests explained by files alone: what is said, and where it stands.

use std::path::Path;

use super::*;
use crate::config::answers::Answers;
use crate::config::compile;
use crate::config::load::load_text;
use crate::config::surroundings::{Invalid, Surroundings};
use crate::registry::Registry;

fn explain(text: &str, question: &Question) -> Result<Explained, Unanswerable> {
    let surroundings = Surroundings {
        cores: 1,
        state_directory: "/state".into(),
        invalid: Invalid::Refused,
    };
    let settings = load_text(Path::new("t.toml"), text, &surroundings).unwrap();
    let snapshot = compile(&settings, &Registry::default(), &Answers::default(), 1);
    let of = Of {
        settings: &settings,
        snapshot: &Arc::new(snapshot),
        places: &Places::read(&settings.source, text).unwrap(),
        source: Source::File,
    };
    request(of, question)
}

fn get(url: &str, fields: &[(&str, &str)]) -> Question {
    Question {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Question::default()
    }
}

/// Routes from line 9 on, five lines each.
const ROUTES: &str = "[node]
name = 'gw-1'
[[listener]]
name = 'web'
address = '0.0.0.0:80'
[[upstream]]
name = 'u'
endpoints = [{ address = '10.0.1.1:80' }, { address = '10.0.1.2:80', weight = 3 }]
[[route]]
name = 'host'
listeners = ['web']
respond = { status = 200 }
match = { hosts = ['*.example.com'], path_prefix = '/' }
[[route]]
name = 'exact'
listeners = ['web']
upstream = 'u'
match = { hosts = ['api.example.com', 'b.example'], path = '/users/{id}', methods = ['GET'] }
[[route]]
name = 'blue'
listeners = ['web']
upstream = 'u'
match = { hosts = ['api.example.com'], path_prefix = '/users', headers = [{ name = 'x-a', present = true }, { name = 'x-tenant', exact = 'blue' }], query = [{ name = 'v', exact = '2' }] }
[[route]]
name = 'office'
listeners = ['web']
upstream = 'u'
match = { path_regex = '/users/[0-9]+', client = ['198.51.100.0/24'] }
[[route]]
name = 'all'
listeners = ['web']
upstream = 'u'
match = { path_prefix = '/users' }
";

#[test]
fn the_other_routes_say_what_does_not_fit_first_or_why_another_goes_before_them() {
    type Others<'r> = &'r [(&'r str, &'r str, &'r str, usize)];
    let rows: &[(Question, Option<&str>, Others<'_>)] = &[
        (
            get("http://api.example.com/users/7", &[]),
            Some("exact"),
            &[
                (
                    "host",
                    "fits, but \"exact\" is more exact in its host",
                    "route[0].match",
                    13,
                ),
                (
                    "all",
                    "fits, but \"exact\" is more exact in its host",
                    "route[4].match",
                    33,
                ),
                (
                    "office",
                    "wants a client of 198.51.100.0/24",
                    "route[3].match.client",
                    28,
                ),
                (
                    "blue",
                    "wants header x-a present",
                    "route[2].match.headers[0]",
                    23,
                ),
            ],
        ),
        (
            get(
                "http://api.example.com/users/7?v=3",
                &[("x-a", ""), ("x-tenant", "blue")],
            ),
            Some("exact"),
            &[
                ("host", "fits, but", "route[0].match", 13),
                ("all", "fits, but", "route[4].match", 33),
                ("office", "wants a client", "route[3].match.client", 28),
                ("blue", "wants query v = \"2\"", "route[2].match.query[0]", 23),
            ],
        ),
        (
            get(
                "http://api.example.com/users/7?v=2",
                &[("x-a", ""), ("x-tenant", "blue")],
            ),
            Some("exact"),
            &[
                ("host", "fits, but", "route[0].match", 13),
                ("blue", "is more exact in its path", "route[2].match", 23),
                ("all", "is more exact in its host", "route[4].match", 33),
                ("office", "wants a client", "route[3].match.client", 28),
            ],
        ),
        (
            get("http://c.example/users", &[]),
            Some("all"),
            &[
                (
                    "office",
                    "takes path_regex \"/users/[0-9]+\"",
                    "route[3].match.path_regex",
                    28,
                ),
                ("host", "takes host \"*.example.com\"", "route[0].match.hosts", 13),
                (
                    "exact",
                    "takes host \"api.example.com\", host \"b.example\"",
                    "route[1].match.hosts",
                    18,
                ),
                ("blue", "takes host", "route[2].match.hosts", 23),
            ],
        ),
        (
            get("http://b.example/elsewhere", &[]),
            None,
            &[
                ("exact", "takes path \"/users/{id}\"", "route[1].match.path", 18),
                ("office", "takes path_regex", "route[3].match.path_regex", 28),
                (
                    "all",
                    "takes path_prefix \"/users\"",
                    "route[4].match.path_prefix",
                    33,
                ),
                ("host", "takes host", "route[0].match.hosts", 13),
                ("blue", "takes host", "route[2].match.hosts", 23),
            ],
        ),
    ];
    for (question, taken, expected) in rows {
        let told = explain(ROUTES, question).unwrap();
        assert_eq!(told.verdict.route.as_deref(), *taken, "{told:#?}");
        assert_eq!(told.others.len(), expected.len(), "{told:#?}");
        for (other, (route, says, path, line)) in told.others.iter().zip(*expected) {
            assert_eq!(other.route, *route, "{told:#?}");
            assert!(other.says.contains(says), "{says}: {other:#?}");
            assert_eq!((other.place.path.as_str(), other.place.line), (*path, *line));
        }
    }
}

#[test]
fn methods_decide_and_equals_go_by_the_file() {
    let route = |name: &str, matching: &str| {
        format!("[[route]]\nname='{name}'\nlisteners=['web']\nrespond={{status=200}}\nmatch={{{matching}}}\n")
    };
    let text = [
        "[node]\nname='gw-1'\n[[listener]]\nname='web'\naddress='0.0.0.0:80'\n".to_owned(),
        route("any", "path='/x'"),
        route("get", "path='/x',methods=['GET']"),
        route("one", "path='/y',headers=[{name='x-a',present=true}]"),
        route("two", "path='/y',headers=[{name='x-b',present=true}]"),
    ]
    .concat();
    let fields = [("x-a", "1"), ("x-b", "1")];
    for (url, route, says) in [
        ("/x", "any", "fits, but \"get\" is more exact in its methods"),
        ("/y", "two", "fits, but \"one\" comes first in the file"),
    ] {
        let told = explain(&text, &get(&format!("http://a.example{url}"), &fields)).unwrap();
        let other = told.others.iter().find(|other| other.route == route).unwrap();
        assert_eq!(other.says, says);
    }
    let put = Question {
        method: "PUT".to_owned(),
        ..get("http://a.example/x", &[])
    };
    assert_eq!(
        explain(&text, &put).unwrap().verdict.route.as_deref(),
        Some("any")
    );
}

#[test]
fn endpoints_get_their_shares_and_a_key_leads_to_one() {
    let told = explain(ROUTES, &get("http://api.example.com/users/7", &[])).unwrap();
    let shares: Vec<_> = told
        .candidates
        .iter()
        .map(|one| (one.endpoint.to_string(), one.per_mille))
        .collect();
    assert_eq!(
        shares,
        [("10.0.1.2:80".to_owned(), 750), ("10.0.1.1:80".to_owned(), 250)]
    );
    assert_eq!(told.verdict.endpoint, None);
    assert_eq!(told.snapshot, None);
    let hashed = ROUTES.replace("name = 'u'", "name = 'u'\nbalancer = 'ip-hash'");
    let ask = |client: &str| {
        let question = Question {
            client: Some(client.parse().unwrap()),
            ..get("http://api.example.com/users/7", &[])
        };
        explain(&hashed, &question).unwrap().verdict.endpoint
    };
    assert!(ask("192.0.2.1").is_some());
    assert_eq!(ask("192.0.2.1"), ask("192.0.2.1"));
    let all: std::collections::HashSet<_> = (1..=60).map(|host| ask(&format!("192.0.2.{host}"))).collect();
    assert_eq!(all.len(), 2, "{all:?}");
}

#[test]
fn upstreams_that_cannot_be_asked_fall_back_as_requests_do() {
    let text = "[node]
name = 'gw-1'
[[listener]]
name = 'web'
address = '0.0.0.0:80'
[[upstream]]
name = 'named'
endpoints = [{ address = 'users.internal:80' }]
[[upstream]]
name = 'spare'
endpoints = [{ address = '10.0.1.1:80' }]
[[route]]
name = 'spared'
listeners = ['web']
upstream = 'named'
fallback = [{ upstream = 'spare' }, { respond = { status = 503, body = 'later' } }]
match = { path = '/spared' }
[[route]]
name = 'told'
listeners = ['web']
upstream = 'named'
fallback = [{ respond = { status = 503, body = 'later' } }]
match = { path = '/told' }
[[route]]
name = 'alone'
listeners = ['web']
upstream = 'named'
match = { path = '/alone' }
";
    let rows = [
        (
            "/spared",
            Fate::Forwarded,
            None,
            None,
            Some("spare"),
            "route[0].fallback[0]",
        ),
        (
            "/told",
            Fate::Answered,
            Some(503),
            Some("endpoint-unresolved"),
            None,
            "route[1].fallback[0]",
        ),
        (
            "/alone",
            Fate::Refused,
            Some(503),
            Some("endpoint-unresolved"),
            None,
            "upstream[0]",
        ),
    ];
    for (path, fate, status, reason, upstream, place) in rows {
        let told = explain(text, &get(&format!("http://a.example{path}"), &[])).unwrap();
        let verdict = &told.verdict;
        assert_eq!(
            (
                verdict.fate,
                verdict.status,
                verdict.reason.as_deref(),
                verdict.upstream.as_deref()
            ),
            (fate, status, reason, upstream),
            "{told:#?}"
        );
        let mut places = told.steps.iter().filter_map(|step| step.place.as_ref());
        assert!(places.any(|at| at.path == place), "{place}: {told:#?}");
    }
}

#[test]
fn requests_come_by_the_listener_that_their_url_leads_to() {
    let text = "[node]
name = 'gw-1'
[[listener]]
name = 'one'
address = '127.0.0.1:8080'
[[listener]]
name = 'two'
address = '0.0.0.0:8081'
[[listener]]
name = 'three'
address = '[::1]:8081'
[[route]]
name = 'all'
listeners = ['one', 'two', 'three']
respond = { status = 204 }
match = { path_prefix = '/' }
";
    let rows: &[(&str, Option<&str>, Result<&str, &str>)] = &[
        ("http://a.example:8080/", None, Ok("\"one\"")),
        ("http://192.0.2.1:8081/", None, Ok("\"two\"")),
        ("http://[::1]:8081/", None, Ok("\"three\"")),
        ("http://a.example:8082/", None, Ok("none accepts on port 8082")),
        ("http://192.0.2.1:8080/", None, Ok("none accepts on port 8080")),
        ("http://a.example:8081/", None, Err("two, three could be meant")),
        ("http://a.example:8081/", Some("three"), Ok("\"three\"")),
        ("http://a.example/", None, Err("one, two, three could be meant")),
        ("https://a.example/", None, Err("no listener speaks TLS")),
        ("/", Some("four"), Err("no listener \"four\"")),
    ];
    for (url, listener, expected) in rows {
        let question = Question {
            listener: listener.map(str::to_owned),
            ..get(url, &[])
        };
        match (explain(text, &question), expected) {
            (Ok(told), Ok(says)) => assert!(told.steps[0].says.contains(says), "{url}: {told:#?}"),
            (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{url}: {error}"),
            (seen, _) => panic!("{url}: {seen:?}"),
        }
    }
}

#[test]
fn only_so_many_routes_are_listed_and_those_that_come_closest_first() {
    let mut text = "[node]\nname='gw-1'\n[[listener]]\nname='web'\naddress='0.0.0.0:80'\n".to_owned();
    for index in 0..200 {
        text.push_str(&format!(
            "[[route]]\nname='r{index}'\nlisteners=['web']\nrespond={{status=200}}\n\
             match={{hosts=['h{index}.example'],path='/x'}}\n"
        ));
    }
    text.push_str(
        "[[route]]\nname='near'\nlisteners=['web']\nrespond={status=200}\n\
         match={hosts=['h7.example'],path='/x',methods=['PUT']}\n",
    );
    let told = explain(&text, &get("http://h7.example/x", &[])).unwrap();
    assert_eq!(told.verdict.route.as_deref(), Some("r7"));
    assert_eq!((told.others.len(), told.others_left_out), (50, 150));
    assert_eq!(told.others[0].route, "near");
}

#[test]
fn listeners_that_see_no_requests_are_not_meant() {
    let text = "[node]\nname='gw-1'\n[[listener]]\nname='db'\naddress='0.0.0.0:5432'\nprotocol='tcp'\n\
        [[listener]]\nname='web'\naddress='0.0.0.0:8080'\n\
        [[route]]\nname='db'\nlisteners=['db']\nupstream='u'\n\
        [[route]]\nname='web'\nlisteners=['web']\nmatch={path_prefix='/'}\nrespond={status=200}\n\
        [[upstream]]\nname='u'\nendpoints=[{address='10.0.1.1:5432'}]\n";
    let explained = explain(text, &get("/", &[("host", "a.example")])).unwrap();
    assert_eq!(
        explained.verdict.route.as_deref(),
        Some("web"),
        "the only one that could be meant"
    );
    let named = Question {
        listener: Some("db".to_owned()),
        ..get("/", &[("host", "a.example")])
    };
    let led_to = Question {
        url: "http://a.example:5432/".to_owned(),
        ..get("/", &[])
    };
    for question in [named, led_to] {
        let Unanswerable(why) = explain(text, &question).unwrap_err();
        let expected = "\"db\" passes connections on and sees no requests: name one of web";
        assert!(why.contains(expected), "{why}");
    }
}
