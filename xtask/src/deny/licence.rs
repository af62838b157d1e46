//! Licence expressions, as far as crates use them: names joined by `AND`, `OR`, `WITH` and parentheses.
//!
//! Source: SPDX specification, annex "SPDX license expressions"; `/` for `OR` is cargo's older form.

/// True when the expression can be met with licences that `known` admits. No expression is never met.
pub fn allowed(expression: &str, known: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, known };
    parser.either() && parser.words.is_empty()
}

/// A recursive descent over the words: `either := both (OR both)*`, `both := one (AND one)*`.
struct Parser<'a> {
    words: &'a [&'a str],
    known: &'a dyn Fn(&str) -> bool,
}

impl Parser<'_> {
    fn either(&mut self) -> bool {
        let mut met = self.both();
        while self.take("OR") {
            // Read to its end in any case, so that the rest is read from the right place.
            let other = self.both();
            met |= other;
        }
        met
    }

    fn both(&mut self) -> bool {
        let mut met = self.one();
        while self.take("AND") {
            let other = self.one();
            met &= other;
        }
        met
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let met = self.either();
            return self.take(")") && met;
        }
        let Some((name, rest)) = self.words.split_first() else {
            return false;
        };
        self.words = rest;
        if self.take("WITH") {
            let Some((exception, rest)) = self.words.split_first() else {
                return false;
            };
            self.words = rest;
            // An exception only adds rights: the licence alone will do.
            return (self.known)(&format!("{name} WITH {exception}")) || (self.known)(name);
        }
        (self.known)(name)
    }

    fn take(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn expressions_are_met_as_their_operators_say() {
        for (expression, met) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("", false),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0 OR MIT", true),
            ("MIT/GPL-3.0", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND ISC", true),
            ("(MIT OR ISC) AND GPL-3.0", false),
            ("GPL-3.0 OR MIT AND ISC", true),
            ("MIT WITH LLVM-exception", true),
            ("GPL-3.0 WITH LLVM-exception OR ISC", true),
            ("(MIT", false),
            ("MIT ISC", false),
        ] {
            assert_eq!(
                allowed(expression, &|id| ["MIT", "ISC"].contains(&id)),
                met,
                "{expression}"
            );
        }
    }
}
