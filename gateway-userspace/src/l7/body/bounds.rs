//! What holds for a request's body: how much of it there may be, and how much of it is kept.

use std::time::Duration;

use http::{HeaderMap, header};

use super::Conversion;
use crate::config::snapshot::RouteHttp;
use crate::l7::attempt::Resends;
use crate::l7::grpc::MessageMeter;
use crate::l7::grpc::web::Decoder;

/// What holds for one body.
pub(crate) struct Bounds {
    /// gRPC-Web: what the client writes as text.
    pub(crate) text: Option<Decoder>,
    /// Bytes in all; `None`: no bound.
    pub(crate) bytes_max: Option<u64>,
    /// Bytes kept to send it again; 0: it is never sent again.
    pub(crate) replay_bytes_max: usize,
    /// gRPC: bytes of one message.
    pub(crate) messages: Option<MessageMeter>,
    /// How long the client may owe more of it; `None`: for ever, as in a stream of messages.
    pub(crate) stalled_timeout: Option<Duration>,
}

impl Bounds {
    /// As a route has it; nothing is kept of what is sent but once.
    pub(in crate::l7) fn new(
        rules: &RouteHttp,
        conversion: Conversion,
        keeps: Resends,
        stalled_timeout: Duration,
    ) -> Self {
        let is_call = conversion == Conversion::Grpc;
        Self {
            text: None,
            bytes_max: (!is_call).then_some(rules.body_bytes_max),
            replay_bytes_max: match keeps {
                Resends::Yes => rules.replay_bytes_max,
                Resends::No => 0,
            },
            messages: is_call.then(|| MessageMeter::new(rules.grpc_message_bytes_max)),
            stalled_timeout: (!is_call).then_some(stalled_timeout),
        }
    }

    /// It may have no more than so many bytes, where they are bounded at all.
    pub(crate) fn lower(&mut self, bytes_max: u64) {
        self.bytes_max = self.bytes_max.map(|max| max.min(bytes_max));
    }

    /// Whether the head announces too much already.
    pub(crate) fn exceeded_by(&self, headers: &HeaderMap) -> bool {
        let length = headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        matches!((self.bytes_max, length), (Some(max), Some(length)) if length > max)
    }
}
