//! One fetch of a set of keys: a GET, and what its answer must be.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Empty;

use crate::fetch;
use crate::filters::jwt::Verifier;
use crate::filters::jwt::fetched::Publisher;
use crate::filters::jwt::set;
use crate::names::Asker;

/// What the gateway says that it is.
const USER_AGENT: HeaderValue = HeaderValue::from_static("gateway-jwks/1");

/// Why a set cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// There is no answer.
    #[error(transparent)]
    Fetch(#[from] fetch::Fault),
    /// An answer that is none; redirects are not followed.
    #[error("answered {0}")]
    Status(StatusCode),
    /// It is no set of keys.
    #[error("the answer {0}")]
    Set(String),
    /// Nothing in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
}

/// Fetches a set, from the addresses that its host has now.
///
/// # Errors
/// See [`Fault`].
///
/// # Cancel safety
/// The connection is closed.
pub(super) async fn fetch(publisher: &Publisher, names: &Asker) -> Result<Vec<Verifier>, Fault> {
    let request = Request::get(publisher.url.clone())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, HeaderValue::from_static("application/json"))
        .body(Empty::<Bytes>::new())
        .map_err(fetch::Fault::Request)?;
    let response = fetch::send(request, publisher.tls.as_deref(), names).await?;
    if response.status() != StatusCode::OK {
        return Err(Fault::Status(response.status()));
    }
    let text = str::from_utf8(response.body()).map_err(|error| Fault::Set(format!("is no text: {error}")))?;
    let keys = set::parse(text, &set::ALGORITHMS).map_err(Fault::Set)?;
    let verifiers: Vec<Verifier> = keys.iter().filter_map(Verifier::new).collect();
    if verifiers.is_empty() {
        return Err(Fault::Set(
            "has no key that anything can be verified by".to_owned(),
        ));
    }
    Ok(verifiers)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::runtime::Handle;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::filters::jwt::tokens;
    use crate::names::Names;
    use crate::names::tests::{Zone, server as dns, settings};
    use crate::tls::testing::Authority;
    use crate::tls::{
        ClientAuth, ClientSettings, ClientTls, MinVersion, ServerSettings, ServerTls, TicketKeys,
    };

    async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8]) {
        let mut head = [0; 4_096];
        drop(stream.read(&mut head).await);
        // Who is content, or not, may be gone already.
        drop(stream.write_all(answer).await);
        drop(stream.shutdown().await);
    }

    /// Gives everybody that answer.
    async fn server(tls: Option<TlsAcceptor>, bytes: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                match &tls {
                    None => answer(stream, &bytes).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream, &bytes).await;
                        }
                    }
                }
            }
        });
        address
    }

    fn ok(body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    async fn fetched(url: &str, believed: Option<&Authority>) -> Result<usize, Fault> {
        fetched_by(&Names::start(Handle::current()), url, believed).await
    }

    async fn fetched_by(names: &Names, url: &str, believed: Option<&Authority>) -> Result<usize, Fault> {
        let tls = believed.map(|authority| {
            let settings = ClientSettings {
                roots: authority.roots(),
                name: None,
                pair: None,
            };
            Arc::new(ClientTls::new(&settings).unwrap())
        });
        let publisher = Publisher {
            url: url.parse().unwrap(),
            tls,
            refresh: Duration::from_secs(60),
        };
        fetch(&publisher, &names.asker()).await.map(|keys| keys.len())
    }

    #[tokio::test]
    async fn a_set_is_taken_and_nothing_else() {
        let rows: [(Vec<u8>, &str); 8] = [
            (ok(tokens::KEYS), "Ok(3)"),
            (
                b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".to_vec(),
                "Err(Status(302))",
            ),
            (ok("[]"), "Err(Set("),
            (ok("{\"keys\":[]}"), "Err(Set("),
            (ok(&" ".repeat(fetch::BODY_BYTES_MAX + 1)), "Err(Fetch(Body("),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{".to_vec(),
                "Err(Fetch(Body(",
            ),
            (b"SSH-2.0-x\r\n".to_vec(), "Err(Fetch(Http("),
            (Vec::new(), "Err(Fetch(Http("),
        ];
        for (bytes, expected) in rows {
            let address = server(None, bytes).await;
            let got = format!("{:?}", fetched(&format!("http://{address}/jwks"), None).await);
            assert!(got.starts_with(expected), "{expected}: {got}");
        }
        let gone = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let got = fetched(&format!("http://{gone}/"), None).await;
        assert!(
            matches!(got, Err(Fault::Fetch(fetch::Fault::Connect { .. }))),
            "{got:?}"
        );
    }

    #[tokio::test]
    async fn issuers_are_found_by_the_configured_servers_and_all_their_addresses_are_tried() {
        let address = server(None, ok(tokens::KEYS)).await;
        let zone = Zone::default();
        // Nobody listens at the first.
        let both = ["127.0.0.2", "127.0.0.1"].map(|text| text.parse().unwrap());
        zone.lock().unwrap().insert("id.internal", (both.to_vec(), 60));
        let names = Names::start(Handle::current());
        names.apply(&settings(dns(zone).await, &[]));
        let url = |host: &str| format!("http://{host}:{}/jwks", address.port());
        let got = fetched_by(&names, &url("id.internal"), None).await;
        assert!(matches!(got, Ok(3)), "{got:?}");
        let got = fetched_by(&names, &url("absent.internal"), None)
            .await
            .unwrap_err();
        assert_eq!(got.to_string(), "resolving absent.internal: it has no addresses");
        // That is this machine, whoever is asked (RFC 6761, section 6.3).
        let got = fetched_by(&names, &url("localhost"), None).await;
        assert!(matches!(got, Ok(3)), "{got:?}");
    }

    #[tokio::test]
    async fn nobody_is_believed_whose_certificate_is_not_good() {
        let (good, other) = (Authority::new("good"), Authority::new("other"));
        let settings = ServerSettings {
            min_version: MinVersion::Tls12,
            client_auth: ClientAuth::None,
            client_roots: None,
            handshakes_max: 10,
            pairs: vec![good.pair(&["127.0.0.1"]).into()],
            default: 0,
        };
        let tls = ServerTls::new("server", &settings, &TicketKeys::random()).unwrap();
        let secure = server(Some(TlsAcceptor::from(tls.config)), ok(tokens::KEYS)).await;
        let plain = server(None, ok(tokens::KEYS)).await;
        let port = secure.port();
        let rows = [
            (format!("https://{secure}/"), &good, true),
            (format!("https://{secure}/"), &other, false),
            (format!("https://localhost:{port}/"), &good, false),
            (format!("https://{plain}/"), &good, false),
        ];
        for (url, believed, is_taken) in rows {
            let got = fetched(&url, Some(believed)).await;
            assert_eq!(matches!(got, Ok(3)), is_taken, "{url}: {got:?}");
            assert!(
                is_taken || matches!(got, Err(Fault::Fetch(fetch::Fault::Tls { .. }))),
                "{url}: {got:?}"
            );
        }
    }
}
