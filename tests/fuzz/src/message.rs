//! A message taken apart once more, in the plainest way: what was judged is known to be well formed.

/// The head of a message and what follows it.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'m> {
    /// Start line and fields, with their line ends; without the empty line.
    pub head: &'m [u8],
    /// All after the empty line.
    pub rest: &'m [u8],
}

/// Cuts a message that begins with its start line behind the empty line of its head.
///
/// # Panics
/// Where there is no such line.
pub fn apart(message: &[u8]) -> Parts<'_> {
    let mut end = 0;
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        if matches!(line, b"\r\n" | b"\n") {
            return Parts {
                head: &message[..end],
                rest: &message[end + line.len()..],
            };
        }
        end += line.len();
    }
    panic!("the head has no end");
}

impl Parts<'_> {
    /// Lines of the head, the first included.
    pub fn lines(&self) -> usize {
        self.head.iter().filter(|&&byte| byte == b'\n').count()
    }

    /// The first line as text, without its end.
    pub fn first_line(&self) -> String {
        let line = self.head.split(|&byte| byte == b'\n').next().unwrap_or_default();
        String::from_utf8_lossy(line).trim_end_matches('\r').to_owned()
    }

    /// The values of a field.
    pub fn values(&self, name: &str) -> Vec<String> {
        let lines = self.head.split(|&byte| byte == b'\n').skip(1);
        let fields = lines.filter_map(|line| {
            let text = String::from_utf8_lossy(line).into_owned();
            let (found, value) = text.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        });
        fields.collect()
    }
}

/// The data of a whole chunked body; `None`: it is not whole.
///
/// # Panics
/// Where something follows it.
pub fn dechunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let line_end = body.windows(2).position(|two| two == b"\r\n")?;
        let line = String::from_utf8_lossy(&body[..line_end]).into_owned();
        let size = usize::from_str_radix(line.split(';').next()?, 16).expect("judged");
        body = &body[line_end + 2..];
        if size == 0 {
            break;
        }
        data.extend_from_slice(body.get(..size)?);
        body = body.get(size + 2..)?;
    }
    loop {
        let line_end = body.windows(2).position(|two| two == b"\r\n")?;
        body = &body[line_end + 2..];
        if line_end == 0 {
            assert!(body.is_empty(), "the body ends with its trailers");
            return Some(data);
        }
    }
}
