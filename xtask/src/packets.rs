//! `packets`: a table of packets through the kernel program, written by whoever likes.
//!
//! Reading, running and comparing are `gateway-packets`'s, in the package `gateway-tests`; here is only what it needs.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::run::become_program;
use crate::{demo, ebpf, privilege, workspace};

/// Exit code where no packet was sent; 1 is kept for packets that did not come out as expected.
pub const NOT_RUN: u8 = 2;

/// Gets and builds what is missing, then becomes `gateway-packets ARGS`.
///
/// # Errors
/// Without root, or when a build fails; else it does not return.
pub fn packets(root: &Path, arguments: &[String]) -> Result<()> {
    privilege::require_root("packets", "it loads a kernel program")?;
    ebpf::build(root, ebpf::Way::Auto)?;
    demo::build_binaries(root)?;
    become_program(Command::new(workspace::host_binary(root, "gateway-packets")).args(arguments))
}
