//! Each way of asking, against what answers, refuses, or says nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tokio::net::TcpListener;

use super::servers::{Speaks, grpc, grpc_error, serve, status};
use super::*;
use crate::health::probe::{Fault, probe_over};
use crate::tls::Security;

fn question(endpoint: SocketAddr, way: Way) -> Question {
    Question {
        upstream: "users".into(),
        endpoint,
        host: None,
        protocol: UpstreamProtocol::Http1,
        tls: None,
        security: Security::Plain,
        proxy_header: None,
        channels: Arc::default(),
        kind: Kind::Readiness,
        check: check(way),
    }
}

/// The code and text of the outcome; nothing where it passed.
async fn outcome(question: &Question) -> (String, String) {
    match probe_over(question, question.channel(0)).await {
        Ok(()) => (String::new(), String::new()),
        Err(fault) => {
            let reason = fault.reason();
            (reason.code.to_owned(), reason.text)
        }
    }
}

#[track_caller]
fn expect((code, text): &(String, String), wanted: &str, part: &str, why: &str) {
    assert_eq!(code, wanted, "{why}: {text}");
    assert!(text.contains(part), "{why}: {text}");
}

#[tokio::test]
async fn http_passes_by_status_over_both_versions() {
    let answer = |head: &servers::Head, _| {
        let asked = head.uri.path_and_query().map_or("", |path| path.as_str());
        let host = head.headers.get("host").map(|host| host.to_str().unwrap());
        let host = host.or(head.uri.host()).unwrap_or_default();
        match (head.method.as_str(), asked) {
            ("GET", "/readyz") => status(200),
            ("GET", "/moved?now") => status(302),
            ("GET", "/locked") => status(401),
            ("HEAD", "/head") | ("OPTIONS", "/options") => status(204),
            ("GET", "/host") if host == "users.internal" => status(200),
            _ => status(503),
        }
    };
    let servers = [
        (UpstreamProtocol::Http1, serve(Speaks::Http1, answer).await),
        (UpstreamProtocol::Http2, serve(Speaks::Http2, answer).await),
    ];
    let base = |path: &str| HttpCheck {
        path: path.into(),
        ..http()
    };
    let rows = [
        (base("/readyz"), "", "", "200"),
        (base("/moved?now"), "", "", "302, with a query"),
        (base("/other"), "status", "answered 503", "503"),
        (base("/locked"), "status", "answered 401", "401"),
        (
            HttpCheck {
                statuses: Statuses(vec![(200, 299), (401, 401)]),
                ..base("/locked")
            },
            "",
            "",
            "401 where it is wanted",
        ),
        (
            HttpCheck {
                statuses: Statuses(vec![(204, 204)]),
                ..base("/readyz")
            },
            "status",
            "answered 200",
            "200 where another is wanted",
        ),
        (
            HttpCheck {
                method: CheckMethod::Head,
                ..base("/head")
            },
            "",
            "",
            "HEAD",
        ),
        (
            HttpCheck {
                method: CheckMethod::Options,
                ..base("/options")
            },
            "",
            "",
            "OPTIONS",
        ),
        (
            HttpCheck {
                host: Some("users.internal".into()),
                ..base("/host")
            },
            "",
            "",
            "the host that is given",
        ),
        (base("/host"), "status", "503", "the address where none is given"),
    ];
    for (protocol, address) in servers {
        for (http, code, part, why) in &rows {
            let way = Way::Http(HttpCheck {
                protocol,
                ..http.clone()
            });
            let seen = outcome(&question(address, way)).await;
            expect(&seen, code, part, &format!("{protocol:?}: {why}"));
        }
        let closed = Way::Http(HttpCheck { protocol, ..http() });
        let seen = outcome(&question(nowhere().await, closed)).await;
        expect(&seen, "connect", "connecting failed", "nobody listens");
    }
}

#[tokio::test]
async fn http_names_the_host_that_the_endpoint_came_from() {
    let address = serve(Speaks::Http1, |head, _| {
        let host = head.headers.get("host").unwrap().to_str().unwrap();
        status(if host.starts_with("api.example:") {
            200
        } else {
            500
        })
    })
    .await;
    let named = Question {
        host: Some("api.example".into()),
        ..question(address, Way::Http(http()))
    };
    assert_eq!(outcome(&named).await.0, "");
}

#[tokio::test]
async fn what_speaks_something_else_fails_with_a_reason() {
    let address = serve(Speaks::Http1, |_, _| status(200)).await;
    let http2 = HttpCheck {
        protocol: UpstreamProtocol::Http2,
        ..http()
    };
    let seen = outcome(&question(address, Way::Http(http2))).await;
    expect(&seen, "http", "no answer", "HTTP/1.1 where HTTP/2 is wanted");
}

#[tokio::test]
async fn tcp_passes_where_a_connection_can_be_made_on_the_port_that_is_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap();
    let closed = nowhere().await;
    assert_eq!(outcome(&question(open, Way::Tcp)).await.0, "");
    assert_eq!(outcome(&question(closed, Way::Tcp)).await.0, "connect");
    let mut other = question(closed, Way::Tcp);
    other.check.port = Some(open.port());
    assert_eq!(outcome(&other).await.0, "", "another port of the same machine");
}

#[tokio::test]
async fn grpc_passes_where_the_service_is_serving() {
    let address = serve(Speaks::Http2, |head, body| {
        assert_eq!(head.uri.path(), "/grpc.health.v1.Health/Check");
        assert_eq!(head.headers["te"], "trailers");
        assert_eq!(head.headers["content-type"], "application/grpc");
        let service = body.get(7..).unwrap_or_default();
        match std::str::from_utf8(service).unwrap() {
            "" => grpc(&[0, 0, 0, 0, 2, 8, 1], "0"),
            "shop.Down" => grpc(&[0, 0, 0, 0, 2, 8, 2], "0"),
            "shop.Odd" => grpc(&[0, 0, 0, 0, 0], "0"),
            "shop.Unknown" => grpc_error("5", "unknown service"),
            "shop.None" => grpc_error("12", ""),
            "shop.Late" => grpc(&[0, 0, 0, 0, 2, 8, 1], "14"),
            "shop.Short" => grpc(&[0, 0, 0, 0, 9, 8, 1], "0"),
            "shop.Web" => status(404),
            "shop.Plain" => status(200),
            other => panic!("{other}"),
        }
    })
    .await;
    let rows = [
        ("", "", "", "the whole server"),
        ("shop.Down", "not-serving", "is NOT_SERVING", "not serving"),
        ("shop.Odd", "not-serving", "is UNKNOWN", "no status"),
        (
            "shop.Unknown",
            "grpc-status",
            "5 (NOT_FOUND: it does not know that service): unknown service",
            "an unknown service",
        ),
        (
            "shop.None",
            "grpc-status",
            "12 (UNIMPLEMENTED",
            "no health service",
        ),
        (
            "shop.Late",
            "grpc-status",
            "14 (UNAVAILABLE)",
            "an error in the trailers",
        ),
        ("shop.Short", "no-grpc", "cannot be read", "a message that is cut"),
        ("shop.Web", "status", "404", "a server of something else"),
        ("shop.Plain", "no-grpc", "no grpc-status", "no gRPC at all"),
    ];
    for (service, code, part, why) in rows {
        let way = Way::Grpc {
            service: service.into(),
            host: None,
        };
        expect(&outcome(&question(address, way)).await, code, part, why);
    }
}

/// A script of its own, removed in the end.
struct Script(PathBuf);

impl Script {
    fn new(name: &str, text: &str) -> Self {
        let file = std::env::temp_dir().join(format!("gateway-check-{name}-{}", std::process::id()));
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self(file)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

fn shell(script: &Script) -> Way {
    Way::Command {
        program: "/bin/sh".into(),
        arguments: vec![script.0.display().to_string(), "argument".into()],
    }
}

#[tokio::test]
async fn commands_pass_by_their_exit_status_and_know_whom_to_look_at() {
    let rows = [
        ("exit 0", "", "", "0 passes"),
        ("exit 3", "command-failed", "exit status: 3", "3 fails"),
        ("kill -9 $$", "command-failed", "signal: 9", "a signal fails"),
        (
            "echo 'disk full'; echo more; exit 1",
            "command-failed",
            "exit status: 1: disk full",
            "the first line is the reason",
        ),
        (
            "echo odd >&2; exit 1",
            "command-failed",
            ": odd",
            "of either output",
        ),
        (
            "test \"$GATEWAY_ENDPOINT $GATEWAY_ENDPOINT_ADDRESS $GATEWAY_ENDPOINT_PORT\" = '[2001:db8::1]:80 2001:db8::1 80' \
             && test \"$GATEWAY_UPSTREAM $GATEWAY_CHECK $1\" = 'users readiness argument'",
            "",
            "",
            "it is told the endpoint",
        ),
        (
            "env | grep -q CARGO && exit 1; exit 0",
            "",
            "",
            "and nothing of this process",
        ),
        (
            "head -c 1000000 /dev/zero; exit 0",
            "",
            "",
            "much output holds nothing up",
        ),
    ];
    for (index, (text, code, part, why)) in rows.iter().enumerate() {
        let script = Script::new(&format!("row-{index}"), text);
        let endpoint = "[2001:db8::1]:80".parse().unwrap();
        let seen = outcome(&question(endpoint, shell(&script))).await;
        expect(&seen, code, part, why);
    }
    let absent = Way::Command {
        program: "/nowhere/at/all".into(),
        arguments: Vec::new(),
    };
    let seen = outcome(&question(nowhere().await, absent)).await;
    expect(
        &seen,
        "command-not-run",
        "cannot be run",
        "there is no such program",
    );
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_all_that_it_started() {
    let told = Script::new("told", "");
    // The inner shell tells its number, and sleeps beyond the time-out.
    let text = format!(
        "sh -c 'echo $$ > {file}; sleep 1000' & wait",
        file = told.0.display()
    );
    let script = Script::new("hangs", &text);
    let mut hangs = question(nowhere().await, shell(&script));
    hangs.check.timeout = Duration::from_secs(3);
    let seen = outcome(&hangs).await;
    expect(&seen, "timeout", "no answer within 3s", "it hangs");
    let child: i32 = std::fs::read_to_string(&told.0).unwrap().trim().parse().unwrap();
    let is_gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    wait_until("what it started is killed, too", is_gone).await;
}

#[tokio::test]
async fn what_a_command_leaves_behind_does_not_hold_up_its_outcome() {
    let script = Script::new("leaves", "sleep 5 & exit 0");
    let started = Instant::now();
    assert_eq!(outcome(&question(nowhere().await, shell(&script))).await.0, "");
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn every_way_ends_with_its_timeout() {
    // Takes connections in the kernel's queue, and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let http2 = HttpCheck {
        protocol: UpstreamProtocol::Http2,
        ..http()
    };
    let grpc = Way::Grpc {
        service: String::new(),
        host: None,
    };
    for way in [Way::Http(http()), Way::Http(http2), grpc] {
        let question = question(address, way.clone());
        let fault = probe_over(&question, question.channel(0)).await.unwrap_err();
        assert!(matches!(fault, Fault::Timeout(_)), "{way:?}: {fault}");
    }
}

#[tokio::test]
async fn a_check_says_that_it_is_for_nobody_where_connections_begin_with_a_header() {
    use crate::proxy_protocol::{self, Version};
    use tokio::io::AsyncReadExt;
    for version in [Version::V1, Version::V2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap();
        let header = proxy_protocol::header(version, None);
        let expected = header.clone();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, expected);
        });
        let named = Question {
            proxy_header: Some(version),
            ..question(endpoint, Way::Tcp)
        };
        expect(&outcome(&named).await, "", "", "it takes connections");
        server.await.unwrap();
        // Another port is another service.
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut elsewhere = named.clone();
        elsewhere.check.port = Some(other.local_addr().unwrap().port());
        let asked = tokio::spawn(async move { outcome(&elsewhere).await });
        let (mut stream, _) = other.accept().await.unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        assert!(got.is_empty(), "{got:?}");
        expect(&asked.await.unwrap(), "", "", "it does, too");
    }
}
