//! CRC-32C (Castagnoli), which headers of version 2 may be checked by.
//!
//! Source: RFC 3720, section B.4; the polynomial is 0x1EDC6F41, bits reflected.

/// The polynomial, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Of all these pieces, one after the other. Bit by bit: a header is short, and few have a checksum.
pub(super) fn of(pieces: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in pieces.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc >>= 1;
            if low == 1 {
                crc ^= POLYNOMIAL;
            }
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_hold() {
        let rising: Vec<u8> = (0..32).collect();
        let rows: [(&[u8], u32); 4] = [
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
            (b"123456789", 0xe306_9283),
        ];
        for (bytes, crc) in rows {
            assert_eq!(of(&[bytes]), crc, "{bytes:x?}");
            let (one, two) = bytes.split_at(5);
            assert_eq!(of(&[one, two]), crc, "in two pieces: {bytes:x?}");
        }
    }
}
