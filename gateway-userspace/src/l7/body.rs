//! Bodies on their way: streamed, counted, never collected.

mod bounds;
mod coded;
mod download;
mod gate;
mod upload;
mod web;

use bytes::Bytes;
use http_body::Frame;

use super::error::ProxyError;

pub(super) use bounds::Bounds;
pub(super) use download::{Conversion, Limits, ResponseBody};
pub(super) use gate::Gate;
pub(super) use upload::{Copied, RequestBody, Upload};

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// What the connection says.
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
    /// We ended it.
    #[error("the body was ended: {0}")]
    Ended(ProxyError),
}

fn bytes_of(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |bytes| bytes.len() as u64)
}
