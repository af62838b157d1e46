//! One fetch of a set of keys: a connection of its own, a GET, and an answer of bounded length.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::snapshot::UpstreamProtocol;
use crate::filters::jwt::Verifier;
use crate::filters::jwt::fetched::Publisher;
use crate::filters::jwt::set;
use crate::names::Asker;
use crate::tls::ClientStream;

/// Bytes of a set at most: issuers' have some thousand.
const SET_BYTES_MAX: usize = 1 << 20;
/// What the gateway says that it is.
const USER_AGENT: HeaderValue = HeaderValue::from_static("gateway-jwks/1");
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// Why a set cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The URL names nobody who could be asked.
    #[error("the URL has no host")]
    Url,
    /// Its host has no address.
    #[error("resolving {host}: {why}")]
    Resolve {
        /// As the URL has it.
        host: String,
        /// What servers said, or did not.
        why: String,
    },
    /// No address of its host takes a connection.
    #[error("connecting failed")]
    Connect(#[source] io::Error),
    /// No TLS, or a certificate that is not good.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// The request cannot be made.
    #[error("the request cannot be made")]
    Request(#[source] http::Error),
    /// No answer that can be read.
    #[error("no answer")]
    Http(#[source] hyper::Error),
    /// An answer that is none; redirects are not followed.
    #[error("answered {0}")]
    Status(StatusCode),
    /// Its body broke off, or is too long.
    #[error("the answer cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
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
    let authority = publisher.url.authority().ok_or(Fault::Url)?;
    // An IPv6 address stands in brackets there.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(match publisher.tls {
        Some(_) => HTTPS_PORT,
        None => HTTP_PORT,
    });
    let addresses = names.addresses(host).await.map_err(|why| Fault::Resolve {
        host: host.to_owned(),
        why,
    })?;
    let addresses: Vec<SocketAddr> = addresses
        .into_iter()
        .map(|address| SocketAddr::new(address, port))
        .collect();
    let stream = TcpStream::connect(&addresses[..]).await.map_err(Fault::Connect)?;
    let stream = match &publisher.tls {
        None => ClientStream::Plain(stream),
        Some(tls) => {
            let address = stream.peer_addr().map_err(Fault::Connect)?.ip();
            let protocol = UpstreamProtocol::Http1;
            tls.connect(stream, Some(host), address, protocol)
                .await
                .map_err(Fault::Tls)?
        }
    };
    let target = publisher
        .url
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let request = Request::get(target)
        .header(header::HOST, authority.as_str())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, HeaderValue::from_static("application/json"))
        .header(header::CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::<Bytes>::new())
        .map_err(Fault::Request)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Fault::Http)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(Fault::Http)?;
        if response.status() != StatusCode::OK {
            return Err(Fault::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), SET_BYTES_MAX).collect().await;
        Ok(body.map_err(Fault::Body)?.to_bytes())
    };
    tokio::pin!(answered, connection);
    let body = tokio::select! {
        biased;
        answered = &mut answered => answered?,
        // The body may be there already.
        ended = &mut connection => match ended {
            Ok(()) => answered.await?,
            Err(error) => return Err(Fault::Http(error)),
        },
    };
    let text = str::from_utf8(&body).map_err(|error| Fault::Set(format!("is no text: {error}")))?;
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
            (ok(&" ".repeat(SET_BYTES_MAX + 1)), "Err(Body("),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{".to_vec(),
                "Err(Body(",
            ),
            (b"SSH-2.0-x\r\n".to_vec(), "Err(Http("),
            (Vec::new(), "Err(Http("),
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
        assert!(matches!(got, Err(Fault::Connect(_))), "{got:?}");
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
            pairs: vec![good.pair(&["127.0.0.1"])],
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
            assert!(is_taken || matches!(got, Err(Fault::Tls(_))), "{url}: {got:?}");
        }
    }
}
