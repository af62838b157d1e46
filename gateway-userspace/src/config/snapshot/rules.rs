//! What holds for HTTP on a listener and on a route: limits of size and time, and what is refused.
//!
//! The figures stand in `limits`; the tables of what is refused, and why, in `docs/http.md`.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Retries;
use crate::config::limits;

/// How a listener reads HTTP, and how long its clients may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerHttp {
    /// What becomes of heads that are readable but bad.
    pub mode: HttpMode,
    /// Bytes of a request's head at most.
    pub head_bytes_max: usize,
    /// Fields of a request's head at most; in HTTP/2 each cookie crumb counts.
    pub fields_max: usize,
    /// Bytes of a request's target at most.
    pub target_bytes_max: usize,
    /// From accept to the first byte.
    pub first_byte_timeout: Duration,
    /// From a head's first byte to its last.
    pub head_timeout: Duration,
    /// The client takes nothing of what is held for it, or sends nothing of a body that is waited for.
    pub stalled_timeout: Duration,
    /// HTTP/1: between two requests.
    pub keep_alive_timeout: Duration,
    /// HTTP/2: without a stream.
    pub h2_idle_timeout: Duration,
    /// After it, less a tenth at random, a connection ends with the response under way; `None`: never.
    pub connection_age: Option<Duration>,
    /// Whose word about clients (`X-Forwarded-*`) is taken.
    pub trusted_proxies: Networks,
    /// HTTP/2: streams that a client may have open.
    pub h2_streams_max: u32,
    /// HTTP/2: bytes of a request's body in flight, per stream.
    pub h2_stream_window_bytes: u32,
    /// HTTP/2: bytes of request bodies in flight, per connection.
    pub h2_connection_window_bytes: u32,
    /// HTTP/2: bytes of a decoded head.
    pub h2_head_bytes_max: u32,
}

/// `mode`: what becomes of requests (or, for an upstream, of responses) that break a rule of syntax but can be read in
/// one way only. What can be read in two ways is refused in every mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HttpMode {
    /// They are refused.
    Strict,
    /// They pass.
    Lenient,
    /// They pass and are counted, by reason: what to run before `strict`.
    Monitor,
}

/// Networks that addresses are looked up in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<IpNet>);

impl Networks {
    /// Whether one of them has the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// What holds for a route's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteHttp {
    /// From the request's head to the response's, all tries included; counted anew while the client sends its body.
    pub timeout: Duration,
    /// From the request's head to the response's last byte.
    pub timeout_total: Option<Duration>,
    /// Of one try, from its beginning to the response's head.
    pub try_timeout: Option<Duration>,
    /// The field by which clients say how many milliseconds are left.
    pub deadline_header: Option<HeaderName>,
    /// The upstream is silent inside a response's body; not for event streams and gRPC.
    pub response_idle_timeout: Duration,
    /// Neither side of a tunnel (WebSocket) says anything.
    pub tunnel_idle_timeout: Duration,
    /// Bytes of a request's body at most; not for gRPC and tunnels.
    pub body_bytes_max: u64,
    /// Bytes of one gRPC message of a request at most.
    pub grpc_message_bytes_max: u32,
    /// What becomes of gRPC-Web.
    pub grpc_web: GrpcWeb,
    /// Bytes of a request's body that are kept to send it again.
    pub replay_bytes_max: usize,
    /// What `//` in a path is.
    pub merge_slashes: MergeSlashes,
    /// What `%2F` and `%5C` in a path are.
    pub encoded_slash: EncodedSlash,
    /// Who answers `Expect: 100-continue`.
    pub expect: Expect,
    /// Protocols that a client may switch to, in lower case; usually `websocket` alone.
    pub upgrades: Vec<String>,
    /// When a request is sent again.
    pub retry: Retries,
}

/// `grpc_web`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcWeb {
    /// It is translated to gRPC.
    Translated,
    /// It passes as it is.
    Passed,
}

/// `merge_slashes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeSlashes {
    /// Several are one, for the match and for the upstream.
    On,
    /// They stay, for the match and for the upstream.
    Off,
}

/// `encoded_slash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EncodedSlash {
    /// A path with `%2F` or `%5C` is refused.
    Refuse,
    /// They are data, never separators, and stay as they are.
    Keep,
}

/// `expect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// This node, once the request is routed; the upstream never sees the field.
    Answer,
    /// The upstream, where both sides speak HTTP/1: the body waits for its 100, its final answer, or one second.
    Forward,
}

impl Default for ListenerHttp {
    fn default() -> Self {
        Self {
            mode: HttpMode::Strict,
            head_bytes_max: limits::HEAD_BYTES_MAX,
            fields_max: limits::FIELDS_MAX,
            target_bytes_max: limits::TARGET_BYTES_MAX,
            first_byte_timeout: limits::FIRST_BYTE_TIMEOUT,
            head_timeout: limits::HEAD_TIMEOUT,
            stalled_timeout: limits::STALLED_TIMEOUT,
            keep_alive_timeout: limits::KEEP_ALIVE_TIMEOUT,
            h2_idle_timeout: limits::H2_IDLE_TIMEOUT,
            connection_age: Some(limits::CONNECTION_AGE),
            trusted_proxies: Networks::default(),
            h2_streams_max: limits::H2_STREAMS_MAX,
            h2_stream_window_bytes: limits::H2_STREAM_WINDOW_BYTES,
            h2_connection_window_bytes: limits::H2_CONNECTION_WINDOW_BYTES,
            h2_head_bytes_max: limits::H2_HEAD_BYTES_MAX,
        }
    }
}

impl Default for RouteHttp {
    fn default() -> Self {
        Self {
            timeout: limits::TIMEOUT,
            timeout_total: None,
            try_timeout: None,
            deadline_header: None,
            response_idle_timeout: limits::RESPONSE_IDLE_TIMEOUT,
            tunnel_idle_timeout: limits::TUNNEL_IDLE_TIMEOUT,
            body_bytes_max: limits::BODY_BYTES_MAX,
            grpc_message_bytes_max: limits::GRPC_MESSAGE_BYTES_MAX,
            grpc_web: GrpcWeb::Passed,
            replay_bytes_max: limits::REPLAY_BYTES_MAX,
            merge_slashes: MergeSlashes::On,
            encoded_slash: EncodedSlash::Refuse,
            expect: Expect::Answer,
            upgrades: vec!["websocket".to_owned()],
            retry: Retries::default(),
        }
    }
}
