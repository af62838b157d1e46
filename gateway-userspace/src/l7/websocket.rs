//! WebSocket's opening handshake, and its two forms: an HTTP/1.1 upgrade, and an extended CONNECT in HTTP/2.
//!
//! Pure functions on fields; method, version, target and `:protocol` are the caller's, and so are the bytes that
//! follow, which are not looked at. HTTP/2 has no key, so that whoever translates makes one, or answers it.
//! Sources: RFC 6455, sections 4.1 and 4.2; RFC 8441, sections 4 and 5.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use sha1::{Digest, Sha1};

use super::error::ProxyError;
use super::headers::{Seen, set_upgrade, upgrade};

/// The token of Upgrade, and the value of `:protocol`.
pub(crate) const PROTOCOL: &str = "websocket";

/// Appended to a key before it is hashed (RFC 6455, section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes that a key stands for.
const KEY_BYTES: usize = 16;
/// Characters of a key.
const KEY_CHARACTERS: usize = 24;

/// Of the last character of a key four bits mean nothing; not every client leaves them zero.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// A `Sec-WebSocket-Key` in the right form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(HeaderValue);

impl Key {
    /// A new one, at random, for a request of our own making.
    pub(crate) fn random() -> Self {
        let bytes: [u8; KEY_BYTES] = rand::random();
        // Base64 is a valid value.
        let value = HeaderValue::try_from(BASE64_STANDARD.encode(bytes));
        Self(value.unwrap_or_else(|_| HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA==")))
    }

    /// A client's.
    ///
    /// # Errors
    /// [`ProxyError::WebSocketBad`]: none, more than one, or not 16 bytes in base64.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, ProxyError> {
        let mut fields = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
        let (Some(value), None) = (fields.next(), fields.next()) else {
            return Err(ProxyError::WebSocketBad);
        };
        let bytes = value.as_bytes();
        let mut decoded = [0; KEY_BYTES + 2];
        let length = LENIENT.decode_slice(bytes, &mut decoded);
        if bytes.len() == KEY_CHARACTERS && length.is_ok_and(|length| length == KEY_BYTES) {
            Ok(Self(value.clone()))
        } else {
            Err(ProxyError::WebSocketBad)
        }
    }

    /// The `Sec-WebSocket-Accept` that answers it.
    pub(crate) fn accept(&self) -> HeaderValue {
        let mut hash = Sha1::new();
        hash.update(self.0.as_bytes());
        hash.update(ACCEPT_SUFFIX);
        // Base64 is a valid value.
        HeaderValue::try_from(BASE64_STANDARD.encode(hash.finalize()))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Whether a response answers it.
    fn is_answered_by(&self, headers: &HeaderMap) -> bool {
        let mut fields = headers.get_all(header::SEC_WEBSOCKET_ACCEPT).iter();
        fields.next() == Some(&self.accept()) && fields.next().is_none()
    }
}

/// Turns the fields of an upgrade request into those of an extended CONNECT; gives back the key, which the client
/// wants answered. The subprotocols, extensions and version stay.
///
/// # Errors
/// [`ProxyError::WebSocketBad`].
pub(crate) fn to_connect(headers: &mut HeaderMap) -> Result<Key, ProxyError> {
    let key = Key::read(headers)?;
    headers.remove(header::SEC_WEBSOCKET_KEY);
    remove_upgrade(headers);
    Ok(key)
}

/// Turns the fields of an extended CONNECT into those of an upgrade request (GET, HTTP/1.1); gives back the key, which
/// the endpoint must answer. To be called after the fields that are hop by hop went.
pub(crate) fn from_connect(headers: &mut HeaderMap) -> Key {
    let key = Key::random();
    headers.insert(header::SEC_WEBSOCKET_KEY, key.0.clone());
    headers
        .entry(header::SEC_WEBSOCKET_VERSION)
        .or_insert(HeaderValue::from_static("13"));
    set_upgrade(headers, HeaderValue::from_static(PROTOCOL));
    key
}

/// Turns the fields of a 200 to an extended CONNECT into those of the 101 that the client waits for.
pub(crate) fn to_switching(headers: &mut HeaderMap, key: &Key) {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key.accept());
    set_upgrade(headers, HeaderValue::from_static(PROTOCOL));
}

/// Turns the fields of a 101 into those of the 200 to an extended CONNECT.
///
/// # Errors
/// [`ProxyError::UpstreamProtocol`]: the 101 answers something else.
pub(crate) fn from_switching(headers: &mut HeaderMap, key: &Key) -> Result<(), ProxyError> {
    check_switching(headers, PROTOCOL.as_bytes(), Some(key))?;
    headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    remove_upgrade(headers);
    Ok(())
}

/// Looks whether a 101 switches to what was asked for, and for WebSocket answers the key: with anything else the two
/// sides would not speak the same from here on.
///
/// # Errors
/// [`ProxyError::UpstreamProtocol`].
pub(crate) fn check_switching(
    headers: &HeaderMap,
    asked: &[u8],
    key: Option<&Key>,
) -> Result<(), ProxyError> {
    let is_asked = upgrade(headers, Seen::scan(headers))
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(asked));
    let is_answer = key.is_none_or(|key| key.is_answered_by(headers));
    if is_asked && is_answer {
        Ok(())
    } else {
        Err(ProxyError::UpstreamProtocol)
    }
}

fn remove_upgrade(headers: &mut HeaderMap) {
    headers.remove(header::CONNECTION);
    headers.remove(header::UPGRADE);
}

#[cfg(test)]
mod tests {
    use super::super::headers::map;
    use super::*;

    /// The example of RFC 6455, section 1.3.
    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const ACCEPT: (&str, &str) = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    const UPGRADE: [(&str, &str); 2] = [("connection", "upgrade"), ("upgrade", "websocket")];
    const VERSION: (&str, &str) = ("sec-websocket-version", "13");
    const CHAT: (&str, &str) = ("sec-websocket-protocol", "chat");

    #[test]
    fn keys_are_sixteen_bytes_in_base64() {
        let rows: &[(&[&str], bool, &str)] = &[
            (&[KEY.1], true, "the example"),
            (&["dGhlIHNhbXBsZSBub25jZR=="], true, "bits that mean nothing"),
            (&[], false, "none"),
            (&[KEY.1, KEY.1], false, "two"),
            (&[""], false, "empty"),
            (&["dGhlIHNhbXBsZSBub25j"], false, "15 bytes"),
            (&["dGhlIHNhbXBsZSBub25jZQ"], false, "without padding"),
            (&["dGhlIHNhbXBsZSBub25jZWU="], false, "17 bytes"),
            (&["dGhlIHNhbXBsZSBub25jZWVl"], false, "18 bytes"),
            (&["dGhlIHNhbXBsZSBub25j-Q=="], false, "another alphabet"),
            (&["dGhlIHNhbXBsZSBub25jZQ== "], false, "with a space"),
        ];
        for (keys, is_good, why) in rows {
            let fields: Vec<_> = keys.iter().map(|key| (KEY.0, *key)).collect();
            assert_eq!(Key::read(&map(&fields)).is_ok(), *is_good, "{why}");
        }
        let ours = Key::random();
        let mut headers = HeaderMap::new();
        headers.insert(KEY.0, ours.0.clone());
        assert_eq!(Key::read(&headers).as_ref(), Ok(&ours));
        assert_ne!(ours, Key::random());
    }

    #[test]
    fn the_example_of_the_rfc_is_answered() {
        let key = Key::read(&map(&[KEY])).unwrap();
        assert_eq!(key.accept(), ACCEPT.1);
    }

    #[test]
    fn an_upgrade_becomes_a_connect_and_its_answer_a_101() {
        let mut request = map(&[UPGRADE[0], UPGRADE[1], KEY, VERSION, CHAT]);
        let key = to_connect(&mut request).unwrap();
        assert_eq!(request, map(&[VERSION, CHAT]));
        let mut response = map(&[CHAT]);
        to_switching(&mut response, &key);
        assert_eq!(response, map(&[CHAT, UPGRADE[0], UPGRADE[1], ACCEPT]));
        assert_eq!(check_switching(&response, b"WebSocket", Some(&key)), Ok(()));
        let mut keyless = map(&[UPGRADE[0], UPGRADE[1], VERSION]);
        assert_eq!(to_connect(&mut keyless), Err(ProxyError::WebSocketBad));
    }

    #[test]
    fn a_connect_becomes_an_upgrade_and_its_101_a_200() {
        for fields in [&[VERSION, CHAT][..], &[CHAT]] {
            let mut request = map(fields);
            let key = from_connect(&mut request);
            assert_eq!(Key::read(&request).as_ref(), Ok(&key));
            request.remove(KEY.0);
            assert_eq!(
                request,
                map(&[VERSION, CHAT, UPGRADE[0], UPGRADE[1]]),
                "{fields:?}"
            );
        }
        let key = Key::read(&map(&[KEY])).unwrap();
        let mut response = map(&[("connection", "Upgrade"), ("upgrade", "WebSocket"), ACCEPT, CHAT]);
        assert_eq!(from_switching(&mut response, &key), Ok(()));
        assert_eq!(response, map(&[CHAT]));
    }

    #[test]
    fn a_101_that_answers_something_else_is_refused() {
        let key = Key::read(&map(&[KEY])).unwrap();
        let rows: &[(&[(&str, &str)], &str)] = &[
            (&[], "no fields at all"),
            (&[UPGRADE[0], UPGRADE[1]], "no accept"),
            (&[UPGRADE[1], ACCEPT], "no Connection"),
            (&[UPGRADE[0], ACCEPT], "no Upgrade"),
            (&[UPGRADE[0], ("upgrade", "other"), ACCEPT], "another protocol"),
            (&[UPGRADE[0], UPGRADE[1], ACCEPT, ACCEPT], "two accepts"),
            (
                &[UPGRADE[0], UPGRADE[1], ("sec-websocket-accept", KEY.1)],
                "the accept of another key",
            ),
        ];
        for (fields, why) in rows {
            let mut headers = map(fields);
            let got = from_switching(&mut headers, &key);
            assert_eq!(got, Err(ProxyError::UpstreamProtocol), "{why}");
        }
    }
}
