//! Who a client is by its certificate, as routes are told: only of a certificate that was verified in the handshake.
//!
//! Names are of a kind, for an authority vouches for a name as that kind alone: a URI that reads like a DNS name is none.

use std::fmt;

/// What a verified certificate says of its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate<'r> {
    /// Its subject, as RFC 4514 writes it; may be empty.
    pub subject: &'r str,
    /// Its DNS names, in lower case.
    pub dns: &'r [String],
    /// Its URIs, as they stand.
    pub uris: &'r [String],
    /// Its mail addresses, as they stand.
    pub emails: &'r [String],
}

/// Which kind of alternative name (RFC 5280, section 4.2.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// `dNSName`.
    Dns,
    /// `uniformResourceIdentifier`, as SPIFFE's.
    Uri,
    /// `rfc822Name`.
    Email,
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "dns",
            Self::Uri => "uri",
            Self::Email => "email",
        })
    }
}

impl<'r> Certificate<'r> {
    /// Its names of that kind.
    pub(super) fn names(&self, kind: NameKind) -> &'r [String] {
        match kind {
            NameKind::Dns => self.dns,
            NameKind::Uri => self.uris,
            NameKind::Email => self.emails,
        }
    }
}
