//! curl: each version, uploads that wait for 100, and an upgrade to HTTP/2 that is ignored.

use super::super::gateway::{Gateway, Setup, Speaks};
use super::super::peers::pattern;
use super::super::within::run;
use super::{echo, told};

/// What curl writes after the body: status and version.
const WRITE_OUT: &str = "\n%{http_code} %{http_version}";

/// An upload that curl announces by `Expect: 100-continue`.
const UPLOAD_BYTES: usize = 3 << 20;

#[test]
fn curl_speaks_every_version() {
    run(async {
        let server = echo().await;
        let gateway = Gateway::start(&Setup::to(server.address, Speaks::Http1));
        let url = format!("http://{}/some/path?x=1", gateway.address());
        let host = gateway.address().to_string();
        for (option, version, via) in [
            ("--http1.1", "1.1", "1.1 gateway"),
            // As curl writes 1.0.
            ("--http1.0", "1", "1.0 gateway"),
            ("--http2-prior-knowledge", "2", "2 gateway"),
            // Asks for an upgrade to h2c, and is answered as if it had not.
            ("--http2", "1.1", "1.1 gateway"),
        ] {
            let fixed = ["--silent", "--show-error", "--write-out", WRITE_OUT];
            let arguments: Vec<_> = fixed.into_iter().chain([option, &url]).collect();
            let text = told("curl", &arguments).await;
            assert!(
                text.starts_with("GET /some/path?x=1 HTTP/1.1\n"),
                "{option}: {text}"
            );
            assert!(text.ends_with(&format!("\n200 {version}")), "{option}: {text}");
            for line in [format!("host: {host}\n"), format!("via: {via}\n")] {
                assert!(text.contains(&line), "{option}: no {line:?} in {text}");
            }
            for name in ["upgrade:", "http2-settings:", "connection:"] {
                assert!(!text.contains(name), "{option}: {name} in {text}");
            }
            assert!(text.contains("\n0 bytes\n"), "{option}: {text}");
        }
        gateway.check_idle();
    });
}

#[test]
fn curl_uploads_after_a_hundred_and_in_chunks() {
    run(async {
        let server = echo().await;
        let file = std::env::temp_dir().join(format!("gateway-upload-{:016x}", rand::random::<u64>()));
        std::fs::write(&file, pattern(UPLOAD_BYTES)).expect("a file");
        let upload = file.display().to_string();
        for up in [Speaks::Http1, Speaks::Http2] {
            let gateway = Gateway::start(&Setup::to(server.address, up));
            let url = format!("http://{}/upload", gateway.address());
            for (what, options) in [
                ("a length", ["--http1.1", "--header", "X-A: 1"]),
                ("chunks", ["--http1.1", "--header", "Transfer-Encoding: chunked"]),
                ("HTTP/1.0", ["--http1.0", "--header", "X-A: 1"]),
                ("HTTP/2", ["--http2-prior-knowledge", "--header", "X-A: 1"]),
            ] {
                let what = format!("{what} to {up:?}");
                // Waits for the 100 as long as the test does: an upload that comes without it is a failure.
                let fixed = [
                    "--silent",
                    "--show-error",
                    "--verbose",
                    "--expect100-timeout",
                    "25",
                ];
                let expects = ["--header", "Expect: 100-continue", "--upload-file", &upload, &url];
                let expects = match options[0] {
                    "--http1.1" => &expects[..],
                    // Neither of the others has it.
                    _ => &expects[2..],
                };
                let arguments: Vec<_> = fixed.iter().chain(&options).chain(expects).copied().collect();
                let output = super::output("curl", &arguments).await;
                let [out, err] =
                    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                assert!(out.starts_with("PUT "), "{what}: {out}\n{err}");
                assert!(
                    out.ends_with(&format!("\n{UPLOAD_BYTES} bytes")),
                    "{what}: {out}\n{err}"
                );
                assert!(!out.contains("expect:"), "{what}: {out}");
                let continued = err.contains("< HTTP/1.1 100 Continue");
                assert_eq!(continued, options[0] == "--http1.1", "{what}: {err}");
            }
            gateway.check_idle();
        }
        std::fs::remove_file(&file).expect("a file");
    });
}

#[test]
fn curl_is_told_plainly_what_is_wrong() {
    run(async {
        let server = echo().await;
        let setup = Setup {
            workers: 1,
            listener: String::new(),
            defaults: String::new(),
            tables: super::super::gateway::route("only", "path = \"/only\", methods = [\"GET\"]", "pool", "")
                + &super::super::gateway::upstream("pool", server.address, Speaks::Http1),
        };
        let gateway = Gateway::start(&setup);
        let base = format!("http://{}", gateway.address());
        for option in ["--http1.1", "--http2-prior-knowledge"] {
            for (path, method, status, reason) in [
                ("/none", "GET", "404", "no-route: "),
                ("/only", "POST", "405", "method-not-allowed: "),
                ("/a/%2e%2e/%2e%2e/b", "GET", "400", "path-bad: "),
            ] {
                let url = format!("{base}{path}");
                let text = told(
                    "curl",
                    &[
                        "--silent",
                        "--path-as-is",
                        "--request",
                        method,
                        "--write-out",
                        "\n%{http_code}",
                        option,
                        &url,
                    ],
                )
                .await;
                assert!(
                    text.starts_with(reason) && text.ends_with(&format!("\n{status}")),
                    "{option} {method} {path}: {text}"
                );
            }
        }
    });
}
