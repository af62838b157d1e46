//! A plain HTTP/1.1 client for what the generators cannot do: hold thousands of idle connections, ask an exact number of
//! requests, and read what is answered.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Longest wait for one answer; under valgrind everything takes fifty times as long.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Longest answer, head and body, in bytes: the small one has some 300.
const ANSWER_BYTES_MAX: usize = 8_192;

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects to a port of this machine, and sends nothing.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("connecting to port {port}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self { stream })
    }

    /// Sends a request for the small answer.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn ask(&mut self) -> Result<()> {
        let request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        self.stream.write_all(request).context("sending a request")
    }

    /// Reads one answer, which must be a 200 with a length.
    ///
    /// # Errors
    /// When it is anything else, or late.
    pub fn answer(&mut self) -> Result<()> {
        self.whole().map(drop)
    }

    /// Asks for a path, and reads the body of the answer, which must be a 200 with a length.
    ///
    /// # Errors
    /// When it is anything else, or late.
    pub fn body(&mut self, path: &str) -> Result<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        self.stream
            .write_all(request.as_bytes())
            .context("sending a request")?;
        let answer = String::from_utf8_lossy(&self.whole()?).into_owned();
        let (_, body) = answer
            .split_once("\r\n\r\n")
            .context("an answer without a head")?;
        Ok(body.to_string())
    }

    fn whole(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut part = [0; 1_024];
        loop {
            let count = self.stream.read(&mut part).context("reading an answer")?;
            bytes.extend(part.iter().take(count));
            match length(&bytes)? {
                Some(length) if bytes.len() == length => return Ok(bytes),
                Some(length) if bytes.len() > length => bail!("more than one answer to one request"),
                _ if count == 0 => bail!("the connection ended within an answer"),
                _ if bytes.len() > ANSWER_BYTES_MAX => bail!("an answer over {ANSWER_BYTES_MAX} bytes"),
                _ => {}
            }
        }
    }
}

/// Length of a whole answer, once its head is there.
///
/// # Errors
/// When it is another than 200, or has no length.
pub fn length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(bytes.get(..at).unwrap_or_default()).into_owned();
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("an answer other than 200: {status}");
    }
    let field = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, value) = field.context("an answer without content-length")?;
    let body: usize = value.trim().parse().context("reading content-length")?;
    Ok(Some(at + 4 + body))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn the_body_of_what_was_asked_for_is_read() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = Client::connect(listener.local_addr().unwrap().port()).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 1_024];
            let count = stream.read(&mut bytes).unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nchange 1")
                .unwrap();
            String::from_utf8_lossy(&bytes[..count]).into_owned()
        });
        assert_eq!(client.body("/r/9/x").unwrap(), "change 1");
        assert!(server.join().unwrap().starts_with("GET /r/9/x HTTP/1.1\r\n"));
    }

    #[test]
    fn the_length_of_an_answer_is_that_of_head_and_body() {
        let whole = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 13\r\n\r\n";
        assert_eq!(length(whole).unwrap(), Some(whole.len() + 13));
        assert_eq!(length(b"HTTP/1.1 200 OK\r\nContent-").unwrap(), None);
        let rows: [&[u8]; 3] = [
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"\r\n\r\n",
        ];
        for row in rows {
            assert!(length(row).is_err(), "{}", String::from_utf8_lossy(row));
        }
    }
}
