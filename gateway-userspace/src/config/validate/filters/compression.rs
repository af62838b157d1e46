//! `compression`: which codings and types, and how hard.

use crate::config::given::{self, CompressionAlgorithm};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::filters::compression::{Algorithm, Compression, Types, is_never_compressed};

/// What is compressed; what cannot be read of it is left out, and reported.
pub(super) fn compression(
    given: &given::Compression,
    path: &KeyPath,
    problems: &mut Problems<'_>,
) -> Compression {
    let mut algorithms: Vec<Algorithm> = Vec::new();
    let asked = given
        .algorithms
        .as_deref()
        .unwrap_or(&limits::COMPRESSION_ALGORITHMS);
    for (index, algorithm) in asked.iter().enumerate() {
        let algorithm = Algorithm::from(*algorithm);
        if algorithms.contains(&algorithm) {
            let path = path.key("algorithms").index(index);
            problems.add(
                &path,
                format!("{} stands here twice", algorithm.name()),
                "remove one",
            );
        } else {
            algorithms.push(algorithm);
        }
    }
    let types = match &given.types {
        Some(texts) => types(texts, &path.key("types"), problems),
        None => limits::COMPRESSION_TYPES
            .map(|text| Types::One(text.to_owned()))
            .to_vec(),
    };
    Compression {
        algorithms,
        min_bytes: given.min_bytes.unwrap_or(limits::COMPRESSION_MIN_BYTES),
        types,
        level: given.level.unwrap_or(limits::COMPRESSION_LEVEL),
    }
}

fn types(texts: &[String], path: &KeyPath, problems: &mut Problems<'_>) -> Vec<Types> {
    let mut types = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let path = path.index(index);
        let read = read(text);
        if is_never_compressed(text.as_bytes()) {
            let fault = format!("{text} is never compressed: its messages are to arrive one by one");
            problems.add(&path, fault, "remove it");
        } else if read.as_ref().is_some_and(|read| types.contains(read)) {
            problems.add(&path, format!("\"{text}\" stands here twice"), "remove one");
        } else if read.is_none() {
            let remedy =
                "write it as in \"application/json\" or \"text/*\", in lower case, without parameters";
            problems.add(&path, format!("\"{text}\" is no type of content"), remedy);
        }
        types.extend(read);
    }
    types
}

/// Source: RFC 9110, sections 5.6.2 and 8.3.1.
fn read(text: &str) -> Option<Types> {
    let is_token = |part: &str| {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$&-^_.+".contains(&byte);
        !part.is_empty() && part.len() <= limits::NAME_CHARS_MAX && part.bytes().all(is_plain)
    };
    match text.split_once('/')? {
        (kind, "*") if is_token(kind) => Some(Types::Kind(format!("{kind}/"))),
        (kind, one) if is_token(kind) && is_token(one) => Some(Types::One(text.to_owned())),
        _ => None,
    }
}

impl From<CompressionAlgorithm> for Algorithm {
    fn from(algorithm: CompressionAlgorithm) -> Self {
        match algorithm {
            CompressionAlgorithm::Gzip => Self::Gzip,
            CompressionAlgorithm::Br => Self::Brotli,
            CompressionAlgorithm::Zstd => Self::Zstd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, kind_of};
    use super::*;
    use crate::filters::Settings;

    #[test]
    fn what_is_not_said_has_a_default() {
        let Settings::Compression(settings) = kind_of("compression={}") else {
            panic!("another kind")
        };
        assert_eq!(
            settings.algorithms,
            [Algorithm::Zstd, Algorithm::Brotli, Algorithm::Gzip]
        );
        assert_eq!((settings.min_bytes, settings.level), (1_024, 4));
        assert!(settings.types.contains(&Types::One("text/html".to_owned())));
        let all = "algorithms=['br','gzip'],min_bytes=2000,types=['text/*','image/svg+xml'],level=6";
        let expected = Compression {
            algorithms: vec![Algorithm::Brotli, Algorithm::Gzip],
            min_bytes: 2_000,
            types: vec![
                Types::Kind("text/".to_owned()),
                Types::One("image/svg+xml".to_owned()),
            ],
            level: 6,
        };
        assert_eq!(
            kind_of(&format!("compression={{{all}}}")),
            Settings::Compression(expected)
        );
    }

    #[test]
    fn faults_are_named() {
        let rows: [(&str, &[&str]); 8] = [
            ("algorithms=[]", &["algorithms: the list is empty"]),
            (
                "algorithms=['gzip','br','gzip']",
                &["algorithms[2]: gzip stands here twice"],
            ),
            (
                "algorithms=['deflate']",
                &["algorithms[0]: 'deflate' is not known here"],
            ),
            ("min_bytes=100", &["min_bytes: 100 is out of range"]),
            ("level=7", &["level: 7 is out of range"]),
            (
                "types=['text','TEXT/html','text/html;charset=utf-8','*/*','text/']",
                &[
                    "types[0]: \"text\" is no type",
                    "types[1]",
                    "types[2]",
                    "types[3]",
                    "types[4]",
                ],
            ),
            (
                "types=['text/css','text/css']",
                &["types[1]: \"text/css\" stands here twice"],
            ),
            (
                "types=['text/event-stream','application/grpc+proto']",
                &["types[0]: text/event-stream is never compressed", "types[1]"],
            ),
        ];
        for (keys, faults) in rows {
            check(&format!("{{name='f',compression={{{keys}}}}}"), faults);
        }
    }
}
