//! What an interface's driver is called, and which offloads are on.
//!
//! By the ioctl: it needs no crate, and every kernel has it. Source: include/uapi/linux/ethtool.h.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const GET_DRIVER: u32 = 0x03;
const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
/// `ETH_SS_FEATURES`: the set of the names of offloads.
const FEATURES: u32 = 4;
/// `ETH_GSTRING_LEN`.
const NAME_BYTES: usize = 32;
/// Offloads at most; there are some 60.
const FEATURES_MAX: usize = 1_024;
/// Words of `struct ethtool_drvinfo`.
const DRIVER_WORDS: usize = 49;

/// Asks about interfaces of this thread's namespace.
#[derive(Debug)]
pub(super) struct Ethtool(OwnedFd);

impl Ethtool {
    /// A socket to ask by.
    pub(super) fn open() -> Option<Self> {
        socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .ok()
        .map(Self)
    }

    /// The name of the driver.
    pub(super) fn driver(&self, interface: &str) -> Option<String> {
        let mut words = vec![0; DRIVER_WORDS];
        words[0] = GET_DRIVER;
        self.ask(interface, &mut words)?;
        Some(text(words.get(1..9)?)).filter(|name| !name.is_empty())
    }

    /// The names of all offloads that are on.
    pub(super) fn features(&self, interface: &str) -> Option<Vec<String>> {
        // Command, nothing, a mask of 64 bits of one set, and its length.
        let mut info = [GET_SET_INFO, 0, 1 << FEATURES, 0, 0];
        self.ask(interface, &mut info)?;
        let count = usize::try_from(info[4])
            .ok()
            .filter(|count| (1..=FEATURES_MAX).contains(count))?;
        let mut names = vec![0; 3 + count * NAME_BYTES / 4];
        names[..3].copy_from_slice(&[GET_STRINGS, FEATURES, info[4]]);
        self.ask(interface, &mut names)?;
        let blocks = count.div_ceil(32);
        // Of each 32: available, requested, active, never changed.
        let mut bits = vec![0; 2 + blocks * 4];
        bits[..2].copy_from_slice(&[GET_FEATURES, blocks as u32]);
        self.ask(interface, &mut bits)?;
        let names = names.get(3..)?.chunks_exact(NAME_BYTES / 4);
        let is_on = |index: usize| {
            let active = bits.get(2 + index / 32 * 4 + 2);
            active.is_some_and(|word| word >> (index % 32) & 1 == 1)
        };
        let on = names.enumerate().filter(|(index, _)| is_on(*index));
        Some(on.map(|(_, name)| text(name)).collect())
    }

    /// One question; the answer is written over it.
    fn ask(&self, interface: &str, words: &mut [u32]) -> Option<()> {
        let mut request = libc::ifreq {
            ifr_name: [0; libc::IFNAMSIZ],
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 },
        };
        // The last byte stays 0: the name is a C string.
        let name = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
        for (to, from) in name.zip(interface.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        // SAFETY: the request and the words that it points at live through the call, and the words are as many as the
        // command in the first of them, with the lengths beside it, makes the kernel write.
        let answered = unsafe { libc::ioctl(self.0.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        (answered == 0).then_some(())
    }
}

/// A C string in words of memory.
fn text(words: &[u32]) -> String {
    let bytes: Vec<u8> = words
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_has_offloads_and_nothing_has_none() {
        let ethtool = Ethtool::open().unwrap();
        let features = ethtool.features("lo").unwrap();
        // No kernel lets it be switched off.
        assert!(features.iter().any(|name| name == "loopback"), "{features:?}");
        assert_eq!(ethtool.features("no-such-one"), None);
        assert_eq!(ethtool.driver("no-such-one"), None);
    }
}
