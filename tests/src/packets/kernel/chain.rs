//! Tiny programs of an operator in the slots before and after the gateway's, as an assembler would write them.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use aya::maps::Map;
use gateway_common::abi;
use nix::errno::Errno;

use super::super::cases::Case;
use super::Kernel;

const MAP_UPDATE_ELEM: libc::c_int = 2;
const MAP_DELETE_ELEM: libc::c_int = 3;
const PROG_LOAD: libc::c_int = 5;
/// `BPF_PROG_TYPE_XDP`, and `BPF_XDP`: how it will be attached, which programs of a chain have in common (Linux 6.18).
const TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;

/// What it writes into the first byte of the source address.
pub const MARK: u8 = 0x5e;
const MARK_AT: i16 = 6;

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiny {
    /// Marks the frame, and goes on where the gateway's program is.
    MarksAndGoesOn,
    /// Marks the frame, and passes it.
    MarksAndPasses,
    /// Drops it.
    Drops,
}

/// The attributes of `BPF_PROG_LOAD` up to the last that is needed.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u32; 4],
    version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach: u32,
}

/// The attributes of the commands on one element.
#[repr(C)]
struct Element {
    map: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Kernel {
    /// Puts a program into a slot of the chain; `None`: takes out what is there, if anything.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn plug(&mut self, slot: u32, tiny: Option<Tiny>) -> Result<()> {
        let Some(Map::ProgramArray(chain)) = self.object.map(abi::CHAIN) else {
            anyhow::bail!("no chain");
        };
        let chain = chain.fd().as_fd().as_raw_fd();
        let program = tiny.map(|tiny| load(tiny, chain)).transpose()?;
        let value = program.as_ref().map_or(0, |program| program.as_raw_fd() as u32);
        let mut element = Element {
            map: chain as u32,
            zero: 0,
            key: std::ptr::from_ref(&slot) as u64,
            // The kernel wants nothing but a key where there is nothing to be put.
            value: program.as_ref().map_or(0, |_| std::ptr::from_ref(&value) as u64),
            flags: 0,
        };
        let command = match program {
            Some(_) => MAP_UPDATE_ELEM,
            None => MAP_DELETE_ELEM,
        };
        match call(command, &mut element) {
            Err(Errno::ENOENT) => Ok(()),
            done => done
                .map(drop)
                .with_context(|| format!("slot {slot} of the chain")),
        }
    }

    /// What the programs do to the case's frame: an XDP action, and the frame after.
    ///
    /// # Errors
    /// A map cannot be written, or the program not be run.
    pub fn act(&mut self, case: &Case) -> Result<(u32, Vec<u8>)> {
        self.prepare(case)?;
        self.run_once(case)
    }
}

fn load(tiny: Tiny, chain: i32) -> Result<OwnedFd> {
    let instruction = |code: u8, to: u8, from: u8, offset: i16, value: i32| {
        let registers = u64::from(from << 4 | to) << 8;
        let offset = u64::from(offset as u16) << 16;
        u64::from(code) | registers | offset | u64::from(value as u32) << 32
    };
    let (exit, drop, pass) = (instruction(0x95, 0, 0, 0, 0), 1, 2);
    let set = |register, value| instruction(0xb7, register, 0, 0, value);
    let mark = [
        // r2 = data; r3 = data_end
        instruction(0x61, 2, 1, 0, 0),
        instruction(0x61, 3, 1, 4, 0),
        // if r2 + 14 > r3, skip the next one
        instruction(0xbf, 4, 2, 0, 0),
        instruction(0x07, 4, 0, 0, 14),
        instruction(0x2d, 4, 3, 1, 0),
        instruction(0x72, 2, 0, MARK_AT, i32::from(MARK)),
    ];
    let go_on = [
        // r2 = the chain, which takes two words; r3 = the slot; bpf_tail_call(r1, r2, r3)
        instruction(0x18, 2, 1, 0, chain),
        0,
        set(3, abi::STEER as i32),
        instruction(0x85, 0, 0, 0, 12),
    ];
    let instructions = match tiny {
        Tiny::Drops => vec![set(0, drop), exit],
        Tiny::MarksAndPasses => [mark.as_slice(), &[set(0, pass), exit]].concat(),
        // It does not come back: if it did, the frame would be dropped.
        Tiny::MarksAndGoesOn => [mark.as_slice(), &go_on, &[set(0, drop), exit]].concat(),
    };
    let mut load = Load {
        kind: TYPE_XDP,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        attach: ATTACH_XDP,
        ..Load::default()
    };
    let descriptor = call(PROG_LOAD, &mut load).with_context(|| format!("load {tiny:?}"))?;
    // SAFETY: the kernel gave it to this call alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn call<T>(command: libc::c_int, attributes: &mut T) -> nix::Result<i32> {
    let at = std::ptr::from_mut(attributes);
    // SAFETY: the attributes are as the command wants them, and live through the call, as what they point at does.
    let given = unsafe { libc::syscall(libc::SYS_bpf, command, at, size_of::<T>()) };
    Errno::result(given).map(|given| given as i32)
}
