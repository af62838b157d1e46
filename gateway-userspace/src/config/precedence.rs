//! Which word holds: a route's, else its listener's, else that of `[defaults]`, else the figure in `limits`. Pure.

use std::time::Duration;

use http::HeaderName;

use super::given::{ListenerKeys, Network, Retry, RouteKeys, Time, TimeOrNone};
use super::snapshot::{GrpcWeb, ListenerHttp, MergeSlashes, Networks, Outcomes, Retries, RouteHttp};
use crate::resilience::backoff::Backoff;

/// In the place of a field's name: no field.
pub const NO_HEADER: &str = "none";

impl ListenerKeys {
    /// What holds where these keys say something about what held before.
    pub fn over(&self, base: &ListenerHttp) -> ListenerHttp {
        ListenerHttp {
            mode: self.mode.unwrap_or(base.mode),
            head_bytes_max: self.head_bytes_max.unwrap_or(base.head_bytes_max),
            fields_max: self.fields_max.unwrap_or(base.fields_max),
            target_bytes_max: self.target_bytes_max.unwrap_or(base.target_bytes_max),
            first_byte_timeout: time(self.first_byte_timeout, base.first_byte_timeout),
            head_timeout: time(self.head_timeout, base.head_timeout),
            stalled_timeout: time(self.stalled_timeout, base.stalled_timeout),
            keep_alive_timeout: time(self.keep_alive_timeout, base.keep_alive_timeout),
            h2_idle_timeout: time(self.h2_idle_timeout, base.h2_idle_timeout),
            connection_age: time_or_none(self.connection_age, base.connection_age),
            trusted_proxies: match &self.trusted_proxies {
                Some(given) => Networks(given.iter().map(|Network(network)| *network).collect()),
                None => base.trusted_proxies.clone(),
            },
            h2_streams_max: self.h2_streams_max.unwrap_or(base.h2_streams_max),
            h2_stream_window_bytes: self.h2_stream_window_bytes.unwrap_or(base.h2_stream_window_bytes),
            h2_connection_window_bytes: self
                .h2_connection_window_bytes
                .unwrap_or(base.h2_connection_window_bytes),
            h2_head_bytes_max: self.h2_head_bytes_max.unwrap_or(base.h2_head_bytes_max),
        }
    }
}

impl RouteKeys {
    /// What holds where these keys say something about what held before.
    pub fn over(&self, base: &RouteHttp) -> RouteHttp {
        RouteHttp {
            timeout: time(self.timeout, base.timeout),
            timeout_total: time_or_none(self.timeout_total, base.timeout_total),
            try_timeout: time_or_none(self.try_timeout, base.try_timeout),
            deadline_header: match self.deadline_header.as_deref() {
                None => base.deadline_header.clone(),
                // A name that is none was reported by `validate`.
                Some(name) => HeaderName::from_bytes(name.as_bytes())
                    .ok()
                    .filter(|_| name != NO_HEADER),
            },
            response_idle_timeout: time(self.response_idle_timeout, base.response_idle_timeout),
            tunnel_idle_timeout: time(self.tunnel_idle_timeout, base.tunnel_idle_timeout),
            body_bytes_max: self.body_bytes_max.unwrap_or(base.body_bytes_max),
            grpc_message_bytes_max: self.grpc_message_bytes_max.unwrap_or(base.grpc_message_bytes_max),
            grpc_web: match self.grpc_web {
                Some(true) => GrpcWeb::Translated,
                Some(false) => GrpcWeb::Passed,
                None => base.grpc_web,
            },
            replay_bytes_max: self.replay_bytes_max.unwrap_or(base.replay_bytes_max),
            merge_slashes: match self.merge_slashes {
                Some(true) => MergeSlashes::On,
                Some(false) => MergeSlashes::Off,
                None => base.merge_slashes,
            },
            encoded_slash: self.encoded_slash.unwrap_or(base.encoded_slash),
            expect: self.expect.unwrap_or(base.expect),
            upgrades: self.upgrades.as_ref().unwrap_or(&base.upgrades).clone(),
            retry: self
                .retry
                .as_ref()
                .map_or_else(|| base.retry.clone(), Retry::resolved),
        }
    }
}

impl Retry {
    /// What it says, with defaults for the rest; words of `on` that mean nothing were reported by `validate`.
    fn resolved(&self) -> Retries {
        let default = Retries::default();
        let on = self.on.as_ref().map_or(default.on, |words| {
            let mut on = Outcomes::default();
            words.iter().for_each(|word| drop(on.add(word)));
            on
        });
        Retries {
            attempts: self.attempts.unwrap_or(default.attempts),
            on,
            backoff: Backoff {
                base: time(self.backoff, default.backoff.base),
                max: time(self.backoff_max, default.backoff.max),
                retry_after_max: time(self.retry_after_max, default.backoff.retry_after_max),
            },
        }
    }
}

/// A length of time, the default where none is given.
pub fn time(given: Option<Time>, default: Duration) -> Duration {
    given.map_or(default, |Time(time)| time)
}

/// A limit that may be off, the default where none is given.
pub fn time_or_none(given: Option<TimeOrNone>, default: Option<Duration>) -> Option<Duration> {
    given.map_or(default, |TimeOrNone(time)| time)
}
