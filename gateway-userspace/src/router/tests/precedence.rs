//! Tests of what routes ask for beside host, path and method: which goes first, and what a lookup costs.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, header};

use super::*;

/// Host, path (`~` begins a regular expression), methods, and conditions by words: `x-a=1`, `?v=1`, `;sid=1`, `@NETWORK`,
/// of certificates `$s=SUBJECT`, and `$d=`, `$u=`, `$e=` for a name. `=1*` is a prefix, `=` alone any value, `=!` none.
type Row<'t> = (&'t str, &'t str, &'t str, &'t str);

fn conditions(words: &str) -> Arc<Conditions> {
    let (clients, fields): (Vec<&str>, Vec<&str>) =
        words.split_whitespace().partition(|word| word.starts_with('@'));
    let field = |word: &&str| {
        let (name, value) = word.split_once('=').unwrap();
        let source = match (name.strip_prefix('?'), name.strip_prefix(';')) {
            (Some(name), _) => Source::Query(name.to_owned()),
            (_, Some(name)) => Source::Cookie(name.to_owned()),
            _ if name == "$s" => Source::Subject,
            _ if name.starts_with('$') => Source::Name(kind(name)),
            _ => Source::Header(HeaderName::from_bytes(name.as_bytes()).unwrap()),
        };
        let test = match (value, value.strip_suffix('*')) {
            ("", _) => Test::Present,
            ("!", _) => Test::Absent,
            (_, Some(prefix)) => Test::Prefix(prefix.to_owned()),
            _ => Test::Exact(value.to_owned()),
        };
        Condition { source, test }
    };
    let clients = clients.iter().map(|word| word[1..].parse().unwrap());
    let (names, fields): (Vec<Condition>, Vec<Condition>) = fields
        .iter()
        .map(field)
        .partition(|condition| matches!(condition.source, Source::Name(_)));
    Arc::new(Conditions::new(fields, clients.collect()).with_names(names))
}

fn kind(word: &str) -> NameKind {
    match word {
        "$d" => NameKind::Dns,
        "$u" => NameKind::Uri,
        _ => NameKind::Email,
    }
}

fn pattern(text: &str) -> PathPattern {
    match text.strip_prefix('~') {
        Some(text) => PathPattern::Regex(Expression::new(text).unwrap()),
        None => path(text),
    }
}

fn add(table: &mut Router, row: Row<'_>, index: usize) -> Result<(), String> {
    let (h, p, m, c) = row;
    let terms = Terms {
        methods: &methods(m),
        slashes: Slashes::Merged,
        conditions: &conditions(c),
    };
    table.insert_if(&host(h), &pattern(p), terms, RouteIndex(index))
}

fn router(rows: &[Row<'_>]) -> Router {
    let mut table = Router::default();
    for (index, row) in rows.iter().enumerate() {
        add(&mut table, *row, index).unwrap();
    }
    table
}

/// A request: method, path with its query, and what else it has, by words as above.
struct Asked {
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    client: IpAddr,
    subject: Option<String>,
    /// Of each kind.
    names: [Vec<String>; 3],
}

impl Asked {
    fn new(method: &str, target: &str, words: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let mut headers = HeaderMap::new();
        let mut client = "192.0.2.1".parse().unwrap();
        let (mut subject, mut names) = (None, <[Vec<String>; 3]>::default());
        for word in words.split_whitespace() {
            if let Some(address) = word.strip_prefix('@') {
                client = address.parse().unwrap();
                continue;
            }
            let (name, value) = word.split_once('=').unwrap();
            if name.starts_with('$') {
                let subject = subject.get_or_insert_with(String::new);
                if name == "$s" {
                    value.clone_into(subject);
                } else {
                    names[kind(name) as usize].push(value.to_owned());
                }
                continue;
            }
            match name.strip_prefix(';') {
                Some(_) => headers.append(header::COOKIE, HeaderValue::from_str(&word[1..]).unwrap()),
                None => headers.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                ),
            };
        }
        Self {
            method: method.parse().unwrap(),
            path: path.to_owned(),
            query,
            headers,
            client,
            subject,
            names,
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            headers: &self.headers,
            query: self.query.as_deref(),
            client: self.client,
            claims: Claims::Ignored,
            certificate: self.subject.as_deref().map(|subject| Certificate {
                subject,
                dns: &self.names[0],
                uris: &self.names[1],
                emails: &self.names[2],
            }),
        }
    }

    fn at(&self, table: &Router, h: &str) -> Lookup {
        table.find_either(h, &self.path, None, &self.method, &self.facts())
    }
}

#[track_caller]
fn check(table: &Router, rows: &[(&str, &str, &str, Lookup, &str)]) {
    for (method, target, words, expected, why) in rows {
        let got = Asked::new(method, target, words).at(table, "h");
        assert_eq!(got, *expected, "{why}: {method} {target} {words}");
    }
}

#[test]
fn after_path_and_method_the_more_conditions_go_first_and_then_the_order() {
    let table = router(&[
        ("", "/a*", "", ""),                      // 0
        ("", "/a*", "", "x-a=1"),                 // 1
        ("", "/a*", "", "x-a=1 x-b=2"),           // 2
        ("", "/a*", "", "?v=1 ?w=2 ;c=3"),        // 3
        ("", "/a*", "", "x-a=1 ?v=1"),            // 4
        ("", "/a*", "POST", ""),                  // 5
        ("", "/a*", "", ";sid=7"),                // 6
        ("", "/a*", "", "@10.0.0.0/8"),           // 7
        ("", "/a*", "", "@10.1.0.0/16"),          // 8
        ("", "/a/b", "", "x-z="),                 // 9
        ("", "/a/b*", "", "x-z=!"),               // 10
        ("", "/a*", "GET", "x-t=one*"),           // 11
        ("", "/a*", "GET", "x-t="),               // 12
        ("*.example.com", "/a*", "", "x-never="), // 13
    ]);
    check(
        &table,
        &[
            ("GET", "/a", "", FOUND(0), "nothing asked for"),
            ("GET", "/a", "x-a=1", FOUND(1), "a header"),
            ("GET", "/a", "x-a=2", FOUND(0), "another value"),
            ("GET", "/a", "x-a=2 x-a=1", FOUND(1), "the second of a name"),
            ("GET", "/a", "x-a=1 x-b=2", FOUND(2), "two headers over one"),
            (
                "GET",
                "/a?v=1",
                "x-a=1",
                FOUND(4),
                "a header and a query over a header",
            ),
            (
                "GET",
                "/a?v=1&w=2",
                "x-a=1 ;c=3",
                FOUND(4),
                "headers before any number of others",
            ),
            ("GET", "/a?v=1&w=2", ";c=3", FOUND(3), "without the header"),
            ("GET", "/a?v=1&w=2", "", FOUND(0), "all must hold"),
            (
                "POST",
                "/a",
                "x-a=1 x-b=2",
                FOUND(5),
                "a named method before headers",
            ),
            ("GET", "/a", ";sid=7", FOUND(6), "a cookie"),
            ("GET", "/a", ";x=1;sid=7", FOUND(6), "among others"),
            (
                "GET",
                "/a",
                ";sid=7 @10.1.0.1",
                FOUND(6),
                "a cookie before a client",
            ),
            (
                "GET",
                "/a",
                "@10.1.0.1",
                FOUND(7),
                "of clients the first, not the narrower",
            ),
            ("GET", "/a", "@11.1.0.1", FOUND(0), "another client"),
            (
                "GET",
                "/a/b",
                "x-z=1 x-a=1 x-b=2",
                FOUND(9),
                "the path before all of it",
            ),
            (
                "GET",
                "/a/b",
                "",
                FOUND(10),
                "the exact one rejects: the longer prefix",
            ),
            (
                "GET",
                "/a/b/c",
                "x-z=1 x-a=1",
                FOUND(1),
                "both reject: the shorter",
            ),
            ("GET", "/a", "x-t=ones", FOUND(11), "the first of equals"),
            (
                "GET",
                "/a",
                "x-t=two",
                FOUND(12),
                "the second takes what the first rejects",
            ),
        ],
    );
    let of_host = Asked::new("GET", "/a", "x-a=1").at(&table, "b.example.com");
    assert_eq!(
        of_host,
        FOUND(1),
        "any host takes what the conditions of the wildcard reject"
    );
}

#[test]
fn a_certificate_counts_after_cookies_and_before_clients_and_each_of_its_two_parts_once() {
    let table = router(&[
        ("", "/a*", "", ""),                             // 0
        ("", "/a*", "", "@10.0.0.0/8"),                  // 1
        ("", "/a*", "", "$s=CN=a"),                      // 2
        ("", "/a*", "", "$u=spiffe://x/* $d=a.example"), // 3
        ("", "/a*", "", "$s=CN=a $e=a@example.org"),     // 4
        ("", "/a*", "", ";sid="),                        // 5
        ("", "/a*", "", "$s=!  x-n=1"),                  // 6
        ("", "/a*", "GET", "$d=never.example"),          // 7
        ("", "/b", "POST", "$s=CN=a"),                   // 8
    ]);
    check(
        &table,
        &[
            ("GET", "/a", "", FOUND(0), "nobody"),
            ("GET", "/a", "@10.0.0.1", FOUND(1), "nobody, of that network"),
            ("GET", "/a", "$s=CN=a", FOUND(2), "a subject"),
            ("GET", "/a", "$s=CN=ab", FOUND(0), "another subject"),
            (
                "GET",
                "/a",
                "$s=CN=a @10.0.0.1",
                FOUND(2),
                "a certificate before a client",
            ),
            (
                "GET",
                "/a",
                "$d=a.example",
                FOUND(3),
                "one of the names is enough",
            ),
            (
                "GET",
                "/a",
                "$d=b.example $u=spiffe://x/y",
                FOUND(3),
                "the other one",
            ),
            ("GET", "/a", "$u=a.example", FOUND(0), "a name of another kind"),
            (
                "GET",
                "/a",
                "$s=CN=a $d=a.example",
                FOUND(2),
                "of equals the first",
            ),
            (
                "GET",
                "/a",
                "$s=CN=a $d=a.example $e=a@example.org",
                FOUND(4),
                "subject and name over one of them",
            ),
            (
                "GET",
                "/a",
                "$s=CN=a $e=a@example.org ;sid=1",
                FOUND(5),
                "a cookie before any certificate",
            ),
            ("GET", "/a", "x-n=1", FOUND(6), "who has none"),
            (
                "GET",
                "/a",
                "x-n=1 $s=",
                FOUND(0),
                "one with an empty subject is one",
            ),
            (
                "GET",
                "/b",
                "$s=CN=a",
                Lookup::MethodNotAllowed,
                "all but the method",
            ),
            ("GET", "/b", "$s=CN=b", Lookup::NotFound, "nobody's path"),
        ],
    );
}

#[test]
fn regular_expressions_come_after_every_other_path() {
    let table = router(&[
        ("", "~/[a-z]+/[0-9]+", "", ""),      // 0
        ("", "~/[a-z]+/.*", "", "x-a=1"),     // 1
        ("", "~/[a-z]+/.*", "", ""),          // 2
        ("", "/p*", "", ""),                  // 3
        ("", "/q/{id}", "", ""),              // 4
        ("", "/q/8", "POST", ""),             // 5
        ("", "~/q/8", "PUT DELETE", "x-a=1"), // 6
        ("h", "~/only/here", "", ""),         // 7
        ("", "~/m/[0-9]+", "GET", "x-m=1"),   // 8
        ("", "~/s/a{2}", "", ""),             // 9
    ]);
    check(
        &table,
        &[
            ("GET", "/x/1", "", FOUND(0), "the first of equals"),
            ("GET", "/x/y", "", FOUND(2), "the whole path must match"),
            ("GET", "/x/1", "x-a=1", FOUND(1), "headers before the order"),
            ("GET", "/x", "", Lookup::NotFound, "no part of a path"),
            ("GET", "/p/1", "x-a=1", FOUND(3), "a prefix goes first"),
            ("GET", "/q/7", "x-a=1", FOUND(4), "and so does a parameter"),
            ("POST", "/q/8", "", FOUND(5), "and an exact path"),
            ("PUT", "/q/8", "x-a=1", FOUND(4), "whatever the method says"),
            ("GET", "/only/here", "", FOUND(7), "hosts come first"),
            ("GET", "/s/aa", "", FOUND(2), "braces are no parameters there"),
            ("OPTIONS", "*", "", Lookup::NotFound, "of no server as a whole"),
        ],
    );
    let alone = router(&[("", "~/m/[0-9]+", "GET PUT", "x-m=1"), ("", "/m/7", "POST", "")]);
    check(
        &alone,
        &[
            (
                "DELETE",
                "/m/1",
                "x-m=1",
                Lookup::MethodNotAllowed,
                "its conditions hold",
            ),
            ("DELETE", "/m/1", "", Lookup::NotFound, "they do not"),
            ("DELETE", "/m/x", "x-m=1", Lookup::NotFound, "nor does the path"),
            (
                "GET",
                "/m/7",
                "x-m=1",
                FOUND(0),
                "what the exact path's method rejects",
            ),
        ],
    );
    let asked = Asked::new("DELETE", "/m/7", "x-m=1");
    assert_eq!(
        alone.allowed("h", "/m/7", &asked.facts()),
        methods("GET POST PUT")
    );
    let asked = Asked::new("DELETE", "/m/7", "");
    assert_eq!(alone.allowed("h", "/m/7", &asked.facts()), methods("POST"));
    assert_eq!(table.parameters(RouteIndex(9), "/s/aa").count(), 0);
}

#[test]
fn the_same_conditions_twice_are_refused_in_whatever_order() {
    let mut table = router(&[
        ("", "/a", "GET", "x-a=1 ?b=2"),
        ("", "~/a+", "", "x-a=1"),
        ("", "/b", "", "@10.0.0.0/8 @11.0.0.0/8"),
        ("", "/c", "", "$d=a.example $u=urn:x"),
    ]);
    let rows = [
        (("", "/a", "POST GET", "?b=2 x-a=1"), "takes GET"),
        (("", "~/a+", "", "x-a=1"), "takes every method"),
        (("", "/b", "", "@11.0.0.0/8 @10.0.0.0/8"), "takes every method"),
        (("", "/c", "", "$u=urn:x $d=a.example"), "takes every method"),
    ];
    for (row, fault) in rows {
        let refused = add(&mut table, row, 9).expect_err(fault);
        assert!(refused.contains(fault), "{refused}");
    }
    for (index, row) in [
        ("", "/a", "", "x-a=1 ?b=2"),
        ("", "/a", "GET", "x-a=1 ?b=3"),
        ("", "/a", "GET", ""),
        ("", "~/a+", "", "x-a=2"),
        ("", "~/b+", "", "x-a=1"),
    ]
    .into_iter()
    .enumerate()
    {
        add(&mut table, row, index + 10).unwrap();
    }
}

/// Steps of one lookup.
fn steps(table: &Router, asked: &Asked, h: &str, expected: Lookup) -> usize {
    let before = STEPS.get();
    assert_eq!(asked.at(table, h), expected);
    STEPS.get() - before
}

#[test]
fn ten_thousand_routes_cost_no_more_steps_than_ten() {
    // How routes and requests of that number differ from each other.
    type Made = fn(usize) -> [String; 4];
    let kinds: [(&str, Made); 7] = [
        ("hosts", |n| {
            [format!("h{n}.example"), "/a".into(), String::new(), String::new()]
        }),
        ("paths", |n| {
            ["h".into(), format!("/api/s{n}"), String::new(), String::new()]
        }),
        ("headers", |n| {
            ["h".into(), "/a".into(), String::new(), format!("x-tenant=t{n}")]
        }),
        ("cookies", |n| {
            [
                "h".into(),
                "/a".into(),
                String::new(),
                format!(";t=t{n} x-always=1"),
            ]
        }),
        ("subjects", |n| {
            ["h".into(), "/a".into(), String::new(), format!("$s=CN=t{n}")]
        }),
        ("names", |n| {
            [
                "h".into(),
                "/a".into(),
                String::new(),
                format!("$u=spiffe://x/t{n}"),
            ]
        }),
        ("all", |n| {
            [
                format!("h{}.example", n % 10),
                format!("/api/s{}", n % 100),
                ["", "GET", "POST"][n % 3].into(),
                format!("x-version=1 x-tenant=t{n}"),
            ]
        }),
    ];
    for (kind, made) in kinds {
        let cost = |count: usize| {
            let mut table = Router::default();
            for index in 0..count {
                let [h, p, m, c] = made(index);
                add(&mut table, (&h, &p, &m, &c), index).unwrap();
            }
            let asked = [0, count / 2, count - 1].map(|index| {
                let [h, p, m, c] = made(index);
                let method = if m.is_empty() { "GET" } else { &m };
                steps(&table, &Asked::new(method, &p, &c), &h, FOUND(index))
            });
            asked.into_iter().max().unwrap()
        };
        let (few, many) = (cost(10), cost(10_000));
        assert!(
            many <= few + 3,
            "{kind}: {many} steps among 10,000, {few} among ten"
        );
    }
}

#[test]
fn the_lookup_agrees_with_a_look_at_every_route() {
    let segments = ["a", "b", "{x}", ""];
    let words = [
        "",
        "x-a=1",
        "x-a=2",
        "x-b=",
        "x-a=1 x-b=!",
        "?v=1",
        ";c=1 x-a=1",
        "@10.0.0.0/8",
        "$s=CN=a",
        "$d=a $u=b",
        "$s=CN=a $u=b",
        "$s=!",
    ];
    let mut state = 7_u64;
    let mut below = move |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % bound
    };
    for _ in 0..300 {
        let mut table = Router::default();
        let mut routes = Vec::new();
        for _ in 0..below(24) {
            let mut p: String = (0..=below(2))
                .map(|_| format!("/{}", segments[below(4)]))
                .collect();
            if below(2) == 0 {
                p.push('*');
            }
            let (m, c) = (["", "GET", "POST"][below(3)], words[below(words.len())]);
            if add(&mut table, ("", &p, m, c), routes.len()).is_ok() {
                routes.push((path(&p), methods(m), conditions(c)));
            }
        }
        for _ in 0..40 {
            let target: String = (0..=below(2))
                .map(|_| format!("/{}", ["a", "b", "c"][below(3)]))
                .collect();
            let target = if below(2) == 0 {
                target
            } else {
                format!("{target}?v=1")
            };
            let has = [
                "",
                "x-a=1",
                "x-a=2 x-b=7",
                ";c=1 x-a=1",
                "@10.0.0.1 x-b=1",
                "$s=CN=a",
                "$s=CN=a $u=b",
                "$d=a x-a=1 @10.0.0.1",
            ][below(8)];
            let asked = Asked::new("GET", &target, has);
            let best = routes
                .iter()
                .enumerate()
                .filter(|(_, (_, _, c))| c.hold(&asked.path, &asked.facts()))
                .filter_map(|(index, (p, m, c))| {
                    let fit = fit(p, m, &asked.path, &asked.method)?;
                    Some((fit, c.rank(), std::cmp::Reverse(index)))
                })
                .max()
                .map(|(_, _, std::cmp::Reverse(index))| FOUND(index));
            let got = asked.at(&table, "h");
            let got = matches!(got, Lookup::Found(_)).then_some(got);
            assert_eq!(got, best, "{target} {has} among {routes:?}");
        }
    }
}
