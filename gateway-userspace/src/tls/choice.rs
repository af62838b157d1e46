//! Which certificate a client gets, by the name that it asks for (SNI, RFC 6066, section 3).
//!
//! An exact name comes before a wildcard, which stands for one label (RFC 9525, section 6.3), and what nothing fits gets the
//! default, as nginx and Envoy do: refusing would hide a wrong certificate behind a broken handshake. A name whose
//! certificate an authority has yet to issue is refused: any other would be wrong for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Pair;

/// A place among a listener's certificates.
#[derive(Clone, Debug, PartialEq)]
pub enum Held {
    /// It is there.
    Pair(Pair),
    /// An authority has yet to issue it, for these names.
    Awaited(Arc<[String]>),
}

impl Held {
    /// What is there.
    pub fn pair(&self) -> Option<&Pair> {
        match self {
            Self::Pair(pair) => Some(pair),
            Self::Awaited(_) => None,
        }
    }

    /// DNS names that it is for, in lower case.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Pair(pair) => &pair.facts.dns_names,
            Self::Awaited(names) => names,
        }
    }
}

impl From<Pair> for Held {
    fn from(pair: Pair) -> Self {
        Self::Pair(pair)
    }
}

/// The certificates of a listener by name.
pub struct Choice {
    /// In the file's order, not empty.
    held: Vec<Held>,
    exact: HashMap<Box<str>, Chosen>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Chosen>,
    default: Chosen,
}

/// One of a listener's certificates: an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen(usize);

impl Chosen {
    /// Its place among [`Choice::all`].
    pub fn index(self) -> usize {
        self.0
    }
}

impl Choice {
    /// `default` is an index. Of two certificates for one name the first in the file's order wins.
    pub fn new(held: Vec<Held>, default: usize) -> Self {
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for (index, one) in held.iter().enumerate() {
            for name in one.names() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut wildcard, rest),
                    None => (&mut exact, name.as_str()),
                };
                names.entry(Box::from(name)).or_insert(Chosen(index));
            }
        }
        Self {
            held,
            exact,
            wildcard,
            default: Chosen(default),
        }
    }

    /// The certificate for a name in lower case; `None`: the client names nobody.
    pub fn choose(&self, name: Option<&str>) -> Chosen {
        let Some(name) = name else { return self.default };
        let name = name.strip_suffix('.').unwrap_or(name);
        let by_wildcard = || self.wildcard.get(name.split_once('.')?.1);
        let found = self.exact.get(name).or_else(by_wildcard);
        found.copied().unwrap_or(self.default)
    }

    /// Whether a client that got that one would have got the same, had it asked for that host (RFC 9110, section 15.5.20).
    pub fn fits(&self, chosen: Chosen, host: &str) -> bool {
        let name = host
            .trim_start_matches('[')
            .parse::<std::net::IpAddr>()
            .is_err()
            .then_some(host);
        // An address is no name to ask for: such a client got the default.
        self.choose(name) == chosen
    }

    /// All of them.
    pub fn all(&self) -> &[Held] {
        &self.held
    }

    fn get(&self, chosen: Chosen) -> Option<Arc<CertifiedKey>> {
        let pair = self.held.get(chosen.0)?.pair()?;
        Some(Arc::clone(&pair.certified))
    }
}

/// What a handshake fails with where [`Choice`] has nothing for a client: rustls has no kind of its own for it.
pub const NO_CERTIFICATE: &str = "no server certificate chain resolved";

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Rustls hands names on as they came, checked and never an address.
        let name = hello.server_name().map(str::to_ascii_lowercase);
        self.get(self.choose(name.as_deref()))
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.held).finish()
    }
}
