//! What an inspector says of the bytes it was shown, and the words that both directions share.

use super::refusal::Refusal;

/// What is to be done with the bytes that have not passed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many of them pass, at least one. Never crosses the end of a message.
    Pass(usize),
    /// A head that is not whole yet: nothing passes; call again with these bytes and more.
    Wait,
    /// Nothing passes until [`Resume`] says how the other side answered.
    Hold,
    /// The message before these bytes was the last of the connection: nothing ever passes.
    Last,
    /// A head that must not pass. Said again at every later call.
    Refuse(Refusal),
    /// The body of a message whose head has passed is broken here. Said again at every later call.
    Break(Refusal),
}

/// How a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// No switch: the next message follows.
    Http,
    /// Switched: all bytes pass unjudged.
    Tunnel,
}

/// The version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.0.
    Http10,
    /// 1.1.
    Http11,
}

/// The body that a head announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// None.
    None,
    /// So many bytes, which may be 0.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Responses: until the connection ends.
    UntilClose,
}

/// Whether a head offers to switch protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// No upgrade, or only to h2c, which is ignored.
    Nothing,
    /// Another protocol.
    Upgrade,
}
