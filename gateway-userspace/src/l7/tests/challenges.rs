//! What authorities are answered, and what is served of a certificate that is yet to be issued.

use super::harness::*;
use crate::tls::testing::{Authority, Folder};

const TOKEN: &str = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";

/// A listener that sends all to https and lets nobody in, and one with TLS that has a certificate by ACME and one of its own.
pub(super) fn text(folder: &Folder) -> String {
    folder.pair("own", &Authority::new("root").issue(&["b.example"]));
    let path = folder.path().display();
    format!(
        "filters=[{{name='nobody',ip_deny=['0.0.0.0/0']}}]\n\
         [[listener]]\nname='secure'\naddress='127.0.0.2:1'\nprotocol='https'\ncertificates=[\
         {{cert_file='{path}/a.pem',key_file='{path}/a.key',acme_names=['a.example']}},\
         {{cert_file='{path}/own.pem',key_file='{path}/own.key'}}]\n\
         [[route]]\nname='all'\nlisteners=['web','secure']\nmatch={{path_prefix='/'}}\n\
         redirect={{scheme='https',status=308}}\n\
         [acme]\nterms_of_service_agreed=true\naccount_key_file='{path}/account.key'\n"
    )
}

#[tokio::test]
async fn an_authority_is_answered_before_filters_and_redirects_and_nobody_else_is() {
    let folder = Folder::new();
    let gateway = Gateway::configured(1, &text(&folder));
    gateway.registry.acme_thumbprint().set(Some("thumb"));
    let path = format!("/.well-known/acme-challenge/{TOKEN}");
    let answer = format!("{TOKEN}.thumb");
    let rows = [
        (
            "GET",
            path.as_str(),
            200,
            answer.as_str(),
            "acme-challenge fault=none",
        ),
        ("HEAD", &path, 200, "", "acme-challenge fault=none"),
        ("POST", &path, 403, "client-denied", "client-denied"),
        (
            "GET",
            "/.well-known/acme-challenge/x",
            403,
            "client-denied",
            "client-denied",
        ),
        ("GET", "/", 403, "client-denied", "client-denied"),
    ];
    let mut count = 0;
    for version in [1, 2] {
        for (method, path, status, text, reason) in rows {
            let mut client = match version {
                1 => Client::http1(gateway.address()).await,
                _ => Client::http2(gateway.address()).await,
            };
            let request = client.request(method, path).body(full("")).unwrap();
            let got = client.ask(request).await.unwrap();
            assert_eq!(got.status, status, "{method} {path}");
            assert!(got.text().starts_with(text), "{method} {path}: {}", got.text());
            count += 1;
            let lines = gateway.lines(count).await;
            let line = lines.last().unwrap();
            assert!(line.contains(&format!(" reason={reason}")), "{line}");
            if status == 200 {
                assert_eq!(
                    got.header("content-length"),
                    Some(answer.len().to_string().as_str())
                );
                assert!(line.contains(" route=- "), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn a_name_whose_certificate_is_yet_to_be_issued_is_refused_and_others_are_served() {
    let folder = Folder::new();
    let gateway = Gateway::configured(1, &text(&folder));
    let address = gateway.address_of("127.0.0.2:0");
    let everybody = super::tls::client(&Authority::new("other"), None);
    let config = std::sync::Arc::new(everybody);
    let rows = [
        ("a.example", "tls-certificate-awaited fault=internal"),
        // The client does not believe our root, but it was shown a certificate.
        ("b.example", "tls-refused-by-client"),
        // The first is the default.
        ("c.example", "tls-certificate-awaited fault=internal"),
    ];
    for (index, (name, reason)) in rows.into_iter().enumerate() {
        assert!(
            super::tls::connect(&config, address, name).await.is_err(),
            "{name}"
        );
        let lines = gateway.lines(index + 1).await;
        let line = lines.last().unwrap();
        assert!(line.contains(&format!(" reason={reason}")), "{name}: {line}");
    }
}
