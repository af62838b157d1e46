//! The kernel program: glue between the packet's way in `gateway-common` and real frames, maps and sockets.
//!
//! It decides nothing: the entry points ask `forward::short`, and else `forward::decide`, and count the reason. For the host
//! only a stub exists, so that plain `cargo build`, `clippy` and `test --workspace` pass with a stable toolchain.

#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod bench;
#[cfg(target_arch = "bpf")]
mod counts;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod program;
#[cfg(target_arch = "bpf")]
mod run;
#[cfg(target_arch = "bpf")]
mod sets;
#[cfg(target_arch = "bpf")]
mod sockets;
#[cfg(target_arch = "bpf")]
mod trace;
#[cfg(target_arch = "bpf")]
mod words;

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("gateway-ebpf is a kernel program: build it with `cargo xtask build-ebpf`");
    std::process::exit(1);
}
