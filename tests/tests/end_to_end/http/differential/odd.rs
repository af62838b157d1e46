//! Requests that gateways and servers have read differently: the classics of request smuggling, and oddities.

/// Rows that have at least one request that any server takes.
pub const PASS_AT_LEAST: usize = 20;

/// One row.
#[derive(Clone, Debug)]
pub struct Odd {
    /// What is odd about it.
    pub what: &'static str,
    number: usize,
    /// All that the client sends.
    pub sent: Vec<u8>,
}

impl Odd {
    /// What the paths of its requests begin with.
    pub fn path(&self) -> String {
        path(self.number)
    }
}

fn path(number: usize) -> String {
    format!("/row-{number:02}")
}

/// A request that stands where a body is, or behind one.
fn hidden(path: &str) -> String {
    format!("GET {path}/hidden HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

/// All rows.
pub fn rows() -> Vec<Odd> {
    let rows = framing()
        .into_iter()
        .chain(chunks())
        .chain(heads())
        .chain(pipelines());
    rows.enumerate()
        .map(|(number, (what, make))| Odd {
            what,
            number,
            sent: make(&path(number)),
        })
        .collect()
}

type Make = Box<dyn Fn(&str) -> Vec<u8>>;

/// A POST with these fields, and what follows its head: `{h}` stands for a hidden request, `{n}` for its length.
fn post(fields: &'static str, rest: &'static str) -> Make {
    Box::new(move |path| {
        let hidden = hidden(path);
        let length = hidden.len();
        let text = format!("POST {path} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n{rest}")
            .replace("{h}", &hidden)
            .replace("{n}", &length.to_string())
            .replace("{x}", &format!("{length:x}"));
        text.into_bytes()
    })
}

/// Any bytes: `{p}` stands for the row's path, `{h}` for a hidden request.
fn bytes(text: &'static str) -> Make {
    Box::new(move |path| {
        text.replace("{h}", &hidden(path))
            .replace("{p}", path)
            .into_bytes()
    })
}

fn framing() -> Vec<(&'static str, Make)> {
    vec![
        (
            "CL.TE: the length counts the hidden request, the chunks end before it",
            post(
                "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n{h}",
            ),
        ),
        (
            "TE.CL: the chunks hold the hidden request, the length ends before it",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                "{x}\r\n{h}\r\n0\r\n\r\n",
            ),
        ),
        (
            "TE.TE: a second coding that some do not know",
            post(
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n",
                "{x}\r\n{h}\r\n0\r\n\r\n",
            ),
        ),
        (
            "a coding with a space before its colon",
            post(
                "Content-Length: 5\r\nTransfer-Encoding : chunked\r\n",
                "0\r\n\r\n{h}",
            ),
        ),
        (
            "a coding behind a vertical tab",
            post(
                "Content-Length: 5\r\nTransfer-Encoding: \x0bchunked\r\n",
                "0\r\n\r\n{h}",
            ),
        ),
        (
            "a coding in quotes",
            post(
                "Content-Length: 5\r\nTransfer-Encoding: \"chunked\"\r\n",
                "0\r\n\r\n{h}",
            ),
        ),
        (
            "a coding on a folded line",
            post(
                "Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n",
                "0\r\n\r\n{h}",
            ),
        ),
        (
            "a coding hidden behind a bare LF",
            post(
                "Content-Length: 5\r\nX-A: 1\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n{h}",
            ),
        ),
        (
            "a coding hidden behind a bare CR",
            post(
                "Content-Length: 5\r\nX-A: 1\rTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n{h}",
            ),
        ),
        (
            "a coding with an underscore",
            post(
                "Content-Length: 5\r\nTransfer_Encoding: chunked\r\n",
                "0\r\n\r\n{h}",
            ),
        ),
        (
            "a coding that is not the last",
            post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n{h}"),
        ),
        (
            "chunked twice in one list",
            post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n0\r\n\r\n{h}"),
        ),
        (
            "two different lengths",
            post("Content-Length: 0\r\nContent-Length: {n}\r\n", "{h}"),
        ),
        (
            "two equal lengths",
            post("Content-Length: 2\r\nContent-Length: 2\r\n", "xy{h}"),
        ),
        ("a list of lengths", post("Content-Length: 0, {n}\r\n", "{h}")),
        ("a length with a sign", post("Content-Length: +{n}\r\n", "{h}")),
        ("an octal length", post("Content-Length: 010\r\n", "12345678{h}")),
        ("a hexadecimal length", post("Content-Length: 0x0\r\n", "{h}")),
        (
            "a length with a space before its colon",
            post("Content-Length : {n}\r\n", "{h}"),
        ),
        (
            "a length with an underscore",
            post("Content_Length: {n}\r\n", "{h}"),
        ),
        (
            "a length beyond 64 bits",
            post("Content-Length: 18446744073709551616\r\n", "{h}"),
        ),
        ("a negative length", post("Content-Length: -1\r\n", "{h}")),
        (
            "a length that ends in the middle of what follows",
            post("Content-Length: 5\r\n", "{h}"),
        ),
        (
            "GET with a body that is a request",
            bytes("GET {p} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc{h}"),
        ),
        (
            "chunks in HTTP/1.0",
            bytes("POST {p} HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{h}"),
        ),
    ]
}

fn chunks() -> Vec<(&'static str, Make)> {
    let chunked = |rest| post("Transfer-Encoding: chunked\r\n", rest);
    vec![
        (
            "plain chunks and a request behind",
            chunked("3\r\nabc\r\n0\r\n\r\n{h}"),
        ),
        ("a chunk that holds a request", chunked("{x}\r\n{h}\r\n0\r\n\r\n")),
        (
            "a chunk size with a prefix",
            chunked("0x3\r\nabc\r\n0\r\n\r\n{h}"),
        ),
        ("a chunk size with a sign", chunked("+3\r\nabc\r\n0\r\n\r\n{h}")),
        (
            "a chunk size beyond 64 bits",
            chunked("10000000000000003\r\nabc\r\n0\r\n\r\n{h}"),
        ),
        (
            "a chunk size that ends in a space",
            chunked("3 \r\nabc\r\n0\r\n\r\n{h}"),
        ),
        ("a chunk that spills", chunked("3\r\nabcd\r\n0\r\n\r\n{h}")),
        (
            "a chunk that ends in a bare LF",
            chunked("3\r\nabc\n0\r\n\r\n{h}"),
        ),
        (
            "a chunk size that ends in a bare LF",
            chunked("3\nabc\r\n0\r\n\r\n{h}"),
        ),
        (
            "an extension with a bare LF and another size",
            chunked("3;a\n5\r\nabc\r\n0\r\n\r\n{h}"),
        ),
        (
            "an extension in quotes with a line end",
            chunked("3;a=\"\r\n5\"\r\nabc\r\n0\r\n\r\n{h}"),
        ),
        ("an extension", chunked("3;a=b\r\nabc\r\n0\r\n\r\n{h}")),
        (
            "a trailer that frames",
            chunked("3\r\nabc\r\n0\r\nContent-Length: 50\r\n\r\n{h}"),
        ),
        (
            "a last chunk of many zeros",
            chunked("3\r\nabc\r\n0000\r\n\r\n{h}"),
        ),
        ("chunks that break off", chunked("5\r\nabc")),
        ("chunks without a last one", chunked("3\r\nabc\r\n")),
    ]
}

fn heads() -> Vec<(&'static str, Make)> {
    vec![
        (
            "bare LF throughout",
            bytes("GET {p} HTTP/1.1\nHost: a.example\n\n{h}"),
        ),
        (
            "an end of the head by bare LF",
            bytes("GET {p} HTTP/1.1\r\nHost: a.example\r\n\n{h}"),
        ),
        (
            "a folded field",
            bytes("GET {p} HTTP/1.1\r\nHost: a.example\r\nX-A: 1\r\n Content-Length: 50\r\n\r\n{h}"),
        ),
        (
            "a folded first field",
            bytes("GET {p} HTTP/1.1\r\n X-A: 1\r\nHost: a.example\r\n\r\n{h}"),
        ),
        (
            "a line without a colon",
            bytes("GET {p} HTTP/1.1\r\nHost: a.example\r\nContent-Length\r\n\r\n{h}"),
        ),
        (
            "NUL in a value",
            bytes("GET {p} HTTP/1.1\r\nHost: a.example\r\nX-A: 1\0\r\n\r\n{h}"),
        ),
        (
            "a space before the method",
            bytes(" GET {p} HTTP/1.1\r\nHost: a.example\r\n\r\n{h}"),
        ),
        (
            "two spaces in the line",
            bytes("GET  {p}  HTTP/1.1\r\nHost: a.example\r\n\r\n{h}"),
        ),
        (
            "a space in the target",
            bytes("GET {p} HTTP/1.1 HTTP/1.1\r\nHost: a.example\r\n\r\n{h}"),
        ),
        ("no version", bytes("GET {p}\r\n{h}")),
        (
            "two hosts",
            bytes("GET {p} HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n{h}"),
        ),
        (
            "an absolute target",
            bytes("GET http://b.example{p} HTTP/1.1\r\nHost: a.example\r\n\r\n{h}"),
        ),
        (
            "Connection that names the length",
            bytes(
                "POST {p} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nConnection: content-length\r\n\r\nabc{h}",
            ),
        ),
        (
            "an upgrade with a request behind",
            bytes(
                "GET {p} HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n{h}",
            ),
        ),
        (
            "an upgrade to h2c with a request behind",
            bytes(
                "GET {p} HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                 HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n{h}",
            ),
        ),
        (
            "a path with an escaped request",
            bytes("GET {p}%20HTTP/1.1%0d%0aHost:%20b HTTP/1.1\r\nHost: a.example\r\n\r\n{h}"),
        ),
    ]
}

fn pipelines() -> Vec<(&'static str, Make)> {
    vec![
        (
            "three at once",
            bytes(
                "GET {p}/1 HTTP/1.1\r\nHost: a.example\r\n\r\nGET {p}/2 HTTP/1.1\r\nHost: a.example\r\n\r\n{h}",
            ),
        ),
        (
            "empty lines between two",
            bytes("GET {p}/1 HTTP/1.1\r\nHost: a.example\r\n\r\n\r\n\r\n{h}"),
        ),
        (
            "one that closes and one behind it",
            bytes("GET {p}/1 HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n{h}"),
        ),
        (
            "HTTP/1.0 and one behind it",
            bytes("GET {p}/1 HTTP/1.0\r\nHost: a.example\r\n\r\n{h}"),
        ),
        (
            "HEAD and one behind it",
            bytes("HEAD {p}/1 HTTP/1.1\r\nHost: a.example\r\n\r\n{h}"),
        ),
        (
            "an upload that waits for 100, and one behind it",
            bytes(
                "POST {p}/1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc{h}",
            ),
        ),
        ("half a request", bytes("GET {p} HTTP/1.1\r\nHost: a.exam")),
        (
            "a body that breaks off",
            bytes("POST {p} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nabc"),
        ),
    ]
}
