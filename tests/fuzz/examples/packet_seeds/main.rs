//! Writes the seeds of `decide` and `encapsulation`: `cargo run --example packet_seeds`, in this folder.

mod decide;
mod encapsulation;
mod world;

use std::path::Path;
use std::{fs, io};

const GUE: u8 = 0;
const IPIP: u8 = 1;
const L2: u8 = 2;

fn main() -> io::Result<()> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for folder in ["decide", "encapsulation"] {
        fs::create_dir_all(seeds.join(folder))?;
    }
    for (name, bytes) in decide::seeds() {
        fs::write(seeds.join("decide").join(name), bytes)?;
    }
    for (name, bytes) in encapsulation::seeds() {
        fs::write(seeds.join("encapsulation").join(name), bytes)?;
    }
    Ok(())
}
