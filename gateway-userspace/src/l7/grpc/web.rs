//! gRPC-Web: what browsers, which see no trailers, speak instead of gRPC. Messages are the same; the trailers are a last frame
//! of the body, and in the text form all of it is base64.
//!
//! Source: the gRPC document "PROTOCOL-WEB".

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::CONTENT_TYPE;

const WEB_CONTENT_TYPE: &str = "application/grpc-web";
const TEXT: &str = "-text";
/// Says of a request what its type says, too.
const MARK: HeaderName = HeaderName::from_static("x-grpc-web");
/// The flag of a frame that has trailers.
const TRAILERS: u8 = 0x80;
/// Characters of base64 that are three bytes.
const GROUP: usize = 4;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Binary,
    Text,
}

impl Form {
    /// The type of content of our own answers.
    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Binary => "application/grpc-web+proto",
            Self::Text => "application/grpc-web-text+proto",
        })
    }

    /// What comes of the endpoint, as the client gets it. Each piece can be read by itself, so that no message waits.
    pub(crate) fn written(self, piece: Bytes) -> Bytes {
        match self {
            Self::Binary => piece,
            Self::Text => STANDARD.encode(piece).into(),
        }
    }

    /// The last frame.
    pub(crate) fn trailers(self, trailers: &HeaderMap) -> Bytes {
        let mut block = Vec::new();
        for (name, value) in trailers {
            block.extend_from_slice(name.as_str().as_bytes());
            block.extend_from_slice(b": ");
            block.extend_from_slice(value.as_bytes());
            block.extend_from_slice(b"\r\n");
        }
        let bytes = u32::try_from(block.len()).unwrap_or(u32::MAX);
        let mut frame = vec![TRAILERS];
        frame.extend_from_slice(&bytes.to_be_bytes());
        frame.append(&mut block);
        self.written(frame.into())
    }
}

/// A call of a browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// How its body is written.
    pub(crate) request: Form,
    /// How that of its answer is to be.
    pub(crate) response: Form,
}

impl Call {
    /// `None`: it is none.
    pub(crate) fn read(method: &Method, headers: &HeaderMap) -> Option<Self> {
        if method != Method::POST {
            return None;
        }
        let (request, _) = read(headers.get(header::CONTENT_TYPE)?.as_bytes())?;
        let accepted = headers.get_all(header::ACCEPT).into_iter();
        let mut accepted = accepted.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let response = accepted.find_map(|member| read(member.trim_ascii()));
        Some(Self {
            request,
            response: response.map_or(request, |(form, _)| form),
        })
    }

    /// Makes its head that of a gRPC call, but for `TE`, which is of the hop.
    pub(crate) fn to_grpc(self, headers: &mut HeaderMap) {
        retype(headers, |value| {
            let (_, rest) = read(value)?;
            Some([CONTENT_TYPE.as_bytes(), rest].concat())
        });
        headers.remove(header::ACCEPT);
        headers.remove(MARK);
        if self.request == Form::Text {
            // That of the text.
            headers.remove(header::CONTENT_LENGTH);
        }
    }

    /// What reads its body, where that is text.
    pub(crate) fn decoder(self) -> Option<Decoder> {
        (self.request == Form::Text).then(Decoder::default)
    }

    /// Makes the head of an answer what the client asked for; `None`: it is none to a call, and its body stays as it is.
    pub(crate) fn to_web(self, headers: &mut HeaderMap) -> Option<Form> {
        if !super::is_grpc(headers) {
            return None;
        }
        retype(headers, |value| {
            let (_, rest) = value.split_at_checked(CONTENT_TYPE.len())?;
            let form: &[u8] = match self.response {
                Form::Binary => b"",
                Form::Text => TEXT.as_bytes(),
            };
            Some([WEB_CONTENT_TYPE.as_bytes(), form, rest].concat())
        });
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::TRAILER);
        Some(self.response)
    }
}

fn retype(headers: &mut HeaderMap, other: impl FnOnce(&[u8]) -> Option<Vec<u8>>) {
    let old = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let new = old
        .and_then(other)
        .and_then(|value| HeaderValue::from_bytes(&value).ok());
    if let Some(new) = new {
        headers.insert(header::CONTENT_TYPE, new);
    }
}

/// A type of content of gRPC-Web, and what stands behind it: `+proto`, parameters.
fn read(value: &[u8]) -> Option<(Form, &[u8])> {
    let rest = strip(value, WEB_CONTENT_TYPE)?;
    let (form, rest) = match strip(rest, TEXT) {
        Some(rest) => (Form::Text, rest),
        None => (Form::Binary, rest),
    };
    matches!(rest.first(), None | Some(b'+' | b';' | b' ')).then_some((form, rest))
}

fn strip<'v>(value: &'v [u8], start: &str) -> Option<&'v [u8]> {
    let (head, rest) = value.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start.as_bytes()).then_some(rest)
}

/// What is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoText;

/// Reads a body of text, however it is cut into pieces. Any group of it may end a text of its own, with padding.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Fewer than [`GROUP`].
    held: Vec<u8>,
}

impl Decoder {
    /// What another piece comes to; may be nothing.
    ///
    /// # Errors
    /// It is no base64.
    pub(crate) fn decode(&mut self, piece: &[u8]) -> Result<Vec<u8>, NoText> {
        self.held.extend_from_slice(piece);
        let rest = self.held.split_off(self.held.len() / GROUP * GROUP);
        let text = std::mem::replace(&mut self.held, rest);
        let mut plain = Vec::with_capacity(text.len() / GROUP * 3);
        let mut left = text.as_slice();
        while !left.is_empty() {
            let padding = left.iter().position(|byte| *byte == b'=');
            let end = padding.map_or(left.len(), |at| (at / GROUP + 1) * GROUP);
            let (one, others) = left.split_at_checked(end).ok_or(NoText)?;
            STANDARD.decode_vec(one, &mut plain).map_err(|_| NoText)?;
            left = others;
        }
        Ok(plain)
    }

    /// Whether it may end here.
    pub(crate) fn is_whole(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn calls_of_browsers_are_known_by_their_type_and_say_what_they_take() {
        let call = |request, response| Some(Call { request, response });
        let (binary, text) = (Form::Binary, Form::Text);
        let rows = [
            ("application/grpc-web", None, call(binary, binary)),
            ("application/grpc-web+proto", None, call(binary, binary)),
            ("Application/gRPC-Web+proto;x=y", None, call(binary, binary)),
            ("application/grpc-web-text", None, call(text, text)),
            ("application/grpc-web-text+proto", Some("*/*"), call(text, text)),
            (
                "application/grpc-web+proto",
                Some("application/grpc-web-text"),
                call(binary, text),
            ),
            (
                "application/grpc-web-text",
                Some("text/html, application/grpc-web+proto"),
                call(text, binary),
            ),
            ("application/grpc", None, None),
            ("application/grpc+proto", None, None),
            ("application/grpc-webx", None, None),
            ("application/grpc-web-texts", None, None),
            ("application/json", None, None),
        ];
        for (content_type, accept, expected) in rows {
            let mut headers = headers(&[("content-type", content_type)]);
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(
                Call::read(&Method::POST, &headers),
                expected,
                "{content_type} {accept:?}"
            );
            assert_eq!(Call::read(&Method::GET, &headers), None, "{content_type}");
        }
        assert_eq!(Call::read(&Method::POST, &HeaderMap::new()), None);
    }

    #[test]
    fn heads_are_translated_both_ways() {
        let rows = [
            ("application/grpc-web+proto", "application/grpc+proto", Some("5")),
            (
                "application/grpc-web-text+thrift",
                "application/grpc+thrift",
                None,
            ),
            ("application/grpc-web-text", "application/grpc", None),
        ];
        for (web, grpc, length) in rows {
            let mut head = headers(&[
                ("content-type", web),
                ("accept", "*/*"),
                ("x-grpc-web", "1"),
                ("content-length", "5"),
                ("grpc-timeout", "1S"),
            ]);
            let call = Call::read(&Method::POST, &head).unwrap();
            call.to_grpc(&mut head);
            assert_eq!(head["content-type"], grpc);
            assert_eq!(
                head.get("content-length").map(|value| value.to_str().unwrap()),
                length,
                "{web}"
            );
            assert!(!head.contains_key("accept") && !head.contains_key("x-grpc-web"));
            assert!(super::super::is_call(&Method::POST, &head) && head.contains_key("grpc-timeout"));
            let mut answer = headers(&[("content-type", grpc), ("content-length", "5"), ("trailer", "x")]);
            assert_eq!(call.to_web(&mut answer), Some(call.response));
            assert_eq!(
                (answer.len(), &answer["content-type"]),
                (1, &HeaderValue::from_static(web))
            );
        }
        let call = Call {
            request: Form::Text,
            response: Form::Text,
        };
        let mut page = headers(&[("content-type", "text/html"), ("content-length", "5")]);
        assert_eq!((call.to_web(&mut page), page.len()), (None, 2));
    }

    #[test]
    fn trailers_are_a_frame() {
        let trailers = headers(&[("grpc-status", "0"), ("grpc-message", "all good")]);
        let block = b"grpc-status: 0\r\ngrpc-message: all good\r\n";
        let mut expected = vec![0x80, 0, 0, 0, u8::try_from(block.len()).unwrap()];
        expected.extend_from_slice(block);
        assert_eq!(Form::Binary.trailers(&trailers), expected);
        assert_eq!(Form::Text.trailers(&trailers), STANDARD.encode(&expected));
        assert_eq!(
            Form::Binary.trailers(&HeaderMap::new()),
            [0x80, 0, 0, 0, 0].as_slice()
        );
    }

    #[test]
    fn text_is_read_however_it_is_cut_and_padded() {
        let rows: [(&str, Result<&[u8], NoText>); 11] = [
            ("", Ok(b"")),
            ("AAAA", Ok(&[0, 0, 0])),
            ("AAAAAAU=", Ok(&[0, 0, 0, 0, 5])),
            // One text for each message.
            ("AA==AQ==AgMEBQ==", Ok(&[0, 1, 2, 3, 4, 5])),
            ("AAE=AAAA", Ok(&[0, 1, 0, 0, 0])),
            ("AAE", Err(NoText)),
            ("A=AA", Err(NoText)),
            ("====", Err(NoText)),
            ("AA=A", Err(NoText)),
            ("AA AA", Err(NoText)),
            ("AA-_", Err(NoText)),
        ];
        for (text, expected) in rows {
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let mut decoder = Decoder::default();
                    let pieces = [&text[..first], &text[first..second], &text[second..]];
                    let read: Result<Vec<u8>, NoText> =
                        pieces.iter().try_fold(Vec::new(), |mut plain, piece| {
                            plain.extend(decoder.decode(piece.as_bytes())?);
                            Ok(plain)
                        });
                    let read = read.and_then(|plain| decoder.is_whole().then_some(plain).ok_or(NoText));
                    assert_eq!(read.as_deref(), expected.as_deref(), "{text}: {first} {second}");
                }
            }
        }
    }
}
