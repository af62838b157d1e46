//! Request ids of our own, for requests that came without one.

use std::cell::Cell;

use http::HeaderValue;

/// Makes request ids that no other worker and no other life of the program makes: 8 hexadecimal digits of chance,
/// 4 of the worker, 12 of a counter.
pub(super) struct RequestIds {
    prefix: u64,
    last: Cell<u64>,
}

impl RequestIds {
    pub(super) fn new(worker: usize) -> Self {
        let worker = u64::try_from(worker & 0xffff).unwrap_or(0);
        Self {
            prefix: u64::from(rand::random::<u32>()) << 16 | worker,
            last: Cell::new(0),
        }
    }

    /// The next one.
    pub(super) fn next(&self) -> HeaderValue {
        let counter = self.last.get().wrapping_add(1);
        self.last.set(counter);
        let mut text = [0; 24];
        let (prefix, count) = text.split_at_mut(12);
        write_hex(prefix, self.prefix);
        write_hex(count, counter);
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

/// The lowest digits, as many as there is room for.
fn write_hex(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = match u8::try_from(value & 15) {
            Ok(low @ 0..=9) => b'0' + low,
            Ok(low) => b'a' + low - 10,
            Err(_) => b'0',
        };
        value >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn request_ids_differ_among_workers_and_requests() {
        let workers = [RequestIds::new(0), RequestIds::new(1)];
        let ids: HashSet<_> = (0..200).map(|i| workers[i % 2].next()).collect();
        assert_eq!(ids.len(), 200);
        assert!(ids.iter().all(|id| id.len() == 24));
    }
}
