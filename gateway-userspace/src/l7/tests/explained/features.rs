//! Every feature that decides what becomes of a request, explained and used.

use sha2::{Digest, Sha256};

use super::*;
use crate::filters::jwt::tokens;
use crate::filters::passwords::tests::BCRYPT;
use crate::l7::tests::{challenges, tls};
use crate::resilience::breaker::Force;
use crate::tls::testing::{Authority, Folder};

#[tokio::test]
async fn of_every_kind_of_filter() {
    let (server, folder) = (Server::echo().await, Folder::new());
    let file = |name: &str, content: &str| folder.file(name, content, 0o600).display().to_string();
    let users = file("users", &format!("ann:{BCRYPT}\n"));
    let digest = Sha256::digest(b"k-1");
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let keys = file("keys", &format!("shop:{digest}\n"));
    let jwks = file("jwks", tokens::KEYS);
    let kinds = [
        ("allowed", "ip_allow=['127.0.0.0/8']".to_owned()),
        ("others", "ip_allow=['10.0.0.0/8']".to_owned()),
        ("denied", "ip_deny=['127.0.0.0/8']".to_owned()),
        ("pages", "cors={origins=['https://a.example']}".to_owned()),
        ("staff", format!("basic_auth={{file='{users}',realm='x'}}")),
        ("keys", format!("api_key={{file='{keys}',header='x-api-key'}}")),
        ("small", "body_limit={bytes=3}".to_owned()),
        (
            "tokens",
            format!("jwt={{issuers=['https://id.example'],audiences=['api'],jwks_file='{jwks}'}}"),
        ),
        ("often", "rate_limit={requests=1000}".to_owned()),
        ("asks", "forward_auth={upstream='users',path='/'}".to_owned()),
        ("fields", "headers={request={set={x-a='1'}}}".to_owned()),
        ("less", "compression={}".to_owned()),
    ];
    let mut text = upstream("users", &[server.address], "");
    for (name, kind) in &kinds {
        let keys =
            format!("upstream='users'\nmatch={{path_prefix='/{name}'}}\n[[route.filters]]\nname='f'\n{kind}");
        text.push_str(&route(name, &keys));
    }
    let gateway = Gateway::configured(1, &text);
    let preflight: &[(&str, &str)] = &[
        ("origin", "https://a.example"),
        ("access-control-request-method", "GET"),
    ];
    let token = |token: &str| format!("Bearer {token}");
    let (good, expired, foreign) = (
        token(tokens::ED),
        token(tokens::EXPIRED),
        token(tokens::OTHER_AUD),
    );
    let rows: &[Row<'_>] = &[
        ("GET", "/allowed", &[]),
        ("GET", "/others", &[]),
        ("GET", "/denied", &[]),
        ("OPTIONS", "/pages", preflight),
        ("GET", "/pages", &[("origin", "https://b.example")]),
        ("GET", "/staff", &[]),
        ("GET", "/staff", &[("authorization", "Basic !")]),
        // ann:password
        ("GET", "/staff", &[("authorization", "Basic YW5uOnBhc3N3b3Jk")]),
        ("GET", "/keys", &[]),
        ("GET", "/keys", &[("x-api-key", "k-2")]),
        ("GET", "/keys", &[("x-api-key", "k-1")]),
        ("POST", "/small", &[("content-length", "3")]),
        ("POST", "/small", &[("content-length", "4")]),
        // Messages have a bound of their own.
        (
            "POST",
            "/small",
            &[("content-length", "4"), ("content-type", "application/grpc")],
        ),
        ("GET", "/tokens", &[]),
        ("GET", "/tokens", &[("authorization", &good)]),
        ("GET", "/tokens", &[("authorization", &expired)]),
        ("GET", "/tokens", &[("authorization", &foreign)]),
        ("GET", "/often", &[]),
        ("GET", "/asks", &[]),
        ("GET", "/fields", &[]),
        ("GET", "/less", &[("accept-encoding", "gzip")]),
    ];
    // `forward_auth` asks the same server, which is a line less, and so is no row.
    agree(&gateway, &text, rows).await;
}

#[tokio::test]
async fn of_what_no_route_takes_behind_filters_of_the_listener() {
    let of_listener = |name: &str, kind: &str| format!("[[listener.filters]]\nname='{name}'\n{kind}\n");
    let own = route("own", "respond={status=200}\nmatch={path='/own',methods=['GET']}");
    let call: &[(&str, &str)] = &[("content-type", "application/grpc")];
    let preflight: &[(&str, &str)] = &[
        ("origin", "https://a.example"),
        ("access-control-request-method", "PUT"),
    ];
    let rows: &[Row<'_>] = &[
        ("GET", "/own", &[]),
        ("PUT", "/own", &[]),
        ("GET", "/nowhere", &[]),
        ("GET", "/nowhere//x/../%2f", &[]),
        ("POST", "/nowhere", call),
        ("OPTIONS", "/own", preflight),
        ("POST", "/nowhere", &[("content-length", "4")]),
        ("GET", "/nowhere", &[("expect", "something")]),
    ];
    for filters in [
        String::new(),
        of_listener("who", "ip_deny=['127.0.0.0/8']"),
        of_listener("who", "ip_allow=['127.0.0.0/8']"),
        of_listener("pages", "cors={origins=['https://a.example']}"),
        of_listener("small", "body_limit={bytes=3}"),
        of_listener("often", "rate_limit={requests=1000}"),
    ] {
        let text = format!("{filters}{own}");
        let gateway = Gateway::configured(1, &text);
        agree(&gateway, &text, rows).await;
    }
}

#[tokio::test]
async fn of_what_a_route_does() {
    let (server, other) = (Server::echo().await, Server::echo().await);
    let breaker = "[upstream.circuit_breaker]\nmin_calls=5";
    let text = [
        upstream("users", &[server.address], ""),
        upstream("others", &[other.address], ""),
        "[[upstream]]\nname='unknown'\nendpoints=[{address='nobody.invalid:80'}]\n".to_owned(),
        upstream("broken", &[server.address], breaker),
        route(
            "web",
            "upstream='users'\ngrpc_web=true\nmatch={path_prefix='/web'}\n\
             [[route.filters]]\nname='few'\nbody_limit={bytes=3}",
        ),
        route(
            "lost",
            "upstream='unknown'\ngrpc_web=true\nmatch={path_prefix='/lost'}",
        ),
        route(
            "split",
            "split=[{upstream='users',weight=1},{upstream='others',weight=1}]\n\
             split_by={header='x-user'}\nmatch={path='/split'}",
        ),
        route(
            "moved",
            "redirect={scheme='https',status=308}\nmatch={path_prefix='/moved'}\n\
             [[route.filters]]\nname='fields'\nheaders={response={set={x-a='1'}}}",
        ),
        route(
            "rewrite",
            "upstream='users'\nrewrite={path_prefix='/x'}\nmatch={path_prefix='/rewrite'}",
        ),
        route("own", "respond={status=418}\nmatch={path='/own'}"),
        route(
            "fault",
            "upstream='users'\nfault={abort={status=503,percent=100},only_with_header='x-fault'}\n\
             match={path='/fault'}",
        ),
        route(
            "mirror",
            "upstream='users'\nmirror={upstream='others'}\nmatch={path='/mirror'}",
        ),
        route(
            "spared",
            "upstream='unknown'\nfallback=[{upstream='users'}]\nmatch={path='/spared'}",
        ),
        route(
            "told",
            "upstream='broken'\nfallback=[{respond={status=503,body='later'}}]\nmatch={path='/told'}",
        ),
        route("broken", "upstream='broken'\nmatch={path='/broken'}"),
    ]
    .concat();
    let gateway = Gateway::configured(1, &text);
    let snapshot = gateway.shared.snapshot.load_full();
    let mut upstreams = snapshot.upstreams.iter();
    let broken = upstreams.find(|upstream| upstream.name == "broken").unwrap();
    broken.state.force(None, Some(Force::Open)).unwrap();
    let browser = |kind| [("content-type", kind), ("x-grpc-web", "1")];
    let (binary, text_form) = (
        browser("application/grpc-web+proto"),
        browser("application/grpc-web-text"),
    );
    let longer = [binary[0], ("content-length", "4")];
    let rows: &[Row<'_>] = &[
        ("POST", "/web", &binary),
        ("POST", "/web", &text_form),
        ("POST", "/web", &longer),
        ("POST", "/web", &[("content-length", "4")]),
        ("POST", "/lost", &binary),
        ("POST", "/lost", &[("content-type", "application/grpc")]),
        ("POST", "/lost", &[]),
        ("GET", "/lost", &binary),
        ("GET", "/split", &[("x-user", "ann")]),
        ("GET", "/split", &[("x-user", "bob")]),
        ("GET", "/split", &[("x-user", "cid")]),
        ("GET", "/moved/x?y", &[]),
        ("GET", "/rewrite/y", &[]),
        ("GET", "/own", &[]),
        ("GET", "/fault", &[("x-fault", "1")]),
        ("GET", "/fault", &[]),
        ("GET", "/mirror", &[]),
        ("GET", "/spared", &[]),
        ("GET", "/told", &[]),
        ("GET", "/broken", &[]),
        ("POST", "/broken", &[("content-type", "application/grpc")]),
    ];
    agree(&gateway, &text, rows).await;
}

#[tokio::test]
async fn of_certificates_on_both_sides() {
    let (authority, folder) = (Authority::new("root"), Folder::new());
    folder.pair("a", &authority.issue(&["a.example", "www.a.example"]));
    folder.pair("b", &authority.issue(&["b.example"]));
    folder.file("ca.pem", &authority.pem(), 0o644);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let pair = |name: &str| {
        format!(
            "{{cert_file='{}',key_file='{}'}}",
            file(&format!("{name}.pem")),
            file(&format!("{name}.key"))
        )
    };
    let text = [
        format!(
            "protocol='https'\ncertificates=[{},{}]\ntls={{client_auth='optional',client_ca_file='{}'}}\n",
            pair("a"),
            pair("b"),
            file("ca.pem")
        ),
        route(
            "robots",
            "respond={status=200}\n\
             match={path_prefix='/',client_certificate={subject={exact='CN=robot'},san=[{type='dns',present=true}]}}",
        ),
        route(
            "nobody",
            "respond={status=200}\nmatch={path='/up',client_certificate={subject={present=false}}}",
        ),
    ]
    .concat();
    let gateway = Gateway::configured(1, &text);
    let of = |name| Some(authority.issue_client(&[(rcgen::DnType::CommonName, name)], &["x.example"]));
    let rows = [
        ("a.example", "www.a.example", of("robot"), 200),
        ("a.example", "b.example", of("robot"), 421),
        ("b.example", "b.example", None, 200),
        ("b.example", "a.example", None, 421),
        ("a.example", "a.example", of("other"), 404),
    ];
    for (index, (name, host, own, status)) in rows.into_iter().enumerate() {
        let shown = own.as_ref().map(|pair| {
            let (file, _) = folder.pair(&format!("client-{index}"), pair);
            crate::tls::ClientCertificate::load(&file).unwrap()
        });
        let question = Question {
            method: "GET".to_owned(),
            url: format!("https://{host}/up"),
            sni: Some(name.to_owned()),
            certificate: shown,
            listener: Some("web".to_owned()),
            client: Some("127.0.0.1".parse().unwrap()),
            ..Question::default()
        };
        let told = answered(&gateway, &text, &question);
        let config = std::sync::Arc::new(tls::client(&authority, own));
        let (answer, _) = tls::ask(&config, gateway.address(), name, &tls::head(host)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(told.verdict.status, Some(status), "{told:#?}");
        said(&told, gateway.lines(index + 1).await.last().unwrap());
    }
    let robots = answered(
        &gateway,
        &text,
        &Question {
            method: "GET".to_owned(),
            url: "https://a.example/other".to_owned(),
            listener: Some("web".to_owned()),
            ..Question::default()
        },
    );
    let why = robots
        .others
        .iter()
        .find(|other| other.route == "robots")
        .unwrap();
    assert_eq!(why.says, "wants certificate subject = \"CN=robot\"");
    assert_eq!(why.place.path, "route[0].match.client_certificate.subject");
}

#[tokio::test]
async fn of_an_authority_that_looks_and_of_a_certificate_that_is_yet_to_be_issued() {
    let folder = Folder::new();
    let text = challenges::text(&folder);
    let gateway = Gateway::configured(1, &text);
    gateway.registry.acme_thumbprint().set(Some("thumb"));
    let path = "/.well-known/acme-challenge/LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";
    for (index, (method, path)) in [("GET", path), ("POST", path), ("GET", "/")]
        .into_iter()
        .enumerate()
    {
        let question = Question {
            method: method.to_owned(),
            url: path.to_owned(),
            headers: vec![("host".to_owned(), "a.example".to_owned())],
            listener: Some("web".to_owned()),
            client: Some("127.0.0.1".parse().unwrap()),
            ..Question::default()
        };
        let told = answered(&gateway, &text, &question);
        let mut client = Client::http1(gateway.address()).await;
        let request = client.request(method, path).body(full("")).unwrap();
        let answer = client.ask(request).await.unwrap();
        compare(&told, &answer, gateway.lines(index + 1).await.last().unwrap());
    }
    let question = |host: &str| Question {
        method: "GET".to_owned(),
        url: format!("https://{host}/"),
        listener: Some("secure".to_owned()),
        client: Some("127.0.0.1".parse().unwrap()),
        ..Question::default()
    };
    let told = answered(&gateway, &text, &question("a.example"));
    assert_eq!(
        told.verdict.reason.as_deref(),
        Some("tls-certificate-awaited"),
        "{told:#?}"
    );
    let told = answered(&gateway, &text, &question("b.example"));
    assert_eq!(told.verdict.status, Some(308), "{told:#?}");
}
