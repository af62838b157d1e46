//! Heartbeats as datagrams: encoded by postcard, encrypted and authenticated by XChaCha20-Poly1305.
//!
//! `magic (4) | version (1) | nonce (24) | ciphertext | tag (16)`; magic and version are authenticated too.
//! With 192 bits a random nonce never repeats in practice, and no state has to survive a restart. Whoever has not
//! the key is not heard: each refusal has one reason, each reason one counter. Nothing received can panic.
//!
//! Source: draft-irtf-cfrg-xchacha-03.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use serde::Serialize;

use super::lineage::{ANCESTRY_MAX, Lineage, MEMBERS_MAX, RETIRED_MAX, sets_are_sound};
use super::message::{GOSSIP_MAX, Heartbeat, NAME_BYTES_MAX, PEERS_MAX};
use crate::config::snapshot::ClusterKey;
use crate::view::HISTORY_VIEWS_MAX;

/// Bytes of a datagram: a full view of 64 members with the longest names, its history, and gossip come to 16,000; its
/// sets of VIPs, and the sender's own, to 20,500 more. A cluster of 10 nodes with a few VIPs stays below 1,400, and thus
/// within one frame.
pub const DATAGRAM_BYTES_MAX: usize = 40_960;

/// Lives per node, and nodes, that replay protection remembers: all that `membership` does.
const LIVES_MAX: usize = 16;

/// View numbers above this are refused: no cluster counts that far, and the next number must exist.
const NUMBER_MAX: u64 = u64::MAX / 2;

const MAGIC: [u8; 4] = *b"GWHB";
const VERSION: u8 = 3;
const HEADER_BYTES: usize = MAGIC.len() + 1;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Dropped {
    /// Too short to be one, or too long.
    #[error("bad-length")]
    BadLength,
    /// Not a heartbeat at all.
    #[error("bad-magic")]
    BadMagic,
    /// A heartbeat of another version of this program.
    #[error("bad-version")]
    BadVersion,
    /// Made with another key, or changed on the way.
    #[error("bad-key")]
    BadKey,
    /// Authentic, but not a heartbeat within its bounds.
    #[error("malformed")]
    Malformed,
    /// Seen before, or overtaken by a later one.
    #[error("replayed")]
    Replayed,
}

impl Dropped {
    /// All reasons, in the order of the checks.
    pub const ALL: [Dropped; 6] = [
        Dropped::BadLength,
        Dropped::BadMagic,
        Dropped::BadVersion,
        Dropped::BadKey,
        Dropped::Malformed,
        Dropped::Replayed,
    ];
}

/// How many datagrams were dropped, by reason.
#[derive(Debug, Default)]
pub struct DropCounters([AtomicU64; Dropped::ALL.len()]);

/// One reason with its count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DropCount {
    /// As in the metric's label.
    pub reason: String,
    /// Since the start.
    pub datagrams: u64,
}

impl DropCounters {
    /// Counts one.
    pub fn count(&self, reason: Dropped) {
        for (counter, counted) in self.0.iter().zip(Dropped::ALL) {
            if counted == reason {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// All counts, zeros too.
    pub fn all(&self) -> Vec<DropCount> {
        let counts = self.0.iter().zip(Dropped::ALL);
        counts
            .map(|(counter, reason)| DropCount {
                reason: reason.to_string(),
                datagrams: counter.load(Ordering::Relaxed),
            })
            .collect()
    }
}

/// Why a heartbeat could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It breaks a bound, which no node of this program makes it do.
    #[error("encoding a heartbeat: it does not fit a datagram of {DATAGRAM_BYTES_MAX} bytes")]
    TooLarge,
    /// The cipher or the encoder refused.
    #[error("encrypting a heartbeat")]
    Cipher,
}

/// Seals and opens datagrams with the cluster's key.
pub struct Wire {
    cipher: XChaCha20Poly1305,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire(…)")
    }
}

impl Wire {
    /// A codec for this key.
    pub fn new(key: &ClusterKey) -> Wire {
        Wire {
            cipher: XChaCha20Poly1305::new(&Key::from(key.0)),
        }
    }

    /// Makes a datagram. The nonce must be random and fresh.
    ///
    /// # Errors
    /// If the heartbeat is too large, or the cipher fails.
    pub fn seal(&self, heartbeat: &Heartbeat, nonce: [u8; NONCE_BYTES]) -> Result<Vec<u8>, SealError> {
        let plain = postcard::to_allocvec(heartbeat).map_err(|_| SealError::Cipher)?;
        let mut datagram = Vec::with_capacity(HEADER_BYTES + NONCE_BYTES + plain.len() + TAG_BYTES);
        datagram.extend_from_slice(&MAGIC);
        datagram.push(VERSION);
        let payload = Payload {
            msg: &plain,
            aad: &datagram,
        };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| SealError::Cipher)?;
        datagram.extend_from_slice(&nonce);
        datagram.extend_from_slice(&sealed);
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(SealError::TooLarge);
        }
        Ok(datagram)
    }

    /// Reads a datagram; replays are not known here, but in [`Replays`].
    ///
    /// # Errors
    /// Says why it must be dropped.
    pub fn open(&self, datagram: &[u8]) -> Result<Heartbeat, Dropped> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(Dropped::BadLength);
        }
        let (header, rest) = datagram
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(Dropped::BadLength)?;
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(Dropped::BadLength)?;
        if sealed.len() < TAG_BYTES {
            return Err(Dropped::BadLength);
        }
        let [magic @ .., version] = *header;
        if magic != MAGIC {
            return Err(Dropped::BadMagic);
        }
        if version != VERSION {
            return Err(Dropped::BadVersion);
        }
        let payload = Payload {
            msg: sealed,
            aad: header,
        };
        let plain = self
            .cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| Dropped::BadKey)?;
        match postcard::take_from_bytes::<Heartbeat>(&plain) {
            Ok((heartbeat, [])) if is_within_bounds(&heartbeat) => Ok(heartbeat),
            Ok(_) | Err(_) => Err(Dropped::Malformed),
        }
    }
}

/// What `membership` takes for granted.
fn is_within_bounds(heartbeat: &Heartbeat) -> bool {
    let sender = &heartbeat.sender;
    is_name(&sender.name)
        && sender.listen.port() != 0
        && !sender.listen.ip().is_unspecified()
        && sender.serves.is_sound()
        && heartbeat.peers.len() <= GOSSIP_MAX
        && heartbeat
            .peers
            .iter()
            .all(|peer| peer.port() != 0 && !peer.ip().is_unspecified())
        && heartbeat.live.len() <= PEERS_MAX + 1
        && heartbeat.number_seen <= NUMBER_MAX
        && heartbeat.number <= heartbeat.number_seen
        && heartbeat
            .lineage
            .as_ref()
            .is_none_or(|lineage| is_lineage(lineage, heartbeat))
}

fn is_lineage(lineage: &Lineage, heartbeat: &Heartbeat) -> bool {
    let view = &lineage.view;
    let sorted = view
        .members
        .iter()
        .zip(view.members.iter().skip(1))
        .all(|(a, b)| a.id < b.id);
    let mut names: Vec<&str> = view.members.iter().map(|m| m.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    view.number == heartbeat.number
        && heartbeat.digest == Some(lineage.digest())
        && view.members.len() <= MEMBERS_MAX
        && sorted
        && names.len() == view.members.len()
        && view.members.iter().all(|m| m.id.0 != 0 && is_name(&m.name))
        && view.history.len() <= HISTORY_VIEWS_MAX
        && view.history.iter().all(|shares| shares.0.len() <= MEMBERS_MAX)
        && sets_are_sound(view)
        && lineage.retired.len() <= RETIRED_MAX
        && lineage.retired.iter().all(|r| r.id.0 != 0 && is_name(&r.name))
        && lineage.ancestry.len() <= ANCESTRY_MAX
}

/// Whether a node may be called that.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX
}

/// Protects from datagrams that are repeated or overtaken: the sequence of each life only grows.
#[derive(Debug, Default)]
pub struct Replays {
    /// Name → (incarnation, highest sequence), the latest life first.
    lives: BTreeMap<String, Vec<(u32, u64)>>,
}

impl Replays {
    /// Whether this heartbeat is new, and remembers it.
    ///
    /// # Errors
    /// [`Dropped::Replayed`] if it is not, or if there are too many senders to keep count of.
    pub fn admit(&mut self, heartbeat: &Heartbeat) -> Result<(), Dropped> {
        let sender = &heartbeat.sender;
        if !self.lives.contains_key(&sender.name) && self.lives.len() >= 2 * PEERS_MAX {
            // Names are authenticated: only a fleet that was renamed over and over gets here. Echoes protect the forgotten.
            self.lives.pop_first();
        }
        let lives = self.lives.entry(sender.name.clone()).or_default();
        match lives
            .iter_mut()
            .find(|(incarnation, _)| *incarnation == sender.incarnation)
        {
            Some((_, highest)) if heartbeat.sequence <= *highest => return Err(Dropped::Replayed),
            Some((_, highest)) => *highest = heartbeat.sequence,
            None => lives.insert(0, (sender.incarnation, heartbeat.sequence)),
        }
        lives.truncate(LIVES_MAX);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rand::rngs::StdRng;
    use rand::{Rng, RngExt, SeedableRng};

    use super::*;
    use crate::cluster::message::{Echo, Life, Profile, Standing, State};
    use crate::view::{Fingerprint, Served, SetId, VIPS_ADVERTISED_MAX};

    fn heartbeat() -> Heartbeat {
        let sender = Profile {
            name: "gw-1".into(),
            listen: "10.0.0.1:7946".parse().unwrap(),
            address: Some([10, 0, 0, 1].into()),
            address_v6: None,
            weight: 1,
            state: State::Ready,
            standing: Standing::Newcomer,
            incarnation: 7,
            serves: Served::These(vec![Fingerprint(1), Fingerprint(5)]),
        };
        let lineage = Lineage::next(&Lineage::origin([3, 4]), &[&sender], 1);
        Heartbeat {
            sequence: 1,
            echo: Some(Echo {
                incarnation: 3,
                sequence: 9,
            }),
            peers: vec!["[fd00::1]:7946".parse().unwrap()],
            live: vec![sender.life()],
            number_seen: 1,
            number: 1,
            digest: Some(lineage.digest()),
            lineage: Some(lineage),
            sender,
        }
    }

    fn wire(key: u8) -> Wire {
        Wire::new(&ClusterKey([key; 32]))
    }

    #[test]
    fn sealed_heartbeat_opens_with_its_key_only() {
        let datagram = wire(1).seal(&heartbeat(), [9; 24]).unwrap();
        assert_eq!(wire(1).open(&datagram), Ok(heartbeat()));
        assert_eq!(wire(2).open(&datagram), Err(Dropped::BadKey));
        let plain = postcard::to_allocvec(&heartbeat()).unwrap();
        assert!(
            !datagram.windows(4).any(|window| window == b"gw-1"),
            "it is encrypted: {}",
            plain.len()
        );
    }

    #[test]
    fn each_fault_has_its_reason() {
        let good = wire(1).seal(&heartbeat(), [9; 24]).unwrap();
        let changed = |at: usize| {
            let mut datagram = good.clone();
            datagram[at] ^= 1;
            datagram
        };
        let rows: [(&str, Vec<u8>, Dropped); 8] = [
            ("empty", vec![], Dropped::BadLength),
            (
                "shorter than header, nonce and tag",
                good[..44].to_vec(),
                Dropped::BadLength,
            ),
            (
                "larger than any",
                vec![0; DATAGRAM_BYTES_MAX + 1],
                Dropped::BadLength,
            ),
            ("another protocol", changed(0), Dropped::BadMagic),
            ("another version", changed(4), Dropped::BadVersion),
            ("nonce changed", changed(5), Dropped::BadKey),
            ("ciphertext changed", changed(40), Dropped::BadKey),
            ("cut short", good[..good.len() - 1].to_vec(), Dropped::BadKey),
        ];
        for (what, datagram, reason) in rows {
            assert_eq!(wire(1).open(&datagram), Err(reason), "{what}");
        }
    }

    #[test]
    fn version_is_authenticated() {
        let plain = postcard::to_allocvec(&heartbeat()).unwrap();
        let other = Payload {
            msg: &plain,
            aad: b"GWHB\x04",
        };
        let sealed = wire(1).cipher.encrypt(&XNonce::from([9; 24]), other).unwrap();
        let datagram = [b"GWHB\x03".as_slice(), &[9; 24], &sealed].concat();
        assert_eq!(wire(1).open(&datagram), Err(Dropped::BadKey));
    }

    #[test]
    fn authentic_nonsense_is_malformed() {
        let mut rows: Vec<(&str, Heartbeat)> = Vec::new();
        let mut row = |what, change: fn(&mut Heartbeat)| {
            let mut changed = heartbeat();
            change(&mut changed);
            rows.push((what, changed));
        };
        row("no name", |h| h.sender.name.clear());
        row("long name", |h| h.sender.name = "n".repeat(64));
        row("no port", |h| h.sender.listen.set_port(0));
        row("no address", |h| h.sender.listen = "0.0.0.0:1".parse().unwrap());
        row("too much gossip", |h| {
            h.peers = vec![h.sender.listen; GOSSIP_MAX + 1]
        });
        row("unsorted VIPs", |h| {
            h.sender.serves = Served::These(vec![Fingerprint(2), Fingerprint(1)])
        });
        row("a VIP twice", |h| {
            h.sender.serves = Served::These(vec![Fingerprint(2); 2])
        });
        row("too many VIPs", |h| {
            let many = (0..=VIPS_ADVERTISED_MAX as u32).map(Fingerprint);
            h.sender.serves = Served::These(many.collect())
        });
        row("a set that the view does not have", |h| {
            let lineage = h.lineage.as_mut().unwrap();
            lineage.view.members[0].serves = SetId(9);
            h.digest = Some(lineage.digest())
        });
        row("sets in disorder", |h| {
            let lineage = h.lineage.as_mut().unwrap();
            lineage.view.sets.push(vec![Fingerprint(0)]);
            h.digest = Some(lineage.digest())
        });
        row("too many lives", |h| h.live = vec![Life(1); PEERS_MAX + 2]);
        row("endless number", |h| h.number_seen = u64::MAX);
        row("digest of another view", |h| h.digest = None);
        row("view of another number", |h| {
            h.lineage.as_mut().unwrap().view.number = 0
        });
        for (what, heartbeat) in rows {
            let datagram = wire(1).seal(&heartbeat, [1; 24]).unwrap();
            assert_eq!(wire(1).open(&datagram), Err(Dropped::Malformed), "{what}");
        }
    }

    #[test]
    fn replays_are_refused_but_new_lives_are_not() {
        let mut replays = Replays::default();
        let at = |incarnation, sequence| {
            let mut heartbeat = heartbeat();
            heartbeat.sender.incarnation = incarnation;
            heartbeat.sequence = sequence;
            heartbeat
        };
        let rows = [
            (7, 5, Ok(())),
            (7, 5, Err(Dropped::Replayed)),
            (7, 4, Err(Dropped::Replayed)),
            (7, 6, Ok(())),
            (8, 1, Ok(())),
            (7, 6, Err(Dropped::Replayed)),
            (8, 2, Ok(())),
        ];
        for (incarnation, sequence, expected) in rows {
            assert_eq!(
                replays.admit(&at(incarnation, sequence)),
                expected,
                "{incarnation} {sequence}"
            );
        }
    }

    #[test]
    fn largest_heartbeat_fits() {
        let profile = |i: usize| Profile {
            name: format!("{i:063}"),
            listen: "[fd00:1111:2222:3333:4444:5555:6666:7777]:65535".parse().unwrap(),
            address: Some([255; 4].into()),
            address_v6: Some([255; 16].into()),
            weight: u32::MAX,
            state: State::Ready,
            standing: Standing::Newcomer,
            incarnation: u32::MAX,
            // Four sets, as large as they may be.
            serves: Served::These(
                (0..VIPS_ADVERTISED_MAX)
                    .map(|vip| Fingerprint(u32::MAX - ((VIPS_ADVERTISED_MAX - vip) * 4 + i % 4) as u32))
                    .collect(),
            ),
        };
        let mut lineage = Lineage::origin([u64::MAX; 2]);
        for round in 0..20 {
            let profiles: Vec<Profile> = (0..MEMBERS_MAX)
                .map(|i| profile(i + round * MEMBERS_MAX))
                .collect();
            lineage = Lineage::next(&lineage, &profiles.iter().collect::<Vec<_>>(), NUMBER_MAX);
        }
        assert_eq!(lineage.retired.len(), RETIRED_MAX);
        let heartbeat = Heartbeat {
            sender: profile(0),
            sequence: u64::MAX,
            echo: Some(Echo {
                incarnation: u32::MAX,
                sequence: u64::MAX,
            }),
            peers: vec![profile(0).listen; GOSSIP_MAX],
            live: vec![Life(u64::MAX); PEERS_MAX + 1],
            number_seen: NUMBER_MAX,
            number: NUMBER_MAX,
            digest: Some(lineage.digest()),
            lineage: Some(lineage),
        };
        let datagram = wire(1).seal(&heartbeat, [1; 24]).unwrap();
        assert!(
            datagram.len() > 32_000,
            "the bound is no wider than needed: {}",
            datagram.len()
        );
        assert_eq!(wire(1).open(&datagram), Ok(heartbeat));
    }

    #[test]
    fn ten_nodes_fit_one_frame() {
        let profile = |i: u8| Profile {
            name: format!("gateway-{i:03}"),
            listen: SocketAddr::from(([10, 0, 0, i], 7946)),
            address: Some([10, 0, 0, i].into()),
            address_v6: Some([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, i].into()),
            weight: 100,
            state: State::Ready,
            standing: Standing::Newcomer,
            incarnation: u32::MAX,
            serves: Served::These((0..8).map(Fingerprint).collect()),
        };
        let mut lineage = Lineage::origin([u64::MAX; 2]);
        for nodes in 1..=10 {
            let profiles: Vec<Profile> = (1..=nodes).map(profile).collect();
            lineage = Lineage::next(&lineage, &profiles.iter().collect::<Vec<_>>(), 1_000_000);
        }
        let heartbeat = Heartbeat {
            peers: (1..10).map(|i| profile(i).listen).collect(),
            live: (1..=10).map(|i| profile(i).life()).collect(),
            digest: Some(lineage.digest()),
            number_seen: 1_000_000,
            number: 1_000_000,
            lineage: Some(lineage),
            ..heartbeat()
        };
        let length = wire(1).seal(&heartbeat, [1; 24]).unwrap().len();
        assert!(length <= 1_400, "{length} bytes");
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut rng = StdRng::seed_from_u64(1);
        let wire = wire(1);
        let good = postcard::to_allocvec(&heartbeat()).unwrap();
        for round in 0..20_000 {
            let mut bytes = vec![0; rng.random_range(0..300)];
            rng.fill_bytes(&mut bytes);
            assert!(wire.open(&bytes).is_err());
            // Behind the lock: authentic bytes that are random, or a heartbeat with some bytes changed or cut off.
            let mut plain = if round % 2 == 0 { bytes } else { good.clone() };
            for _ in 0..rng.random_range(1..4) {
                let len = plain.len().max(1);
                if let Some(byte) = plain.get_mut(rng.random_range(0..len)) {
                    *byte = rng.random();
                }
            }
            plain.truncate(rng.random_range(0..=plain.len()));
            let payload = Payload {
                msg: &plain,
                aad: b"GWHB\x03",
            };
            let sealed = wire.cipher.encrypt(&XNonce::from([9; 24]), payload).unwrap();
            if let Err(reason) = wire.open(&[b"GWHB\x03".as_slice(), &[9; 24], &sealed].concat()) {
                assert_eq!(reason, Dropped::Malformed);
            }
        }
    }
}
