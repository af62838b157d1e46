//! The name that a client asks for by TLS, read from its first message without answering it.
//!
//! Pure, and linear in what comes: bytes in as they come, a name out. The hello may be cut over segments and records in
//! any way. What is read is not consumed: whoever feeds it keeps the bytes for the endpoint, which makes the handshake.
//! Sources: RFC 8446, sections 4.1.2 and 5.1; RFC 6066, section 3.

/// Bytes of records read at most until the hello is whole. Those of browsers take some 2 kB, with keys of two families.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// The content type of records of a handshake.
const HANDSHAKE: u8 = 22;
/// The first message of a client.
const CLIENT_HELLO: u8 = 1;
/// The major version of every TLS since SSL 3.0.
const MAJOR: u8 = 3;
/// Bytes of a record's content at most.
const RECORD_BYTES_MAX: usize = 1 << 14;
/// Bytes of a record's header.
const RECORD_HEADER_BYTES: usize = 5;
/// Bytes of a message's header: its kind, and a length of three.
const MESSAGE_HEADER_BYTES: usize = 4;
/// Bytes of a hello's version and random.
const VERSION_AND_RANDOM_BYTES: usize = 2 + 32;
/// The extension that has the name, and the kind of name that is one of a host.
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// Bytes of a host's name at most (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// A client's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The host that it asks for, in lower case and without a dot at its end; `None`: it asks for none.
    pub name: Option<String>,
}

/// Why there is no such message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What came is no TLS, or no hello that can be read.
    Unreadable,
    /// It is longer than [`HELLO_BYTES_MAX`].
    TooLong,
}

/// Reads one, piece by piece.
#[derive(Debug, Default)]
pub struct Reader {
    header: [u8; RECORD_HEADER_BYTES],
    header_bytes: usize,
    /// What the record under way still has.
    owed: usize,
    message: Vec<u8>,
    all: usize,
}

impl Reader {
    /// The next bytes; the hello, once it is whole. What is behind it is not looked at.
    ///
    /// # Errors
    /// There is none, whatever follows.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Option<Hello>, Fault> {
        while !bytes.is_empty() {
            if self.owed == 0 {
                bytes = self.header(bytes)?;
                continue;
            }
            let (piece, rest) = bytes.split_at(self.owed.min(bytes.len()));
            self.take(piece.len())?;
            self.message.extend_from_slice(piece);
            self.owed -= piece.len();
            bytes = rest;
            if let Some(hello) = self.message()? {
                return Ok(Some(hello));
            }
        }
        Ok(None)
    }

    /// The next byte of a record's header; each is judged as it comes, for who speaks no TLS is not to be waited for.
    fn header<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Fault> {
        let Some((byte, rest)) = bytes.split_first() else {
            return Ok(bytes);
        };
        self.take(1)?;
        let is_fitting = match self.header_bytes {
            0 => *byte == HANDSHAKE,
            1 => *byte == MAJOR,
            _ => true,
        };
        let place = self.header.get_mut(self.header_bytes);
        *place.filter(|_| is_fitting).ok_or(Fault::Unreadable)? = *byte;
        self.header_bytes += 1;
        if self.header_bytes == RECORD_HEADER_BYTES {
            let [.., high, low] = self.header;
            self.owed = usize::from(u16::from_be_bytes([high, low]));
            // One without content is none of a handshake (RFC 8446, section 5.1).
            if self.owed == 0 || self.owed > RECORD_BYTES_MAX {
                return Err(Fault::Unreadable);
            }
            self.header_bytes = 0;
        }
        Ok(rest)
    }

    fn take(&mut self, count: usize) -> Result<(), Fault> {
        self.all += count;
        if self.all > HELLO_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        Ok(())
    }

    /// The hello, if the message is whole.
    fn message(&self) -> Result<Option<Hello>, Fault> {
        if self.message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Fault::Unreadable);
        }
        let Some(([_, high, middle, low], rest)) = self.message.split_first_chunk::<MESSAGE_HEADER_BYTES>()
        else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, *high, *middle, *low]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > HELLO_BYTES_MAX - RECORD_HEADER_BYTES - MESSAGE_HEADER_BYTES {
            return Err(Fault::TooLong);
        }
        match rest.get(..length) {
            Some(body) => hello(body).map(Some).ok_or(Fault::Unreadable),
            None => Ok(None),
        }
    }
}

/// Reads a whole message; `None`: it is none.
fn hello(body: &[u8]) -> Option<Hello> {
    let mut rest = body.get(VERSION_AND_RANDOM_BYTES..)?;
    let _session = short_list(&mut rest)?;
    let _ciphers = list(&mut rest)?;
    let _compressions = short_list(&mut rest)?;
    let mut name = None;
    // Before TLS 1.3 there need be no extensions.
    if !rest.is_empty() {
        let mut extensions = list(&mut rest)?;
        while !extensions.is_empty() {
            let kind = number(&mut extensions)?;
            let content = list(&mut extensions)?;
            if kind == SERVER_NAME {
                // Twice: which one would the endpoint take?
                if name.is_some() {
                    return None;
                }
                name = Some(host(content)?);
            }
        }
    }
    rest.is_empty().then_some(Hello { name })
}

/// The one host in a list of names.
fn host(mut content: &[u8]) -> Option<String> {
    let mut names = list(&mut content)?;
    let mut host = None;
    while let Some((kind, behind)) = names.split_first() {
        names = behind;
        let name = list(&mut names)?;
        if *kind == HOST_NAME && host.replace(name).is_some() {
            return None;
        }
    }
    let name = host.filter(|_| content.is_empty())?;
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.iter().all(is_plain);
    let name = str::from_utf8(name).ok().filter(|_| is_name)?;
    Some(name.to_ascii_lowercase())
}

fn number(bytes: &mut &[u8]) -> Option<u16> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    *bytes = rest;
    Some(u16::from_be_bytes(*number))
}

/// What a length of two bytes stands before.
fn list<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = number(bytes)?;
    let (list, rest) = bytes.split_at_checked(usize::from(length))?;
    *bytes = rest;
    Some(list)
}

/// What a length of one byte stands before.
fn short_list<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, rest) = bytes.split_first()?;
    let (list, rest) = rest.split_at_checked(usize::from(*length))?;
    *bytes = rest;
    Some(list)
}

#[cfg(test)]
mod tests;
