//! A client's first message of TLS: the name that is read does not hang on how the bytes come.
//!
//! An input's first byte says how to cut the rest (`0`: not at all).

#![no_main]

use gateway_fuzz::gateway::l7::client_hello::{HELLO_BYTES_MAX, Reader};
use gateway_fuzz::socket::Splits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((way, bytes)) = input.split_first() else {
        return;
    };
    let whole = Reader::default().feed(bytes);
    let mut splits = Splits::new(way.wrapping_sub(b'0'));
    let mut reader = Reader::default();
    let mut in_pieces = Ok(None);
    let mut rest = bytes;
    while !rest.is_empty() && in_pieces == Ok(None) {
        let (piece, behind) = rest.split_at(splits.next_len().clamp(1, rest.len()));
        in_pieces = reader.feed(piece);
        rest = behind;
    }
    assert_eq!(whole, in_pieces, "it hangs on the splits");
    match whole {
        Ok(Some(hello)) => {
            let is_plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
            if let Some(name) = hello.name {
                assert!(
                    !name.is_empty() && name.len() <= 253 && name.bytes().all(is_plain),
                    "{name:?}"
                );
            }
        }
        Ok(None) => assert!(bytes.len() <= HELLO_BYTES_MAX, "it waits for more than may come"),
        Err(_) => {}
    }
});
