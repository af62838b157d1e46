//! The kernel program; for the host only this stub exists, so that plain `cargo build` and `clippy` pass there.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("gateway-ebpf is a kernel program: build it with `cargo xtask build-ebpf`");
    std::process::exit(1);
}
