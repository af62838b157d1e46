//! The request's way against real servers and clients on loopback.

mod actions;
mod challenges;
mod channels;
mod client;
mod connections;
mod drain;
mod explained;
mod fail;
mod filters;
mod forward;
mod framing;
mod grpc;
mod grpc_web;
mod guarded;
mod harness;
mod limits;
mod mirrored;
mod proxied;
mod reasons;
mod retry;
mod routing;
mod server;
mod spread;
mod sticky;
mod stream;
mod subsets;
mod time;
mod tls;
mod upstream_limits;

/// A fault in this program, on demand.
pub(super) fn panic_if_asked<B>(request: &http::Request<B>) {
    assert!(!request.headers().contains_key("x-test-panic"), "asked to panic");
}
