//! The same of a text in JSON, for what programs send to the admin API.
//!
//! `serde_json` says whether it is JSON; where its values stand is found by a walk over the text, which is sound by then.
//! What JSON has and TOML has not is named as a fault: `null`, and a key that stands twice.

use serde_json::{Map, Value};

use super::{Document, Foreign, Place, shortened};
use crate::config::path::KeyPath;
use crate::config::problem::{Problem, Refused, refuse};

impl Document {
    /// Reads its text, which stands at `base`.
    ///
    /// # Errors
    /// It is no JSON, or no object.
    pub(super) fn json(&mut self, base: &KeyPath) -> Result<(Value, Vec<Foreign>), Refused> {
        if let Err(error) = serde_json::from_str::<Map<String, Value>>(&self.text) {
            let line = error.line().max(1);
            let text = shortened(self.text.lines().nth(line - 1).unwrap_or_default());
            let fault = format!("column {}: {error} in `{text}`", error.column());
            return refuse(
                vec![Problem {
                    file: self.file.clone(),
                    line: Some(line),
                    path: KeyPath::default(),
                    fault,
                    remedy: "the body must be a JSON object, or TOML with Content-Type: application/toml"
                        .to_owned(),
                }],
                0,
            )
            .map(|()| (Value::Null, Vec::new()));
        }
        let text = self.text.clone();
        let mut walk = Walk {
            text: &text,
            at: 0,
            document: self,
            foreign: Vec::new(),
        };
        let value = walk.value(base);
        Ok((value, walk.foreign))
    }
}

/// A walk over sound JSON. It ends on any text, as each step goes on by a byte at least.
struct Walk<'w> {
    text: &'w str,
    at: usize,
    document: &'w mut Document,
    foreign: Vec<Foreign>,
}

impl Walk<'_> {
    fn value(&mut self, path: &KeyPath) -> Value {
        match self.next() {
            Some(b'{') => self.object(path),
            Some(b'[') => self.array(path),
            Some(b'"') => self.scalar(Self::skip_string),
            _ => {
                let value = self.scalar(Self::skip_plain);
                if !value.is_null() {
                    return value;
                }
                self.foreign.push(Foreign {
                    path: path.clone(),
                    fault: "null says nothing".to_owned(),
                    remedy: "leave the key out",
                });
                Value::String(String::new())
            }
        }
    }

    fn object(&mut self, path: &KeyPath) -> Value {
        let mut members = Map::new();
        self.at += 1;
        while self.next().is_some_and(|byte| byte != b'}') {
            let start = self.at;
            let Value::String(key) = self.scalar(Self::skip_string) else {
                break;
            };
            self.pass(b':');
            let path = path.key(&key);
            let value = self.placed(start, &path);
            if members.insert(key, value).is_some() {
                self.foreign.push(Foreign {
                    path,
                    fault: "the key stands here twice".to_owned(),
                    remedy: "remove one",
                });
            }
            self.pass(b',');
        }
        self.at += 1;
        Value::Object(members)
    }

    fn array(&mut self, path: &KeyPath) -> Value {
        let mut items = Vec::new();
        self.at += 1;
        while self.next().is_some_and(|byte| byte != b']') {
            let item = self.placed(self.at, &path.index(items.len()));
            items.push(item);
            self.pass(b',');
        }
        self.at += 1;
        Value::Array(items)
    }

    /// A value, with a note of where it stands.
    fn placed(&mut self, start: usize, path: &KeyPath) -> Value {
        self.next();
        let begin = self.at;
        let value = self.value(path);
        let place = Place {
            start,
            value: begin..self.at,
        };
        self.document.places.insert(path.clone(), place);
        value
    }

    /// What stands from here to where `skip` leads.
    fn scalar(&mut self, skip: fn(&mut Self)) -> Value {
        let start = self.at;
        skip(self);
        let text = self.text.get(start..self.at).unwrap_or_default();
        serde_json::from_str(text).unwrap_or_default()
    }

    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.byte() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return;
            }
        }
    }

    fn skip_plain(&mut self) {
        self.at += 1;
        while self
            .byte()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        {
            self.at += 1;
        }
    }

    fn pass(&mut self, byte: u8) {
        if self.next() == Some(byte) {
            self.at += 1;
        }
    }

    /// The next byte that is no blank.
    fn next(&mut self) -> Option<u8> {
        while self.byte().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
        self.byte()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Format;
    use super::*;

    fn read(text: &str) -> Result<(Document, Value, Vec<Foreign>), Refused> {
        Document::part(
            Path::new("body"),
            text,
            Format::Json,
            &KeyPath::top("route").index(0),
        )
    }

    #[test]
    fn values_are_those_of_serde_json_and_stand_at_their_lines() {
        let text = "{ \"name\": \"a \\\" } ]\\\\\",\n \"list\": [1, -2.5e3,\n {\"x\": true}, [], {}],\n\"match\":{\n\"path\" : \"/ü\"}}";
        let (document, value, foreign) = read(text).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
        assert!(foreign.is_empty());
        let base = KeyPath::top("route").index(0);
        let rows = [
            (base.key("name"), 1, "\"a \\\" } ]\\\\\""),
            (base.key("list").index(1), 2, "-2.5e3"),
            (base.key("list").index(2).key("x"), 3, "true"),
            (base.key("match").key("path"), 5, "\"/ü\""),
            (base.key("match").key("absent"), 4, ""),
        ];
        for (path, line, seen) in rows {
            assert_eq!(
                (document.line(&path), document.seen(&path).as_str()),
                (line, seen),
                "{path}"
            );
        }
    }

    #[test]
    fn what_toml_has_not_and_what_is_no_object_are_named() {
        let (_, _, foreign) = read("{\"a\": null,\n\"b\": 1, \"b\": 2}").unwrap();
        let faults: Vec<_> = foreign
            .iter()
            .map(|f| (f.path.to_string(), f.fault.as_str()))
            .collect();
        assert_eq!(
            faults,
            [
                ("route[0].a".to_owned(), "null says nothing"),
                ("route[0].b".to_owned(), "the key stands here twice")
            ]
        );
        for (text, line) in [("[]", 1), ("{\n\"a\": 1,\n}", 3), ("", 1), ("{} x", 1), ("7", 1)] {
            let refused = read(text).unwrap_err();
            assert_eq!(refused.problems()[0].line, Some(line), "{refused}");
        }
    }
}
