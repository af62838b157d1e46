//! What the node says about itself: the access log (one line a request) and the program's own log.
//!
//! Metrics are kept by those who count; this module only writes lines.

pub mod access_log;
pub mod logging;
