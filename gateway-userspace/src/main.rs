//! The `gateway` program: the daemon, and the client that talks to it.

mod cli;

use std::process::ExitCode;

use gateway::allocator::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    cli::main()
}
