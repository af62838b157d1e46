//! Headers of the PROXY protocol: what is read does not hang on how it comes, and what is read can be written again.

#![no_main]

use gateway_fuzz::gateway::proxy_protocol::{self, HEADER_BYTES_MAX, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let whole = proxy_protocol::read(input);
    let mut known = None;
    for cut in 0..=input.len().min(HEADER_BYTES_MAX) {
        let read = proxy_protocol::read(&input[..cut]);
        match known {
            None if read != Ok(None) => known = Some(read),
            None => {}
            // What was said of a part holds for all that goes on so, but that a fault may turn out to be another.
            Some(Ok(header)) => assert_eq!(read, Ok(header), "cut at {cut}"),
            Some(Err(_)) => assert!(read.is_err(), "cut at {cut}: {read:?}"),
        }
    }
    match whole {
        Ok(Some(header)) => {
            assert!(header.bytes <= input.len().min(HEADER_BYTES_MAX));
            assert_eq!(known, Some(whole), "it is known as soon as it is whole");
            assert_eq!(proxy_protocol::read(&input[..header.bytes - 1]), Ok(None));
            for version in [Version::V1, Version::V2] {
                let written = proxy_protocol::header(version, header.ends);
                let again = proxy_protocol::read(&written).expect("what is written is read");
                let again = again.expect("and whole");
                assert_eq!(again.bytes, written.len());
                let plain = |ends: proxy_protocol::Ends| {
                    [ends.client, ends.server].map(|end| (end.ip().to_canonical(), end.port()))
                };
                assert_eq!(again.ends.map(plain), header.ends.map(plain));
            }
        }
        Ok(None) => assert!(input.len() < HEADER_BYTES_MAX, "it waits for more than may come"),
        Err(_) => {}
    }
});
