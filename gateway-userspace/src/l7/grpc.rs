//! t
use std::time::Duration;
use http::{HeaderMap, HeaderName, HeaderValue};
use super::error::ProxyError;
pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
pub(crate) struct MessageMeter;
impl MessageMeter { pub fn new(_: u32) -> Self { Self } pub fn take(&mut self, _: &[u8]) -> Result<(), ()> { Ok(()) } }
pub(crate) fn is_grpc(_: &HeaderValue) -> bool { false }
pub(crate) fn trailers(_: ProxyError) -> HeaderMap { HeaderMap::new() }
pub(crate) fn status(_: &HeaderMap) -> Option<u16> { None }
pub(crate) fn is_failure(_: u16) -> bool { false }
pub(crate) fn code(_: ProxyError) -> u16 { 2 }
pub(crate) fn timeout(_: &HeaderValue) -> Option<Duration> { None }
pub(crate) fn timeout_value(_: Duration) -> HeaderValue { HeaderValue::from_static("1S") }
