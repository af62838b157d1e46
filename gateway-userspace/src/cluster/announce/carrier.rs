//! A link that was down: whoever was cut off believes in views of its own until it hears the others again, and must not
//! claim an address before that.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use socket2::Socket;

/// How long after its link came back a node says nothing, unless a new view or configuration says what it holds.
///
/// The others are heard within one heartbeat (100 ms), and a fork of views ends within a few.
pub const QUIET: Duration = Duration::from_secs(1);

/// Whether this node may claim addresses on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// It may.
    Speaks,
    /// Not now.
    Silent,
}

/// Follows the carrier of one link. Pure: time and what was seen come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// It is there, and was for long enough.
    #[default]
    Steady,
    /// There is none.
    Lost,
    /// It came back at that time, while the update of that number was in force.
    Back(Instant, u64),
}

impl Carrier {
    /// Takes what was seen of the link while the update of that number is in force.
    pub fn step(&mut self, is_up: bool, update: u64, now: Instant) -> Voice {
        *self = match *self {
            _ if !is_up => Self::Lost,
            Self::Lost => Self::Back(now, update),
            Self::Back(since, before) if update != before || now.duration_since(since) >= QUIET => {
                Self::Steady
            }
            other => other,
        };
        if *self == Self::Steady {
            Voice::Speaks
        } else {
            Voice::Silent
        }
    }
}

/// Whether the kernel says that an interface has carrier (`IFF_RUNNING`, netdevice(7)).
///
/// # Errors
/// The interface is gone.
pub fn is_up(socket: &Socket, interface: &str) -> io::Result<bool> {
    // SAFETY: all zeroes are a valid `ifreq`: bytes and integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = interface.bytes().take(request.ifr_name.len() - 1);
    for (place, byte) in request.ifr_name.iter_mut().zip(name) {
        *place = byte.cast_signed();
    }
    // SAFETY: `request` is an `ifreq` that outlives the call, with a name that ends in a zero.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFFLAGS filled in the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(libc::c_int::from(flags) & libc::IFF_RUNNING != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_that_came_back_is_silent_until_an_update_or_for_a_second() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut carrier = Carrier::default();
        assert_eq!(carrier.step(true, 1, at(0)), Voice::Speaks);
        assert_eq!(carrier.step(false, 1, at(10)), Voice::Silent);
        // A view that was made alone, while the link was down, is no reason to speak.
        assert_eq!(carrier.step(false, 2, at(20)), Voice::Silent);
        assert_eq!(carrier.step(true, 2, at(30)), Voice::Silent);
        assert_eq!(carrier.step(true, 2, at(1_029)), Voice::Silent);
        assert_eq!(
            carrier.step(true, 3, at(1_029)),
            Voice::Speaks,
            "the others' view"
        );
        assert_eq!(carrier.step(false, 3, at(1_040)), Voice::Silent);
        assert_eq!(carrier.step(true, 3, at(1_050)), Voice::Silent);
        assert_eq!(
            carrier.step(true, 3, at(2_050)),
            Voice::Speaks,
            "nobody says otherwise"
        );
    }
}
