//! Waiting for several sockets at once, in threads that have no runtime, and being woken while at it.
//!
//! The heartbeat and announcer threads stay off tokio so that nothing else can hold them up.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Wakes a thread that waits with the [`Woken`] end.
#[derive(Debug)]
pub struct Waker(UnixStream);

/// The end that is waited at.
#[derive(Debug)]
pub struct Woken(UnixStream);

/// A pair of them.
///
/// # Errors
/// If the process has no file descriptors left.
pub fn waker() -> std::io::Result<(Waker, Woken)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((Waker(ours), Woken(theirs)))
}

impl Waker {
    /// Wakes the other end, now or at its next wait.
    pub fn wake(&self) {
        match (&self.0).write(&[1]) {
            Ok(_) => {}
            // Full: it has been woken and not looked yet, which is as good.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => tracing::debug!(%error, "waking a thread that has ended"),
        }
    }
}

impl Woken {
    /// Forgets past wake-ups.
    pub fn clear(&self) {
        let mut scrap = [0; 64];
        while (&self.0).read(&mut scrap).is_ok_and(|read| read > 0) {}
    }
}

impl AsFd for Woken {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Returns when one of these can be read, or when the time is over; signals may end it early.
///
/// # Errors
/// What `poll(2)` says, interruptions aside.
pub fn readable(fds: &[BorrowedFd<'_>], time: Duration) -> std::io::Result<()> {
    let mut polled: Vec<libc::pollfd> = fds
        .iter()
        .map(|fd| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let limit = libc::timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    let count = libc::nfds_t::try_from(polled.len()).unwrap_or(0);
    // SAFETY: `polled` holds `count` initialised entries and outlives the call; `limit` too; no signal mask.
    let ready = unsafe { libc::ppoll(polled.as_mut_ptr(), count, &limit, std::ptr::null()) };
    if ready >= 0 {
        return Ok(());
    }
    match std::io::Error::last_os_error() {
        error if error.kind() == ErrorKind::Interrupted => Ok(()),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn wait_ends_when_woken_and_not_before_its_time_otherwise() {
        let (waker, woken) = waker().unwrap();
        let begin = Instant::now();
        readable(&[woken.as_fd()], Duration::from_millis(20)).unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(20));
        (0..100_000).for_each(|_| waker.wake());
        let begin = Instant::now();
        readable(&[woken.as_fd()], Duration::from_secs(60)).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(30));
        woken.clear();
        let begin = Instant::now();
        readable(&[woken.as_fd()], Duration::from_millis(20)).unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(20));
    }
}
