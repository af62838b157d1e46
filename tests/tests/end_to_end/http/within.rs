//! How a test runs, and a deadline for each thing that it waits for: a test that hangs says at what.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Builder;

use crate::support::one_at_a_time;

/// What is waited for takes milliseconds; a loaded machine makes it a second.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// One test in all: a few seconds, and more where the machine is loaded.
const TEST_TIMEOUT: Duration = Duration::from_secs(100);

/// Runs a test alone, on two threads of its own: clients, servers and the gateway share two cores.
pub fn run(test: impl Future<Output = ()>) {
    run_within(TEST_TIMEOUT, test);
}

/// As [`run`], for a test that may take longer.
pub fn run_within(limit: Duration, test: impl Future<Output = ()>) {
    let _turn = one_at_a_time();
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(within_time("the test", limit, test));
    // Scripts that wait for ever are no reason to wait.
    runtime.shutdown_background();
}

/// Waits for `future`, and fails with `what` when it takes longer than [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_time(what, PATIENCE, future).await
}

/// As [`within`], for what may take longer.
pub async fn within_time<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(limit, future).await;
    assert!(ended.is_ok(), "{what}: nothing within {} s", limit.as_secs());
    ended.expect("checked above")
}
