//! Many requests by h2load, nghttp and wrk: every one is answered by the upstream.

use super::super::gateway::{Gateway, Setup, Speaks};
use super::super::peers::{Server, full};
use super::super::within::run;
use super::{echo, told};
use http::{Request, Response};
use hyper::body::Incoming;

/// Requests of h2load.
const REQUESTS: usize = 10_000;

async fn small() -> Server {
    Server::start(|_: Request<Incoming>| async { Response::new(full("small")) }).await
}

#[test]
fn h2load_gets_every_answer_over_a_hundred_streams() {
    run(async {
        let server = small().await;
        for (up, connections) in [(Speaks::Http1, "1"), (Speaks::Http2, "4")] {
            let gateway = Gateway::start(&Setup::to(server.address, up).workers(2));
            let url = format!("http://{}/small", gateway.address());
            let count = REQUESTS.to_string();
            let text = told("h2load", &["-n", &count, "-c", connections, "-m", "100", &url]).await;
            for line in [
                format!("{REQUESTS} done, {REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout"),
                format!("status codes: {REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx"),
            ] {
                assert!(text.contains(&line), "{up:?}: no {line:?} in:\n{text}");
            }
            gateway.check_idle();
            assert_eq!(gateway.counted("route=\"all\",status=\"2xx\""), REQUESTS as u64);
        }
    });
}

#[test]
fn nghttp_gets_and_uploads() {
    run(async {
        let server = echo().await;
        let gateway = Gateway::start(&Setup::to(server.address, Speaks::Http1));
        let url = format!("http://{}/some", gateway.address());
        let text = told("nghttp", &["--verbose", "--no-dep", &url]).await;
        assert!(text.contains(":status: 200"), "{text}");
        assert!(text.contains("GET /some HTTP/1.1"), "{text}");
        assert!(!text.contains("GOAWAY frame <length=8, flags=0x00, stream_id=0>\n          (last_stream_id=0, error_code=PROTOCOL_ERROR"), "{text}");
        let file = std::env::temp_dir().join(format!("gateway-upload-{:016x}", rand::random::<u64>()));
        std::fs::write(&file, vec![b'x'; 300_000]).expect("a file");
        let upload = file.display().to_string();
        // With a trailer, which HTTP/1 carries only behind chunks.
        let text = told("nghttp", &["--data", &upload, "--trailer", "x-sum: 7", &url]).await;
        assert!(text.starts_with("POST /some HTTP/1.1\n"), "{text}");
        assert!(text.contains("\n300000 bytes"), "{text}");
        std::fs::remove_file(&file).expect("a file");
        gateway.check_idle();
    });
}

#[test]
fn wrk_sees_no_error() {
    run(async {
        let server = small().await;
        let gateway = Gateway::start(&Setup::to(server.address, Speaks::Http1).workers(2));
        let url = format!("http://{}/small", gateway.address());
        let text = told(
            "wrk",
            &["--threads", "1", "--connections", "32", "--duration", "2s", &url],
        )
        .await;
        let requests = text
            .lines()
            .find_map(|line| line.trim().split_once(" requests in "))
            .and_then(|(count, _)| count.parse::<u64>().ok());
        assert!(requests.is_some_and(|count| count > 100), "{text}");
        for fault in ["Socket errors", "Non-2xx"] {
            assert!(!text.contains(fault), "{text}");
        }
        gateway.check_idle();
        let ok = gateway.counted("route=\"all\",status=\"2xx\"");
        assert!(Some(ok) >= requests, "{ok} were counted of {requests:?}");
    });
}
