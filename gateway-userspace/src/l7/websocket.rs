//! t
use http::HeaderValue;
pub(crate) fn new_key() -> HeaderValue { HeaderValue::from_static("x") }
pub(crate) fn accept(_: &HeaderValue) -> HeaderValue { HeaderValue::from_static("x") }
