//! Work that may wait: reading and compiling a large configuration takes some tenths of a second of one processor, which
//! no request should wait for.
//!
//! Such work has a thread of its own that the kernel runs only where nothing else wants the processor (`SCHED_IDLE`): an
//! ordinary thread would hold it for a slice of some 3 ms each time, with a worker waiting behind it. A machine that is
//! never idle would keep a change waiting for ever, so that the thread becomes an ordinary one after [`PATIENCE`].

use std::io;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::allocator;

/// How long work waits for idle processors.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// Does the work on a thread of its own, at the lowest priority.
///
/// # Errors
/// There is no thread to be had, or the work panicked.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    let (done, result) = oneshot::channel();
    thread::Builder::new()
        .name("gw-background".to_owned())
        .spawn(move || {
            let thread = nix::unistd::gettid();
            // Who asked may have gone away; the work is done all the same.
            let _is_awaited = tell.send(thread).is_ok();
            // Without the right to it, the work is done as any other.
            let _is_idle = schedule(thread, libc::SCHED_IDLE).is_ok();
            let value = work();
            // What this thread has freed is its own to give.
            allocator::give_back();
            let _is_awaited = done.send(value).is_ok();
        })?;
    let ended = |_| io::Error::other("the work in the background panicked");
    let thread = told.await.map_err(ended)?;
    let mut result = result;
    match timeout(PATIENCE, &mut result).await {
        Ok(value) => value.map_err(ended),
        Err(_) => {
            // It may end at this moment, which is no fault: numbers of threads are not used again so soon.
            let _is_ordinary = schedule(thread, libc::SCHED_OTHER).is_ok();
            result.await.map_err(ended)
        }
    }
}

/// Gives a thread of this process another policy.
fn schedule(thread: nix::unistd::Pid, policy: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` is valid for the call.
    let refused = unsafe { libc::sched_setscheduler(thread.as_raw(), policy, &parameters) } != 0;
    if refused {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The policy of this thread.
    fn policy() -> i32 {
        // SAFETY: 0 is the calling thread.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[tokio::test]
    async fn work_has_the_lowest_priority_and_the_usual_one_once_it_has_waited_long_enough() {
        let before = policy();
        let policies = run(|| {
            let first = policy();
            let begun = std::time::Instant::now();
            while policy() == first && begun.elapsed() < 40 * PATIENCE {
                thread::sleep(PATIENCE / 10);
            }
            (first, policy(), begun.elapsed() >= PATIENCE / 2)
        });
        let (first, then, waited) = policies.await.unwrap();
        assert_eq!((first, then), (libc::SCHED_IDLE, libc::SCHED_OTHER));
        assert!(waited);
        assert_eq!(policy(), before);
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let result = run(|| -> u32 { panic!("as told") }).await;
        assert!(result.unwrap_err().to_string().contains("panicked"));
    }
}
