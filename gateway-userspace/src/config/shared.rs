//! Values that many routes have in common are kept once: of 10,000 routes few say anything of their own about time-outs.

use std::sync::Arc;

/// Different values that are known at most; further ones are shared by nobody.
const KNOWN_MAX: usize = 32;

/// What was kept so far.
#[derive(Debug)]
pub struct Shared<T>(Vec<Arc<T>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Shared<T> {
    /// The value, as one that is equal has it already.
    pub fn of(&mut self, value: T) -> Arc<T> {
        if let Some(known) = self.0.iter().find(|known| ***known == value) {
            return Arc::clone(known);
        }
        let value = Arc::new(value);
        if self.0.len() < KNOWN_MAX {
            self.0.push(Arc::clone(&value));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_the_number_of_known_ones_is_bounded() {
        let mut shared = Shared::default();
        let (first, second) = (shared.of(1), shared.of(2));
        assert!(Arc::ptr_eq(&first, &shared.of(1)) && Arc::ptr_eq(&second, &shared.of(2)));
        for value in 0..1_000 {
            assert_eq!(*shared.of(value), value);
        }
        assert_eq!(shared.0.len(), KNOWN_MAX);
    }
}
