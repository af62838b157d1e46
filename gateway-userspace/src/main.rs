//! The `gateway` program: the daemon, and the client that talks to it.

mod cli;

use std::process::ExitCode;

/// Requests allocate and free small things on every core at once, which glibc's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
