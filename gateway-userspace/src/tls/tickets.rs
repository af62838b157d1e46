//! Session tickets (RFC 5077; RFC 8446, section 4.6.1) that any node of a cluster can take.
//!
//! Keys come in threes: the previous one opens what it sealed, the current one seals, and the next one opens what a node
//! sealed that has the file's next version already. So a file is changed on one node after another, and no client notices.
//!
//! A listener's keys are derived from them and from what it asks of its clients (HKDF, RFC 5869): a ticket of one
//! that asks for no certificate opens nothing at one that does, and changing that setting voids what was issued before.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use rustls::server::ProducesTickets;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes at the start of a ticket that tell its key.
const NAME_BYTES: usize = 16;
/// How long a client may come back with a ticket. RFC 8446 allows a week; the shorter, the less a stolen key opens.
const LIFETIME_SECONDS: u32 = 12 * 3600;
/// Bytes of a ticket at most: with a client's certificates some kB.
const TICKET_BYTES_MAX: usize = 64 * 1024;

/// Three keys; printed they show nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKeys {
    /// Opens what was sealed before the last change.
    pub previous: [u8; KEY_BYTES],
    /// Seals.
    pub current: [u8; KEY_BYTES],
    /// Opens what others seal after the next change.
    pub next: [u8; KEY_BYTES],
}

/// Why a file of keys is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketKeysError {
    /// Not three of them.
    #[error(
        "holds {0} lines that are not empty, and three are wanted: the previous, the current and the next key"
    )]
    Count(usize),
    /// One is no key.
    #[error("holds something else than 64 hexadecimal digits in line {0}")]
    Line(usize),
    /// Two are the same.
    #[error("holds the same key twice: rotate by leaving the first line out and adding a new one at the end")]
    Twice,
}

impl TicketKeys {
    /// Reads three lines of hexadecimal digits; what an error says holds none of them.
    ///
    /// # Errors
    /// There are not three, one is no key, or two are the same.
    pub fn parse(text: &str) -> Result<Self, TicketKeysError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys: Vec<&str> = lines.collect();
        let [previous, current, next] = keys.as_slice() else {
            return Err(TicketKeysError::Count(keys.len()));
        };
        let key = |line: usize, text: &str| decode(text).ok_or(TicketKeysError::Line(line));
        let keys = Self {
            previous: key(1, previous)?,
            current: key(2, current)?,
            next: key(3, next)?,
        };
        if keys.previous == keys.current || keys.current == keys.next || keys.previous == keys.next {
            return Err(TicketKeysError::Twice);
        }
        Ok(keys)
    }

    /// Keys of this process alone.
    pub fn random() -> Self {
        Self {
            previous: rand::random(),
            current: rand::random(),
            next: rand::random(),
        }
    }

    /// The next key seals, and the current one opens.
    #[must_use]
    pub fn rotated(&self) -> Self {
        Self {
            previous: self.current,
            current: self.next,
            next: rand::random(),
        }
    }

    /// A listener's sealer; `context` is what it asks of its clients.
    ///
    /// # Errors
    /// Never with keys of these lengths.
    pub(super) fn sealer(&self, context: &[u8]) -> Result<Sealer, rustls::Error> {
        let derive = |key: &[u8]| Derived::new(key, context);
        Ok(Sealer {
            current: derive(&self.current)?,
            others: [derive(&self.previous)?, derive(&self.next)?],
        })
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys(…)")
    }
}

fn decode(text: &str) -> Option<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    if text.len() != 2 * KEY_BYTES {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(key)
}

/// A key with the name that tickets know it by.
struct Derived {
    name: [u8; NAME_BYTES],
    key: LessSafeKey,
}

/// How many bytes HKDF is asked for.
#[derive(Clone, Copy)]
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

impl Derived {
    fn new(key: &[u8], context: &[u8]) -> Result<Self, rustls::Error> {
        let failed = |_| rustls::Error::General("deriving a ticket key".to_owned());
        let secret = Salt::new(HKDF_SHA256, b"gateway session tickets").extract(key);
        let mut bytes = [0; NAME_BYTES + KEY_BYTES];
        secret
            .expand(&[context], Bytes(NAME_BYTES + KEY_BYTES))
            .and_then(|okm| okm.fill(&mut bytes))
            .map_err(failed)?;
        let (name, key) = bytes.split_at(NAME_BYTES);
        let unbound = UnboundKey::new(&AES_256_GCM, key).map_err(failed)?;
        Ok(Self {
            name: <[u8; NAME_BYTES]>::try_from(name).unwrap_or_default(),
            key: LessSafeKey::new(unbound),
        })
    }

    /// Name, nonce, then what is sealed with its tag; the name is authenticated.
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.name),
                &mut sealed,
            )
            .ok()?;
        let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_LEN + sealed.len());
        ticket.extend_from_slice(&self.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(&sealed);
        Some(ticket)
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let length = self
            .key
            .open_in_place(nonce, Aad::from(self.name), &mut plain)
            .ok()?
            .len();
        plain.truncate(length);
        Some(plain)
    }
}

/// Seals and opens the tickets of one listener.
pub(super) struct Sealer {
    current: Derived,
    others: [Derived; 2],
}

impl ProducesTickets for Sealer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.current.seal(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        // The name is no secret: it stands at the ticket's start.
        let (name, sealed) = ticket.split_at_checked(NAME_BYTES)?;
        let mut keys = std::iter::once(&self.current).chain(&self.others);
        keys.find(|key| key.name == name)?.open(sealed)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}
