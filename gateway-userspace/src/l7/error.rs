//! Why a request failed: the reason, whose fault it is, whether trying again is safe, and what the client gets.
//!
//! Reasons are the values of the metric label and of the access-log field; each names one cause. Clients get the
//! reason and a plain sentence, the program's log gets the chain.

use http::StatusCode;

use super::path::PathFault;
use crate::inspect::Refusal;

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing failed.
    None,
    /// The client's side.
    Downstream,
    /// The upstream's side.
    Upstream,
    /// Ours, or our configuration's.
    Internal,
}

impl Fault {
    /// As the access log writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Internal => "internal",
        }
    }
}

/// Whether a request that failed so may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing of it was sent: any endpoint may be asked, whatever the method.
    Safe,
    /// It may have been received: only if it is idempotent, has no body, and nothing was answered.
    IfIdempotent,
    /// Never.
    Never,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $fault:ident, $retry:ident, $status:ident, $sentence:literal;)*) => {
        /// Why a request failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum ProxyError {
            $($(#[$doc])* #[error($sentence)] $variant,)*
            /// The inspector refused its head, or something in its body.
            #[error("{0}")]
            Refused(Refusal),
        }

        impl ProxyError {
            /// Every one, in the order of [`ProxyError::index`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Position in [`ProxyError::ALL`], for tables of counters; refusals, which are not among them, have their own.
            pub fn index(self) -> usize {
                let mut index = 0;
                $(
                    if matches!(self, Self::$variant) {
                        return index;
                    }
                    index += 1;
                )*
                index
            }

            /// The stable code: metric label, access-log field, and first word of the answer.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$variant => $code,)* Self::Refused(refusal) => refusal.reason() }
            }

            /// Whether the connection (HTTP/1) ends with the answer: what follows may not be what it seems.
            pub fn closes(self) -> bool {
                matches!(
                    self,
                    Self::Refused(_) | Self::MethodRefused | Self::ExpectationFailed | Self::BodyTooLarge
                )
            }

            /// The option that would let such a request pass, if there is one.
            pub fn admitted_by(self) -> Option<&'static str> {
                match self {
                    Self::Refused(refusal) => refusal.admitted_by(),
                    Self::PathEncodedSlash => Some("encoded_slash = \"keep\""),
                    Self::FieldAmbiguous => Some("mode = \"lenient\""),
                    Self::BodyTooLarge => Some("body_bytes_max"),
                    Self::GrpcMessageTooLarge => Some("grpc_message_bytes_max"),
                    _ => None,
                }
            }

            /// Whose fault it is.
            pub fn fault(self) -> Fault {
                match self { $(Self::$variant => Fault::$fault,)* Self::Refused(_) => Fault::Downstream }
            }

            /// Whether the request may be sent again.
            pub fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry,)* Self::Refused(_) => Retry::Never }
            }

            /// What the client gets, if it can get anything.
            pub fn status(self) -> StatusCode {
                match self {
                    $(Self::$variant => StatusCode::$status,)*
                    Self::Refused(refusal) => {
                        StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST)
                    }
                }
            }
        }
    };
}

reasons! {
    /// No Host field, and no authority.
    HostMissing = "host-missing", Downstream, Never, BAD_REQUEST, "the request names no host";
    /// More than one Host, or one that is not a host.
    HostBad = "host-bad", Downstream, Never, BAD_REQUEST, "the request's host cannot be read";
    /// Bad escapes, a NUL, or dot segments that lead above the root.
    PathBad = "path-bad", Downstream, Never, BAD_REQUEST, "the request's path cannot be read";
    /// `%2F` or `%5C` in the path, and the route takes none (`encoded_slash`).
    PathEncodedSlash = "path-encoded-slash", Downstream, Never, BAD_REQUEST, "the request's path has an escaped slash, which is not served here";
    /// Connection names a field that is not hop by hop.
    ConnectionBad = "connection-bad", Downstream, Never, BAD_REQUEST, "the Connection field names a field that must not be removed";
    /// Content-Length is there twice, or is no plain number.
    LengthBad = "length-bad", Downstream, Never, BAD_REQUEST, "the request's Content-Length cannot be read";
    /// A trusted client's `deadline_header` is no plain number of milliseconds, or is there twice.
    DeadlineBad = "deadline-bad", Downstream, Never, BAD_REQUEST, "the request's deadline cannot be read";
    /// White space around a value in HTTP/2, or a name that could be taken for one of the gateway's.
    FieldAmbiguous = "field-ambiguous", Downstream, Never, BAD_REQUEST, "the request has a field that can be read in two ways";
    /// No key of the right form in an opening handshake that is to be translated.
    WebSocketBad = "websocket-bad", Downstream, Never, BAD_REQUEST, "the request's WebSocket handshake cannot be read";
    /// Expect asks for something that nobody knows.
    ExpectationFailed = "expectation-failed", Downstream, Never, EXPECTATION_FAILED, "the request expects what cannot be promised";
    /// Via names as many hops as no honest way has.
    LoopDetected = "loop-detected", Internal, Never, LOOP_DETECTED, "the request goes in circles";
    /// Over TLS, and the host is one whose certificate differs from the one that the connection has.
    Misdirected = "misdirected", Downstream, Never, MISDIRECTED_REQUEST, "this connection was made for another host";
    /// An authority looks whether a name of `acme_names` leads here (HTTP-01): it is answered before any route.
    AcmeChallenge = "acme-challenge", None, Never, OK, "an authority is answered that looks whether the name leads here";
    /// No route has that host and path.
    NoRoute = "no-route", Downstream, Never, NOT_FOUND, "nothing is served under this host and path";
    /// A route has it, but not with this method.
    MethodNotAllowed = "method-not-allowed", Downstream, Never, METHOD_NOT_ALLOWED, "this method is not served here";
    /// CONNECT and TRACE are not proxied.
    MethodRefused = "method-refused", Downstream, Never, METHOD_NOT_ALLOWED, "this method is refused";
    /// An `ip_allow` or `ip_deny` of the route or listener keeps the client out.
    ClientDenied = "client-denied", Downstream, Never, FORBIDDEN, "this is not served to your address";
    /// A filter of the route or listener wants credentials, and the request has none of that kind.
    CredentialsMissing = "credentials-missing", Downstream, Never, UNAUTHORIZED, "the request has no credentials of the kind that is wanted";
    /// It has some, and they are not right, or stand there twice.
    CredentialsRefused = "credentials-refused", Downstream, Never, UNAUTHORIZED, "the request's credentials are not accepted";
    /// Its token was good once.
    TokenExpired = "token-expired", Downstream, Never, UNAUTHORIZED, "the request's token has expired";
    /// As many passwords as may wait are to be verified.
    VerifierBusy = "verifier-busy", Internal, Never, SERVICE_UNAVAILABLE, "too many credentials are being verified";
    /// The service of a `forward_auth` refuses it: the client gets that service's answer.
    AuthRefused = "auth-refused", Downstream, Never, FORBIDDEN, "the service that is asked first refuses this";
    /// The service of a `forward_auth` cannot be asked, or does not answer in time.
    AuthUnavailable = "auth-unavailable", Upstream, Never, SERVICE_UNAVAILABLE, "nobody can say now whether this is allowed";
    /// The keys that tokens are verified by have not been fetched yet (`jwks_url`).
    TokenKeysMissing = "token-keys-missing", Internal, Never, SERVICE_UNAVAILABLE, "nobody can verify tokens yet";
    /// A `rate_limit` of the route or listener has no room for the client's key.
    RateLimited = "rate-limited", Downstream, Never, TOO_MANY_REQUESTS, "too many requests";
    /// The client's body broke off.
    RequestBodyBroken = "request-body-broken", Downstream, Never, BAD_REQUEST, "the request's body broke off";
    /// The route's timeout ended while the client still owed its body.
    RequestBodyTimeout = "request-body-timeout", Downstream, Never, REQUEST_TIMEOUT, "the request's body did not come in time";
    /// The client went away before the answer was whole.
    ClientClosed = "client-closed", Downstream, Never, BAD_REQUEST, "the client closed the connection";
    /// No TCP connection to the endpoint.
    ConnectFailed = "connect-failed", Upstream, Safe, BAD_GATEWAY, "the upstream cannot be reached";
    /// None in time.
    ConnectTimeout = "connect-timeout", Upstream, Safe, GATEWAY_TIMEOUT, "the upstream did not accept a connection in time";
    /// A TCP connection, and no TLS on it: the endpoint speaks none, or its certificate is not good.
    UpstreamTlsFailed = "upstream-tls-failed", Upstream, Safe, BAD_GATEWAY, "the upstream cannot be reached by TLS";
    /// This machine has no descriptors, ports or memory for another connection.
    LocalExhausted = "local-exhausted", Internal, Never, SERVICE_UNAVAILABLE, "the gateway is out of resources";
    /// The connection went away before anything was written.
    ConnectionLost = "connection-lost", Upstream, Safe, BAD_GATEWAY, "the connection to the upstream was lost before the request was sent";
    /// The connection was closed or reset after the request was written, before an answer.
    UpstreamClosed = "upstream-closed", Upstream, IfIdempotent, BAD_GATEWAY, "the upstream closed the connection without an answer";
    /// An upgrade, asked for in the words of another protocol than the way to the upstream speaks.
    SwitchUnsupported = "switch-unsupported", Upstream, Safe, BAD_GATEWAY, "the upstream cannot be asked for this upgrade now";
    /// The answer is not HTTP as agreed.
    UpstreamProtocol = "upstream-protocol", Upstream, Never, BAD_GATEWAY, "the upstream's answer cannot be read";
    /// The client's body is larger than the route's `body_bytes_max`, or than a `body_limit` among its filters.
    BodyTooLarge = "body-too-large", Downstream, Never, PAYLOAD_TOO_LARGE, "the request's body is too large";
    /// A gRPC message is larger than the route's `grpc_message_bytes_max`.
    GrpcMessageTooLarge = "grpc-message-too-large", Downstream, Never, PAYLOAD_TOO_LARGE, "a message is too large";
    /// The text of a gRPC-Web call is no base64, or breaks off in it.
    GrpcWebBad = "grpc-web-bad", Downstream, Never, BAD_REQUEST, "the call's text cannot be read";
    /// The client took nothing of what was held for it.
    ClientStalled = "client-stalled", Downstream, Never, REQUEST_TIMEOUT, "the client does not read";
    /// The upstream was silent inside its answer.
    ResponseStalled = "response-stalled", Upstream, Never, GATEWAY_TIMEOUT, "the upstream's answer stalled";
    /// One try took longer than the route's `try_timeout`.
    TryTimeout = "try-timeout", Upstream, IfIdempotent, GATEWAY_TIMEOUT, "the upstream did not answer in time";
    /// The whole took longer than `timeout_total`, or than the client's own deadline.
    DeadlineExceeded = "deadline-exceeded", Upstream, Never, GATEWAY_TIMEOUT, "the request took too long";
    /// The upstream reset a tunnel or a connection that was passed on.
    TunnelBroken = "tunnel-broken", Upstream, Never, BAD_GATEWAY, "the upstream broke the connection off";
    /// Nobody said anything in a tunnel.
    TunnelIdle = "tunnel-idle", None, Never, REQUEST_TIMEOUT, "the tunnel was idle";
    /// The names of the upstream's endpoints have not been resolved.
    EndpointUnresolved = "endpoint-unresolved", Internal, Never, SERVICE_UNAVAILABLE, "the upstream's address is not known";
    /// No response head within the route's timeout.
    Timeout = "timeout", Upstream, Never, GATEWAY_TIMEOUT, "the upstream did not answer in time";
    /// An answer with a status that the route lists in `fallback_on`.
    UpstreamStatus = "upstream-status", Upstream, Never, BAD_GATEWAY, "the upstream answered that it failed";
    /// A codec of `compression` failed, which only a lack of memory makes it do.
    CompressionFailed = "compression-failed", Internal, Never, INTERNAL_SERVER_ERROR, "the answer could not be compressed";
    /// The response broke off after its head.
    ResponseBodyBroken = "response-body-broken", Upstream, Never, BAD_GATEWAY, "the upstream's answer broke off";
    /// The upstream has no endpoint that is left to try.
    NoEndpoint = "no-endpoint", Internal, Never, SERVICE_UNAVAILABLE, "the upstream has no endpoint";
    /// The upstream's circuit breaker is open.
    BreakerOpen = "breaker-open", Upstream, Never, SERVICE_UNAVAILABLE, "the upstream fails and is left alone for a while";
    /// A limit of the upstream, or of all its endpoints that may be asked, is reached (`upstream.limits`); or no connection
    /// became free within `connect_timeout`.
    UpstreamOverloaded = "upstream-overloaded", Upstream, Safe, SERVICE_UNAVAILABLE, "the upstream has as much to do as it may have";
    /// The route fails it (`fault.abort`), with the route's status.
    FaultAbort = "fault-abort", None, Never, SERVICE_UNAVAILABLE, "the route fails this request on purpose";
    /// The route made it late (`fault.delay`): it is answered as ever, or ran out of time before an upstream was asked.
    FaultDelay = "fault-delay", None, Never, GATEWAY_TIMEOUT, "the route delays this request on purpose";
    /// Its endpoint was taken out by a reload or by its name, and it went on for longer than `drain_timeout`.
    EndpointRemoved = "endpoint-removed", Internal, Never, SERVICE_UNAVAILABLE, "the upstream's endpoint was taken out";
    /// Of a snapshot so old that eight later ones are alive: it had 30 s more.
    SnapshotOld = "snapshot-old", Internal, Never, SERVICE_UNAVAILABLE, "the request outlived too many changes of the configuration";
    /// The node stopped before the request ended.
    DrainLimit = "drain-limit", Internal, Never, SERVICE_UNAVAILABLE, "the gateway stopped before the request ended";
    /// A panic: a fault in this program.
    Panic = "panic", Internal, Never, INTERNAL_SERVER_ERROR, "the gateway failed";
}

impl From<PathFault> for ProxyError {
    fn from(_: PathFault) -> Self {
        Self::PathBad
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_reason_has_its_own_code_in_kebab_case() {
        let codes: HashSet<_> = ProxyError::ALL.iter().map(|e| e.reason()).collect();
        assert_eq!(codes.len(), ProxyError::ALL.len());
        for (index, error) in ProxyError::ALL.iter().enumerate() {
            assert_eq!(error.index(), index);
            assert!(
                error
                    .reason()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{error:?}"
            );
            let status = error.status();
            let is_failure = status.is_client_error() || status.is_server_error();
            // What is answered well is nobody's fault.
            assert!(
                is_failure || (status.is_success() && error.fault() == Fault::None),
                "{error:?}"
            );
        }
    }
}
