//! What passes between a socket and hyper: each head is read here first, and a bad one never gets further.
//!
//! hyper repairs before a service sees (of Content-Length and Transfer-Encoding it hides the former) and answers
//! some errors by itself, without a log line or a count. So bytes are judged before hyper gets them: `request` and
//! `response` follow HTTP/1 messages, `frames` counts HTTP/2 frames, and `stream` puts them around a socket.
//! All but `stream`, `role`, `counted` and `report` are pure: bytes in, a verdict out; they know nothing else of this crate.
//! Invariant, fuzzed over every split of the input (`tests/fuzz`): the heads and body lengths reported here are those
//! that hyper gives its service, or the connection was refused; hyper finds no error of its own.
//! Left to others: paths (`l7::path`), what a route allows (CONNECT, upgrades), and how a connection ends.
//!
//! Sources: RFC 9112 (HTTP/1.1), RFC 9110 (semantics), RFC 9113 (HTTP/2).

mod authority;
mod chunked;
mod counted;
mod fields;
mod frames;
mod lines;
mod refusal;
mod report;
mod request;
mod request_line;
mod response;
mod role;
mod rules;
mod step;
mod stream;
mod table;
mod target;

pub use frames::{Flood, Frames};
pub use refusal::{Class, Noted, Refusal};
pub use report::{Refused, Report};
pub use request::{HeadSummary, RequestInspector};
pub use request_line::MethodKind;
pub use response::{Answer, End, ResponseInspector};
pub use rules::{Mode, Rules};
pub use step::{Body, Offered, Resume, Step, Version};
pub use stream::{Input, Inspected};

#[cfg(test)]
mod tests;
