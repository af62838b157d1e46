//! Bounds of TLS.

/// Certificates of a listener at most; each handshake looks its own up in a hash map.
pub const CERTIFICATES_MAX: usize = 10_000;
/// Handshakes at once of a worker, where none is given: each costs some 0.1 ms (ECDSA) to 1 ms (RSA), so that the last of a
/// full house waits for less than a tenth of a second.
pub const HANDSHAKES_MAX: usize = 100;
/// The most that may be given.
pub const HANDSHAKES_MAX_MAX: usize = 100_000;
