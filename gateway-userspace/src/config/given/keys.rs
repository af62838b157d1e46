//! The keys that `[defaults]`, listeners and routes share: each is written once here, with its documentation, default
//! and bounds, and stands in every table that takes it.
//!
//! Macros, for serde's `flatten` does not go with `deny_unknown_fields`. `route_keys!` and `listener_keys!` hand their
//! keys on to the macro that is named first in them: the one to the other, and in the end `table!` or `group!`.

use super::retry::Retry;
use super::values::{Network, Time, TimeOrNone};
use crate::config::snapshot::{EncodedSlash, Expect, HttpMode};

/// How HTTP is read on a listener: keys of a listener and of `[defaults]`.
macro_rules! listener_keys {
    ($next:ident! $($input:tt)*) => {
        $next! { $($input)* listener_keys ListenerKeys {
            /// What becomes of requests that break a rule of syntax but can be read in one way only. What can be read in two
            /// ways is refused in every mode.
            #[schemars(extend("default" = HttpMode::Strict))]
            mode: HttpMode,
            /// Bytes of a request's head at most; beyond it the client gets 431. HTTP/1; for HTTP/2 see `h2_head_bytes_max`.
            #[schemars(range(min = limits::HEAD_BYTES_MAX_MIN, max = limits::HEAD_BYTES_MAX_MAX), extend("default" = limits::HEAD_BYTES_MAX))]
            head_bytes_max: usize,
            /// Fields of a request's head at most; in HTTP/2 each cookie crumb counts. Beyond it the client gets 431.
            #[schemars(range(min = limits::FIELDS_MAX_MIN, max = limits::FIELDS_MAX_MAX), extend("default" = limits::FIELDS_MAX))]
            fields_max: usize,
            /// Bytes of a request's target (path and query) at most; beyond it the client gets 414.
            #[schemars(range(min = limits::TARGET_BYTES_MAX_MIN, max = limits::TARGET_BYTES_MAX_MAX), extend("default" = limits::TARGET_BYTES_MAX))]
            target_bytes_max: usize,
            /// From accept to a connection's first byte, behind a TLS handshake and a header of the PROXY protocol where there are
            /// any, or (`tls_passthrough`) to the end of the client's first message; then it is closed.
            #[schemars(extend(
                "default" = time_text(limits::FIRST_BYTE_TIMEOUT),
                "x-range" = [time_text(limits::TIME_MIN), time_text(limits::CLIENT_TIME_MAX)]
            ))]
            first_byte_timeout: Time,
            /// From the first byte of a request's head to its last; then the client gets 408.
            #[schemars(extend(
                "default" = time_text(limits::HEAD_TIMEOUT),
                "x-range" = [time_text(limits::TIME_MIN), time_text(limits::CLIENT_TIME_MAX)]
            ))]
            head_timeout: Time,
            /// How long a client may take nothing of what is held for it, or send nothing of a body that is waited for. Not for
            /// tunnels.
            #[schemars(extend(
                "default" = time_text(limits::STALLED_TIMEOUT),
                "x-range" = [time_text(limits::TIME_MIN), time_text(limits::CLIENT_TIME_MAX)]
            ))]
            stalled_timeout: Time,
            /// HTTP/1: how long a connection is kept between two requests.
            #[schemars(extend(
                "default" = time_text(limits::KEEP_ALIVE_TIMEOUT),
                "x-range" = [time_text(limits::TIME_MIN), time_text(limits::IDLE_TIME_MAX)]
            ))]
            keep_alive_timeout: Time,
            /// HTTP/2: how long a connection without a stream is kept.
            #[schemars(extend(
                "default" = time_text(limits::H2_IDLE_TIMEOUT),
                "x-range" = [time_text(limits::TIME_MIN), time_text(limits::IDLE_TIME_MAX)]
            ))]
            h2_idle_timeout: Time,
            /// After it, less a tenth at random, a connection ends with the response under way, so that clients find other nodes.
            #[schemars(extend(
                "default" = time_text(limits::CONNECTION_AGE),
                "x-range" = [time_text(limits::CONNECTION_AGE_MIN), time_text(limits::CONNECTION_AGE_MAX)]
            ))]
            connection_age: TimeOrNone,
            /// Networks or addresses of proxies whose word about clients is taken (`X-Forwarded-*`, `Forwarded`, `X-Real-IP`);
            /// from all others these fields are deleted.
            #[schemars(
                length(max = limits::TRUSTED_PROXIES_MAX),
                extend("default" = [] as [&str; 0], "examples" = [["10.0.0.0/8", "2001:db8::1"]])
            )]
            trusted_proxies: Vec<Network>,
            /// HTTP/2: streams that a client may have open on one connection.
            #[schemars(range(min = 1, max = limits::H2_STREAMS_MAX_MAX), extend("default" = limits::H2_STREAMS_MAX))]
            h2_streams_max: u32,
            /// HTTP/2: bytes of one request's body in flight, which is what a stream may hold in memory.
            #[schemars(
                range(min = limits::H2_STREAM_WINDOW_BYTES_MIN, max = limits::H2_STREAM_WINDOW_BYTES_MAX),
                extend("default" = limits::H2_STREAM_WINDOW_BYTES)
            )]
            h2_stream_window_bytes: u32,
            /// HTTP/2: bytes of all request bodies of a connection in flight.
            #[schemars(
                range(min = limits::H2_CONNECTION_WINDOW_BYTES_MIN, max = limits::H2_CONNECTION_WINDOW_BYTES_MAX),
                extend("default" = limits::H2_CONNECTION_WINDOW_BYTES)
            )]
            h2_connection_window_bytes: u32,
            /// HTTP/2: bytes of a request's decoded head at most; beyond it the client gets 431.
            #[schemars(range(min = limits::H2_HEAD_BYTES_MAX_MIN, max = limits::H2_HEAD_BYTES_MAX_MAX), extend("default" = limits::H2_HEAD_BYTES_MAX))]
            h2_head_bytes_max: u32,
        } }
    };
}

/// What holds for requests: keys of a route, of a listener and of `[defaults]`.
macro_rules! route_keys {
    ($next:ident! $($input:tt)*) => {
        $next! { $($input)* route_keys RouteKeys {
            /// From a request's head to the response's head, all tries included; counted anew while the client sends its body.
            /// Beyond it the client gets 504.
            #[schemars(extend(
                "default" = time_text(limits::TIMEOUT),
                "x-range" = [time_text(limits::TIME_MIN), time_text(limits::TIMEOUT_MAX)]
            ))]
            timeout: Time,
            /// From a request's head to the response's last byte; then both are cut.
            #[schemars(extend(
                "default" = "none",
                "x-range" = [time_text(limits::TIME_MIN), time_text(limits::TIMEOUT_TOTAL_MAX)]
            ))]
            timeout_total: TimeOrNone,
            /// Of one try, from its beginning to the response's head.
            #[schemars(extend(
                "default" = "none",
                "x-range" = [time_text(limits::TIME_MIN), time_text(limits::TIMEOUT_MAX)]
            ))]
            try_timeout: TimeOrNone,
            /// The field by which clients say how many milliseconds they will wait, to the response's last byte. It can only
            /// shorten what else holds; then the client gets 504. With each try the upstream is told by the same field what is
            /// left, or is left of `timeout_total`. One that is no plain number gives a trusted proxy 400, and is deleted else.
            /// A gRPC call's own `grpc-timeout` counts in any case. `"none"`: there is no such field.
            #[schemars(extend("default" = "none", "examples" = ["x-request-deadline-ms"]))]
            deadline_header: String,
            /// How long an upstream may be silent inside a response's body. Not for event streams and gRPC.
            #[schemars(extend(
                "default" = time_text(limits::RESPONSE_IDLE_TIMEOUT),
                "x-range" = [time_text(limits::TIME_MIN), time_text(limits::IDLE_TIME_MAX)]
            ))]
            response_idle_timeout: Time,
            /// How long both sides of a tunnel (WebSocket, and connections of `tcp` and `tls_passthrough`) may be silent.
            #[schemars(extend(
                "default" = time_text(limits::TUNNEL_IDLE_TIMEOUT),
                "x-range" = [time_text(limits::TIME_MIN), time_text(limits::IDLE_TIME_MAX)]
            ))]
            tunnel_idle_timeout: Time,
            /// Bytes of a request's body at most; beyond it the client gets 413. Not for gRPC and tunnels.
            #[schemars(range(min = 0, max = limits::BODY_BYTES_MAX_MAX), extend("default" = limits::BODY_BYTES_MAX))]
            body_bytes_max: u64,
            /// Bytes of one gRPC message of a request at most; beyond it the client gets status 8 (resource exhausted).
            #[schemars(range(min = 1, max = limits::GRPC_MESSAGE_BYTES_MAX_MAX), extend("default" = limits::GRPC_MESSAGE_BYTES_MAX))]
            grpc_message_bytes_max: u32,
            /// Whether calls of browsers (gRPC-Web, binary and text) become gRPC calls, and their answers gRPC-Web again. The
            /// upstream speaks HTTP/2. Else they pass as they are.
            #[schemars(extend("default" = false))]
            grpc_web: bool,
            /// Bytes of a request's body that are kept to send it again; longer ones are tried once.
            #[schemars(range(min = 0, max = limits::REPLAY_BYTES_MAX_MAX), extend("default" = limits::REPLAY_BYTES_MAX))]
            replay_bytes_max: usize,
            /// Whether several slashes in a path are one, for the match and for the upstream; else they stay, for both.
            #[schemars(extend("default" = true))]
            merge_slashes: bool,
            /// What `%2F` and `%5C` in a path are.
            #[schemars(extend("default" = EncodedSlash::Refuse))]
            encoded_slash: EncodedSlash,
            /// Who answers `Expect: 100-continue`.
            #[schemars(extend("default" = Expect::Answer))]
            expect: Expect,
            /// Protocols that a client may switch to by `Upgrade`, in lower case.
            #[schemars(length(max = limits::UPGRADES_MAX), extend("default" = ["websocket"], "examples" = [["websocket"]]))]
            upgrades: Vec<String>,
            /// When a request is sent again: to another endpoint than before, while one is left. What was sent already is sent
            /// again only if the method is idempotent (or the outcome is a listed gRPC code), its body is kept whole
            /// (`replay_bytes_max`), and the upstream's `retry_budget` has room.
            retry: Retry,
        } }
    };
}

/// A table of the file: its own keys, then the shared ones, and how to have the latter alone.
macro_rules! table {
    (
        { $(#$attribute:tt)* pub struct $name:ident { $($own:tt)* } }
        $($read:ident $group:ident { $($(#$about:tt)* $key:ident: $type:ty,)* })*
    ) => {
        $(#$attribute)*
        pub struct $name {
            $($own)*
            $($(
                $(#$about)*
                pub $key: Option<$type>,
            )*)*
        }

        impl $name {
            $(
                /// Those of its keys that others take, too.
                pub fn $read(&self) -> $group {
                    $group { $($key: Option::clone(&self.$key),)* }
                }
            )*
        }
    };
}

/// The shared keys without a table around them.
macro_rules! group {
    (
        { $(#$attribute:tt)* pub struct }
        $read:ident $group:ident { $($(#$about:tt)* $key:ident: $type:ty,)* }
    ) => {
        $(#$attribute)*
        pub struct $group {
            $(
                #[doc = concat!("`", stringify!($key), "`; `None`: not said here.")]
                pub $key: Option<$type>,
            )*
        }
    };
}

listener_keys! { group! {
    /// How HTTP is read on a listener, as far as one table says it.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct
} }

route_keys! { group! {
    /// What holds for requests, as far as one table says it.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct
} }
