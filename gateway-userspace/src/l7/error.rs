//! Why a request failed: the reason, whose fault it is, whether trying again is safe, and what the client gets.
//!
//! Reasons are the values of the metric label and of the access-log field; each names one cause. Clients get the
//! reason and a plain sentence, the program's log gets the chain.

use http::StatusCode;

use super::path::PathFault;

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
        }

        impl ProxyError {
            /// Every one, in the order of [`ProxyError::index`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable code: metric label, access-log field, and first word of the answer.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// Whose fault it is.
            pub fn fault(self) -> Fault {
                match self { $(Self::$variant => Fault::$fault,)* }
            }

            /// Whether the request may be sent again.
            pub fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry,)* }
            }

            /// What the client gets, if it can get anything.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
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
    /// Expect asks for something that nobody knows.
    ExpectationFailed = "expectation-failed", Downstream, Never, EXPECTATION_FAILED, "the request expects what cannot be promised";
    /// Via names as many hops as no honest way has.
    LoopDetected = "loop-detected", Internal, Never, LOOP_DETECTED, "the request goes in circles";
    /// No route has that host and path.
    NoRoute = "no-route", Downstream, Never, NOT_FOUND, "nothing is served under this host and path";
    /// A route has it, but not with this method.
    MethodNotAllowed = "method-not-allowed", Downstream, Never, METHOD_NOT_ALLOWED, "this method is not served here";
    /// CONNECT and TRACE are not proxied.
    MethodRefused = "method-refused", Downstream, Never, METHOD_NOT_ALLOWED, "this method is refused";
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
    /// This machine has no descriptors, ports or memory for another connection.
    LocalExhausted = "local-exhausted", Internal, Never, SERVICE_UNAVAILABLE, "the gateway is out of resources";
    /// The connection went away before anything was written.
    ConnectionLost = "connection-lost", Upstream, Safe, BAD_GATEWAY, "the connection to the upstream was lost before the request was sent";
    /// The connection was closed or reset after the request was written, before an answer.
    UpstreamClosed = "upstream-closed", Upstream, IfIdempotent, BAD_GATEWAY, "the upstream closed the connection without an answer";
    /// The answer is not HTTP as agreed.
    UpstreamProtocol = "upstream-protocol", Upstream, Never, BAD_GATEWAY, "the upstream's answer cannot be read";
    /// No response head within the route's timeout.
    Timeout = "timeout", Upstream, Never, GATEWAY_TIMEOUT, "the upstream did not answer in time";
    /// The response broke off after its head.
    ResponseBodyBroken = "response-body-broken", Upstream, Never, BAD_GATEWAY, "the upstream's answer broke off";
    /// The upstream has no endpoint that is left to try.
    NoEndpoint = "no-endpoint", Internal, Never, SERVICE_UNAVAILABLE, "the upstream has no endpoint";
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

impl ProxyError {
    /// Position in [`ProxyError::ALL`], for tables of counters.
    pub fn index(self) -> usize {
        self as usize
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
            assert!(
                error.status().is_client_error() || error.status().is_server_error(),
                "{error:?}"
            );
        }
    }
}
