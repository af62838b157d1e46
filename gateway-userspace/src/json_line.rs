//! A line of JSON: what streams of the admin API are made of.

use serde::Serialize;

/// The line of a value. One that cannot be written is left out, and said in the log: of our own types, none is.
pub fn json_line<T: Serialize>(of: &T) -> Vec<u8> {
    match serde_json::to_vec(of) {
        Ok(mut text) => {
            text.push(b'\n');
            text
        }
        Err(error) => {
            let what = std::any::type_name::<T>();
            tracing::error!(%error, what, "a line cannot be written as JSON");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_line_and_what_is_none_of_json_is_nothing() {
        assert_eq!(json_line(&[1, 2]), b"[1,2]\n");
        let keys_are_no_texts = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert_eq!(json_line(&keys_are_no_texts), b"");
    }
}
