//! The proxy that pingora is made into for `cargo xtask bench l7 --pingora`: HTTP/1.1 to one upstream, and the same work
//! as the gateway does for each request: forwarding fields and a line of the access log, written in chunks.
//!
//! Arguments: its configuration, the port to listen on, the upstream's port, the file of the access log.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use pingora::prelude::*;

/// Size of a chunk of the log in bytes, and the longest time between two.
const CHUNK_BYTES: usize = 16_384;
const CHUNK_INTERVAL: Duration = Duration::from_millis(50);

struct Proxy {
    upstream: String,
    log: Sender<String>,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Instant;

    fn new_ctx(&self) -> Instant {
        Instant::now()
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Instant) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.upstream.as_str(), false, String::new());
        peer.options.connection_timeout = Some(Duration::from_secs(2));
        peer.options.read_timeout = Some(Duration::from_secs(15));
        peer.options.idle_timeout = Some(Duration::from_secs(75));
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut Instant,
    ) -> Result<()> {
        let client = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
        if let Some(client) = client {
            request.insert_header("X-Forwarded-For", client.to_string())?;
        }
        let host = request.headers.get("host").cloned();
        if let Some(host) = host {
            request.insert_header("X-Forwarded-Host", host)?;
        }
        request.insert_header("X-Forwarded-Proto", "http")?;
        request.insert_header("Via", "1.1 pingora")
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, start: &mut Instant) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let client = session.client_addr().map(ToString::to_string).unwrap_or_default();
        let head = session.req_header();
        let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
        let status = session.response_written().map_or(0, |response| response.status.as_u16());
        let line = format!(
            "time={time} client={client} listener=web route=all upstream=backend endpoint={} method={} host={} \
             path={} status={status} out={} total={:.6} id={}\n",
            self.upstream,
            head.method,
            field("host"),
            head.uri,
            session.body_bytes_sent(),
            start.elapsed().as_secs_f64(),
            field("x-request-id"),
        );
        // Without its writer there is no log, and nobody to tell.
        drop(self.log.send(line));
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [configuration, port, upstream, log] = arguments.as_slice() else {
        eprintln!("usage: bench-pingora CONFIGURATION PORT UPSTREAM-PORT LOG");
        return ExitCode::FAILURE;
    };
    let file = match OpenOptions::new().create(true).append(true).open(log) {
        Ok(file) => BufWriter::with_capacity(CHUNK_BYTES, file),
        Err(error) => {
            eprintln!("{log}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (sender, receiver) = channel();
    thread::spawn(move || write(&receiver, file));
    let options = Opt {
        conf: Some(configuration.clone()),
        ..Opt::default()
    };
    let mut server = match Server::new(Some(options)) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("{configuration}: {error}");
            return ExitCode::FAILURE;
        }
    };
    server.bootstrap();
    let proxy = Proxy {
        upstream: format!("127.0.0.1:{upstream}"),
        log: sender,
    };
    let mut service = http_proxy_service(&server.configuration, proxy);
    service.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(service);
    server.run_forever()
}

/// Writes lines until nobody sends any more.
fn write(lines: &Receiver<String>, mut file: impl Write) {
    loop {
        let outcome = match lines.recv_timeout(CHUNK_INTERVAL) {
            Ok(line) => file.write_all(line.as_bytes()),
            Err(RecvTimeoutError::Timeout) => file.flush(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Err(error) = outcome {
            eprintln!("writing the access log: {error}");
        }
    }
}
