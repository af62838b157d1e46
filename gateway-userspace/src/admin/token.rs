//! The bearer token of the admin API: made once, kept in a file that only its owner reads, compared in constant time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

/// Random bytes of a token that is made here.
const TOKEN_BYTES: usize = 32;
/// Fewer characters could be guessed.
const TOKEN_CHARS_MIN: usize = 16;
/// Bytes of a token file at most.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

/// A secret that clients must send. Never printed.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file or its directory cannot be used.
    #[error(
        "the admin token file {file} cannot be {what}: check its path and owner, or set admin.token_file"
    )]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others could read the secret.
    #[error("the admin token file {file} has mode {mode:04o}, so that others can read it: chmod 600 {file}")]
    Readable {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content will not do.
    #[error(
        "the admin token file {file} does not hold one word of {TOKEN_CHARS_MIN} characters or more: remove it, and `gateway run` makes a new one"
    )]
    Content {
        /// The file.
        file: PathBuf,
    },
}

impl Token {
    /// Reads the token, or makes one where the file is absent, with its directories (mode 0700).
    ///
    /// # Errors
    /// Where the file cannot be read or made, others can read it, or it holds no token.
    pub fn load_or_make(file: &Path) -> Result<Self, TokenError> {
        match Self::load(file) {
            Err(TokenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => make(file),
            loaded => loaded,
        }
    }

    /// Reads the token.
    ///
    /// # Errors
    /// Where the file is absent or cannot be read, others can read it, or it holds no token.
    pub fn load(file: &Path) -> Result<Self, TokenError> {
        let unreadable = |source| TokenError::Io {
            file: file.to_owned(),
            what: "read",
            source,
        };
        let opened = File::open(file).map_err(unreadable)?;
        let mode = opened.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Readable {
                file: file.to_owned(),
                mode,
            });
        }
        let mut text = String::new();
        opened
            .take(TOKEN_FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        let token = text.trim();
        if token.len() < TOKEN_CHARS_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Content {
                file: file.to_owned(),
            });
        }
        Ok(Self(token.to_owned()))
    }

    /// Whether a client sent it; takes the same time however much of it is right.
    pub fn is(&self, sent: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(sent).into()
    }

    /// The secret itself, to be sent.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

/// Makes a token. It is complete before it has its name, so that nobody ever reads half of it.
fn make(file: &Path) -> Result<Token, TokenError> {
    let failed = |what| {
        move |source| TokenError::Io {
            file: file.to_owned(),
            what,
            source,
        }
    };
    if let Some(directory) = file
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("given a directory"))?;
    }
    let mut bytes = [0u8; TOKEN_BYTES];
    rand::fill(&mut bytes);
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(format!(".{}.new", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished);
    let written = made.and_then(|mut made| {
        writeln!(made, "{token}")?;
        made.sync_all()
    });
    // A link does not replace what another process made meanwhile; a rename would.
    let named = written.and_then(|()| fs::hard_link(&unfinished, file));
    let removed = fs::remove_file(&unfinished);
    match named {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && file.exists() => Token::load(file),
        Err(error) => Err(failed("made")(error)),
        Ok(()) => {
            removed.map_err(failed("tidied up after"))?;
            tracing::info!(file = %file.display(), "made the admin token");
            Ok(Token(token))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own, removed in the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("gateway-token-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn token_is_made_once_and_only_its_owner_reads_it() {
        let scratch = Scratch::new("made");
        let file = scratch.0.join("state/gateway/admin.token");
        let made = Token::load_or_make(&file).unwrap();
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        let again = Token::load_or_make(&file).unwrap();
        assert_eq!(made.secret(), again.secret());
        assert_eq!(made.secret().len(), 2 * TOKEN_BYTES);
        assert!(made.is(again.secret().as_bytes()) && !made.is(b"") && !made.is(b"0000"));
        assert_eq!(format!("{made:?}"), "Token(…)");
    }

    #[test]
    fn token_that_others_read_or_could_guess_is_refused_with_its_remedy() {
        let scratch = Scratch::new("refused");
        let file = scratch.0.join("token");
        fs::write(&file, "0123456789abcdef\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Token::load_or_make(&file).unwrap_err().to_string();
        assert!(
            refused.contains("mode 0640") && refused.contains("chmod 600"),
            "{refused}"
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Token::load_or_make(&file).unwrap().is(b"0123456789abcdef"));
        for content in ["", "short\n", "two words of some length\n"] {
            fs::write(&file, content).unwrap();
            assert!(
                matches!(Token::load_or_make(&file), Err(TokenError::Content { .. })),
                "{content:?}"
            );
        }
    }
}
