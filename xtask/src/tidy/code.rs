//! Rust text with comments and the insides of literals blanked out, so that rules see code alone.
//!
//! Not a parser: it knows comments, strings, raw strings and characters, and keeps every line where it was.

/// The code of one file.
#[derive(Debug)]
pub struct Code {
    lines: Vec<String>,
    /// Number of lines before the module with the file's tests.
    before_tests: usize,
}

impl Code {
    /// Blanks `text`.
    pub fn new(text: &str) -> Self {
        let lines: Vec<String> = blanked(text).lines().map(Into::into).collect();
        let before_tests = tests_start(&lines).unwrap_or(lines.len());
        Self { lines, before_tests }
    }

    /// Lines with their numbers, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines
            .iter()
            .enumerate()
            .map(|(index, line)| (index + 1, line.as_str()))
    }

    /// Lines before the module with the file's tests.
    pub fn lines_before_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().take(self.before_tests)
    }

    /// How many lines stand before the tests.
    pub fn count_before_tests(&self) -> usize {
        self.before_tests
    }

    /// Names of modules that are declared for tests only, and stand in files of their own.
    pub fn test_modules(&self) -> Vec<String> {
        let items = test_items(&self.lines).filter_map(|(_, item)| item.strip_suffix(';'));
        items
            .filter_map(|item| item.split_once("mod "))
            .map(|(_, name)| name.trim().into())
            .collect()
    }

    /// All lines as one text, for what may go over several.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// The line, from 0, of `#[cfg(test)]` before a module with a body.
fn tests_start(lines: &[String]) -> Option<usize> {
    let mut modules = test_items(lines).filter(|(_, item)| item.contains("mod ") && item.ends_with('{'));
    modules.next().map(|(index, _)| index)
}

/// Each `#[cfg(test)]`, by its line from 0, with the first line of the item after it.
fn test_items(lines: &[String]) -> impl Iterator<Item = (usize, &str)> {
    let marks = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.trim().starts_with("#[cfg(test)]"));
    marks.filter_map(|(index, _)| {
        let mut after = lines.iter().skip(index + 1).map(|line| line.trim());
        Some((
            index,
            after.find(|line| !line.is_empty() && !line.starts_with("#["))?,
        ))
    })
}

fn blanked(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&letter) = letters.get(at) {
        let rest = letters.get(at..).unwrap_or_default();
        let after_word = at > 0 && letters.get(at - 1).is_some_and(|before| is_word(*before));
        let (kept, length) = match letter {
            '/' if rest.starts_with(&['/', '/']) => (0, line_length(rest)),
            '/' if rest.starts_with(&['/', '*']) => (0, comment_length(rest)),
            '"' => (1, string_length(rest)),
            'r' if !after_word && raw_string_length(rest).is_some() => {
                (1, raw_string_length(rest).unwrap_or(1))
            }
            '\'' => (1, character_length(rest).unwrap_or(1)),
            _ => (1, 1),
        };
        for (index, letter) in rest.iter().take(length).enumerate() {
            let visible = index < kept || *letter == '\n';
            out.push(if visible { *letter } else { ' ' });
        }
        at += length;
    }
    out
}

/// True for what names are made of.
pub fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn line_length(rest: &[char]) -> usize {
    rest.iter()
        .position(|letter| *letter == '\n')
        .unwrap_or(rest.len())
}

/// Length of a comment in `/* */`, which may nest.
fn comment_length(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let here = rest.get(at..).unwrap_or_default();
        if here.starts_with(&['/', '*']) {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(&['*', '/']) {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// Length of a string from its opening to its closing quote.
fn string_length(rest: &[char]) -> usize {
    let mut escaped = false;
    for (index, letter) in rest.iter().enumerate().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of a raw string that begins here, if one does.
fn raw_string_length(rest: &[char]) -> Option<usize> {
    let hashes = rest.iter().skip(1).take_while(|letter| **letter == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let mut end = vec!['"'];
    end.extend(std::iter::repeat_n('#', hashes));
    let open = 2 + hashes;
    let body = rest.get(open..)?;
    let length = body.windows(end.len()).position(|window| *window == *end);
    Some(length.map_or(rest.len(), |length| open + length + end.len()))
}

/// Length of a character literal that begins here; a lifetime is none.
fn character_length(rest: &[char]) -> Option<usize> {
    if rest.get(1) == Some(&'\\') {
        let close = rest.iter().skip(3).position(|letter| *letter == '\'')?;
        return Some(close + 4);
    }
    (rest.get(2) == Some(&'\'')).then_some(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, hidden: &[&str], visible: &[&str]) {
        let out = blanked(text);
        assert_eq!(
            out.chars().filter(|letter| *letter == '\n').count(),
            text.matches('\n').count(),
            "{text}"
        );
        for word in hidden {
            assert!(!out.contains(word), "{word} is visible in {out}");
        }
        for word in visible {
            assert!(out.contains(word), "{word} is hidden in {out}");
        }
    }

    #[test]
    fn only_code_is_visible() {
        check("a(); // hidden\nb();", &["hidden"], &["a();", "b();"]);
        check(
            "/* hidden /* nested */ hidden */ b();",
            &["hidden", "nested"],
            &["b();"],
        );
        check(r#"a("hidden \" hidden"); b();"#, &["hidden"], &["a(", "b();"]);
        check("a(r#\"hidden \" \n hidden\"#); b();", &["hidden"], &["b();"]);
        check(
            "fn f<'a>(x: &'a str) { g('\"'); h('\\''); i(); }",
            &["\""],
            &["'a str", "i();"],
        );
        check("let for_r = br\"hidden\"; var\"x\"", &["hidden"], &["for_r"]);
        check("unclosed(\"hidden", &["hidden"], &["unclosed("]);
    }

    #[test]
    fn tests_begin_at_their_module_not_at_a_test_only_item() {
        let text = "//! x\n#[cfg(test)]\nuse a::b;\nfn f() {}\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(Code::new(text).count_before_tests(), 4);
        assert_eq!(
            Code::new("//! x\n#[cfg(test)]\nmod tests;\nfn f() {}\n").count_before_tests(),
            4
        );
    }
}
