//! The tables of what the edge refuses and rewrites, each row as bytes.

#[path = "tables/floods.rs"]
mod floods;
#[path = "tables/framing.rs"]
mod framing;
#[path = "tables/heads.rs"]
mod heads;
#[path = "tables/hops.rs"]
mod hops;
#[path = "tables/http2.rs"]
mod http2;
#[path = "tables/paths.rs"]
mod paths;
#[path = "tables/refusal.rs"]
mod refusal;
#[path = "tables/responses.rs"]
mod responses;
#[path = "tables/syntax.rs"]
mod syntax;

use super::rows::Stand;

/// Every mode of a listener.
const MODES: [&str; 3] = ["strict", "lenient", "monitor"];

/// A gateway whose listener has that mode; strict is what it has where nothing is said.
async fn stand(mode: &str) -> Stand {
    match mode {
        "strict" => Stand::start("").await,
        mode => Stand::start(&format!("mode = \"{mode}\"")).await,
    }
}

/// A GET of `/a` with further fields, each line with its end.
fn get(fields: &str) -> String {
    format!("GET /a HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")
}

/// A POST to `/a` with further fields, each line with its end, and what follows the head.
fn post(fields: &str, rest: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n{rest}")
}
