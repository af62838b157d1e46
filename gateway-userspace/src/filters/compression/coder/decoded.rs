//! Bodies as clients read them, for tests.

use std::io;

/// The body that a coded one came from.
pub(crate) fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut plain = Vec::new();
    reader(coding, bytes).read_to_end(&mut plain).unwrap();
    plain
}

/// As much of it as a client can read that has so much.
pub(crate) fn decoded_so_far(coding: &str, bytes: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut plain = Vec::new();
    let mut reader = reader(coding, bytes);
    let mut buffer = [0; 4_096];
    while let Ok(read @ 1..) = reader.read(&mut buffer) {
        plain.extend_from_slice(&buffer[..read]);
    }
    plain
}

fn reader<'b>(coding: &str, bytes: &'b [u8]) -> Box<dyn io::Read + 'b> {
    match coding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(bytes)),
        "br" => Box::new(brotli::Decompressor::new(bytes, 4_096)),
        "zstd" => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        other => panic!("{other}"),
    }
}
