//! `body_limit`: a smaller bound of requests' bodies than that of their route.
//!
//! Bodies pass by filters: who leads the request through them sees to it that the bound is kept, with the head by its
//! Content-Length, and while the body comes.

use super::{Asked, Step};

/// `body_limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit {
    /// At most.
    pub bytes: u64,
}

impl BodyLimit {
    /// Lowers the bound; never raises what another filter said.
    pub fn request(&self, asked: &mut Asked<'_>) -> Step {
        let bytes = asked.body_bytes_max.map_or(self.bytes, |max| max.min(self.bytes));
        asked.body_bytes_max = Some(bytes);
        Step::Next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::asked;

    #[test]
    fn the_smallest_bound_holds() {
        let mut head = http::Request::new(()).into_parts().0;
        let mut asked = asked(&mut head, "192.0.2.1");
        for (bytes, expected) in [(10, 10), (20, 10), (0, 0)] {
            assert_eq!(BodyLimit { bytes }.request(&mut asked), Step::Next);
            assert_eq!(asked.body_bytes_max, Some(expected));
        }
    }
}
