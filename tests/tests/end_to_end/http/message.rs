//! HTTP/1 messages as they stand on the wire, read without any library: what is tested must not be what tests.

/// Start line and fields, as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Request line or status line.
    pub start: String,
    /// Names and values, in order.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// Values of a field, whatever the case of its name.
    pub fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h str> {
        let named = move |(found, _): &&(String, String)| found.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|(_, value)| value.as_str())
    }

    /// The first value of a field.
    pub fn get<'h>(&'h self, name: &'h str) -> Option<&'h str> {
        self.all(name).next()
    }

    /// The status of a status line, 0 where there is none.
    pub fn status(&self) -> u16 {
        let code = self.start.split(' ').nth(1);
        code.and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    fn read(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_owned(), value.trim().to_owned())
        });
        Self {
            start,
            fields: fields.collect(),
        }
    }
}

/// A whole message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Start line and fields.
    pub head: Head,
    /// The content, without its framing.
    pub body: Vec<u8>,
    /// Trailer fields of a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// The body as text, for messages of failures and for our own answers.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What our own answers begin with: the reason.
    pub fn reason(&self) -> String {
        let text = self.text();
        text.split(':').next().unwrap_or_default().trim().to_owned()
    }
}

/// What a message is, as far as its framing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Without framing fields it has no body.
    Request,
    /// Without framing fields its body ends with the connection.
    Response,
}

/// Whether more can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// More may come.
    Open,
    /// The peer ended its side.
    Ended,
}

/// The message that `bytes` begin with, and its length; `None` where it is not whole.
pub fn read(bytes: &[u8], kind: Kind, input: Input) -> Option<(Message, usize)> {
    let end = find(bytes, b"\r\n\r\n")?;
    let head = Head::read(&String::from_utf8_lossy(bytes.get(..end)?));
    let start = end + 4;
    let rest = bytes.get(start..)?;
    let status = head.status();
    let bodiless = matches!(status, 100..=199 | 204 | 304);
    if kind == Kind::Response && bodiless {
        let message = Message {
            head,
            ..Message::default()
        };
        return Some((message, start));
    }
    let is_chunked = head
        .get("transfer-encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    if is_chunked {
        let (body, trailers, length) = read_chunks(rest)?;
        let message = Message { head, body, trailers };
        return Some((message, start + length));
    }
    let declared = head.get("content-length").map(|text| text.parse::<usize>().ok());
    let length = match declared {
        Some(length) => length?,
        None if kind == Kind::Request => 0,
        None if input == Input::Ended => rest.len(),
        None => return None,
    };
    let body = rest.get(..length)?.to_vec();
    let message = Message {
        head,
        body,
        trailers: Vec::new(),
    };
    Some((message, start + length))
}

/// All messages that `bytes` hold, and how many bytes are left over.
pub fn read_all(mut bytes: &[u8], kind: Kind, input: Input) -> (Vec<Message>, usize) {
    let mut all = Vec::new();
    while let Some((message, length)) = read(bytes, kind, input) {
        all.push(message);
        bytes = bytes.get(length..).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
    }
    (all, bytes.len())
}

type Chunks = (Vec<u8>, Vec<(String, String)>, usize);

fn read_chunks(bytes: &[u8]) -> Option<Chunks> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        let line = find(rest, b"\r\n")?;
        let size = String::from_utf8_lossy(rest.get(..line)?).into_owned();
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        at += line + 2;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(at..at + size)?);
        at += size + 2;
    }
    let rest = bytes.get(at..)?;
    if rest.starts_with(b"\r\n") {
        return Some((body, Vec::new(), at + 2));
    }
    let end = find(rest, b"\r\n\r\n")?;
    let text = format!("\r\n{}", String::from_utf8_lossy(rest.get(..end)?));
    Some((body, Head::read(&text).fields, at + end + 4))
}

/// Where `wanted` begins.
pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Bytes as they can be shown: text with its controls escaped, and no more of it than helps.
pub fn shown(bytes: &[u8]) -> String {
    const SHOWN_BYTES: usize = 1200;
    let (first, rest) = bytes.split_at(bytes.len().min(SHOWN_BYTES));
    let text: String = first.escape_ascii().to_string().replace("\\r\\n", "\\r\\n\n    ");
    if rest.is_empty() {
        text
    } else {
        format!("{text}… and {} bytes more", rest.len())
    }
}

#[test]
fn messages_are_read_whole_or_not_at_all() {
    let text = b"POST /a HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3;x=1\r\nabc\r\n0\r\nX-End: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    let (all, left) = read_all(text, Kind::Request, Input::Open);
    assert_eq!((all.len(), left), (2, 0));
    assert_eq!(all[0].head.get("HOST"), Some("b"));
    assert_eq!(all[0].text(), "abc");
    assert_eq!(all[0].trailers, [("X-End".to_owned(), "1".to_owned())]);
    assert_eq!(all[1].head.start, "GET / HTTP/1.1");
    let first = text.len() - b"GET / HTTP/1.1\r\n\r\n".len();
    for cut in 0..first {
        assert!(read(&text[..cut], Kind::Request, Input::Open).is_none(), "{cut}");
    }
    let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest";
    assert_eq!(read_all(answer, Kind::Response, Input::Open).0.len(), 1);
    let (all, left) = read_all(answer, Kind::Response, Input::Ended);
    assert_eq!(
        (all[0].head.status(), all[1].text().as_str(), left),
        (100, "rest", 0)
    );
}
