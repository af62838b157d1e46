//! Hyper's servers as a listener wants them.

use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use super::executor::StreamExecutor;
use crate::config::snapshot::ListenerHttp;

/// HTTP/1: bytes buffered beyond a whole head.
const BUFFER_BYTES: usize = 8 * 1024;
/// HTTP/2: response bytes buffered per stream.
const H2_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// HTTP/2: between two pings, and how long one may stay without answer.
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);

/// HTTP/1, behind the inspector: what reaches it was judged.
pub(super) fn http1(limits: &ListenerHttp) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // Head and idle limits are `connection`'s: hyper has one timer for both.
        .header_read_timeout(None)
        .max_headers(limits.fields_max)
        // Not `pipeline_flush`: with it hyper 1.12 buffers without bound for a client that does not read
        // (`Buffered::can_buffer`). Guarded by `a_client_that_does_not_read_holds_the_upstream_back`.
        .max_buf_size(limits.head_bytes_max + BUFFER_BYTES);
    builder
}

/// HTTP/2.
pub(super) fn http2(limits: &ListenerHttp, executor: StreamExecutor) -> http2::Builder<StreamExecutor> {
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams_max)
        .initial_stream_window_size(limits.h2_stream_window_bytes)
        .initial_connection_window_size(limits.h2_connection_window_bytes)
        .max_send_buf_size(H2_SEND_BUFFER_BYTES)
        .max_header_list_size(limits.h2_head_bytes_max)
        .keep_alive_interval(H2_PING_INTERVAL)
        .keep_alive_timeout(H2_PING_INTERVAL)
        .enable_connect_protocol();
    builder
}
