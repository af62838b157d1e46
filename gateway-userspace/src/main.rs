//! The `gateway` program: the daemon, and the client that talks to it.

mod allocator;
mod cli;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    cli::main()
}
