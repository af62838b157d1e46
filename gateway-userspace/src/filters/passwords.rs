//! Password hashes, and the threads that verify them.
//!
//! To verify one takes a tenth of a second of work on purpose, so no worker does it: a few threads do, fed by a queue
//! that is bounded in length. What was right once is remembered by a keyed digest, so that a session pays once; and so is
//! what was wrong, so that a program which asks on and on with an old password takes no work from others.

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordVerifier};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

/// Passwords that wait to be verified, of the whole node: some seconds' worth.
const QUEUE_MAX: usize = 64;
/// Cores for each thread that verifies: passwords must not take the machine from requests.
const CORES_PER_THREAD: usize = 4;
/// Threads at most.
const THREADS_MAX: usize = 4;
/// Passwords remembered as right for each filter, and as many as wrong; beyond it all of these are verified again. Some
/// 80 kB in all.
const VERIFIED_MAX: usize = 1_024;

/// Highest cost of bcrypt: a second and more.
const BCRYPT_COST_MAX: u32 = 14;
/// Characters of a bcrypt hash.
const BCRYPT_CHARS: usize = 60;
/// Most memory of argon2, in KiB: a thread holds it while it works.
const ARGON2_MEMORY_MAX: u32 = 256 << 10;
/// Most passes of argon2 over it.
const ARGON2_PASSES_MAX: u32 = 10;
/// Most lanes of argon2, which are worked off one after the other.
const ARGON2_LANES_MAX: u32 = 16;

/// A hash as htpasswd files have it; never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Hash {
    /// `$2y$…` and its like.
    Bcrypt(String),
    /// `$argon2id$…` and its like.
    Argon2(String),
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

impl Hash {
    /// Reads a hash.
    ///
    /// # Errors
    /// What is wrong with it; nothing of the hash itself.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.split('$');
        if parts.next() != Some("") {
            return Err("is neither bcrypt nor argon2");
        }
        match parts.next() {
            Some("2a" | "2b" | "2y") => {
                let cost = parts.next().and_then(|cost| cost.parse::<u32>().ok());
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/';
                let is_whole =
                    text.len() == BCRYPT_CHARS && parts.next().is_some_and(|rest| rest.bytes().all(is_plain));
                match cost {
                    Some(4..=BCRYPT_COST_MAX) if is_whole => Ok(Self::Bcrypt(text.to_owned())),
                    Some(cost) if cost > BCRYPT_COST_MAX && is_whole => {
                        Err("costs more than 14, which is seconds for each log-in")
                    }
                    _ => Err("begins as bcrypt and goes on as something else"),
                }
            }
            Some("argon2id" | "argon2i" | "argon2d") => {
                let is_bearable = |figures: &str| {
                    figures.split(',').all(|figure| {
                        let (name, number) = figure.split_once('=').unwrap_or_default();
                        let max = match name {
                            "m" => ARGON2_MEMORY_MAX,
                            "t" => ARGON2_PASSES_MAX,
                            "p" => ARGON2_LANES_MAX,
                            _ => return true,
                        };
                        number.parse::<u32>().is_ok_and(|number| number <= max)
                    })
                };
                if PasswordHash::new(text).is_err() {
                    Err("begins as argon2 and goes on as something else")
                } else if parts.all(is_bearable) {
                    Ok(Self::Argon2(text.to_owned()))
                } else {
                    Err("takes more than 256 MiB, 10 passes or 16 lanes")
                }
            }
            _ => Err("is neither bcrypt nor argon2"),
        }
    }

    fn text(&self) -> &str {
        let (Self::Bcrypt(text) | Self::Argon2(text)) = self;
        text
    }

    /// Takes a tenth of a second and more.
    fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
            Self::Argon2(text) => PasswordHash::new(text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
        }
    }
}

/// A digest of who was right with what.
type Digest = [u8; 32];

/// What was verified already, by digests that are worth nothing outside this process. Right and wrong ones are bounded each
/// by itself: guesses push no session out.
pub struct Verified {
    key: [u8; 32],
    right: RwLock<HashSet<Digest>>,
    wrong: RwLock<HashSet<Digest>>,
}

/// What was found out of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Right,
    Wrong,
}

/// Whether there is a user of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    User,
    Nobody,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verified(…)")
    }
}

impl Default for Verified {
    fn default() -> Self {
        Self {
            key: rand::random(),
            right: RwLock::default(),
            wrong: RwLock::default(),
        }
    }
}

impl Verified {
    /// Of the hash, too: with a new one in the file the old password is right no more, and a new one not wrong any more. And
    /// of whether there is such a user: there may be one tomorrow.
    fn digest(&self, of: Of, hash: &Hash, user: &[u8], password: &[u8]) -> Digest {
        let mut digest = Sha256::new_with_prefix(self.key);
        digest.update([of as u8]);
        for part in [hash.text().as_bytes(), user, password] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    /// What was found out of it, if anything was.
    fn knows(&self, digest: &Digest) -> Option<Found> {
        let has = |known: &RwLock<HashSet<Digest>>| {
            let known = known.read().unwrap_or_else(PoisonError::into_inner);
            known.contains(digest)
        };
        if has(&self.right) {
            return Some(Found::Right);
        }
        has(&self.wrong).then_some(Found::Wrong)
    }

    fn add(&self, digest: Digest, found: Found) {
        let known = match found {
            Found::Right => &self.right,
            Found::Wrong => &self.wrong,
        };
        let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= VERIFIED_MAX {
            known.clear();
        }
        known.insert(digest);
    }
}

/// Whether a password is right.
#[derive(Debug)]
pub enum Answer {
    /// It is, as is known from before.
    Right,
    /// It is not, as is known from before.
    Wrong,
    /// That is being found out.
    Pending(Question),
    /// Too many wait already.
    Busy,
}

/// A password that is being verified.
#[derive(Debug)]
pub struct Question(oneshot::Receiver<bool>);

impl Question {
    /// Whether it is right; `None`: nobody found out.
    ///
    /// # Cancel safety
    /// Whoever stops asking is not verified, if its turn has not come.
    pub async fn answer(self) -> Option<bool> {
        self.0.await.ok()
    }
}

struct Job {
    hash: Arc<Hash>,
    password: Vec<u8>,
    /// Of nobody: he is told so no sooner than others.
    of: Of,
    digest: Digest,
    verified: Arc<Verified>,
    answer: oneshot::Sender<bool>,
}

/// Whether that is the user's password. Where there is no such user, the work is done all the same, for some hash.
pub fn verify(
    verified: &Arc<Verified>,
    user: &[u8],
    password: &[u8],
    hash: Option<&Arc<Hash>>,
    some: &Arc<Hash>,
) -> Answer {
    let of = match hash {
        Some(_) => Of::User,
        None => Of::Nobody,
    };
    let hash = hash.unwrap_or(some);
    let digest = verified.digest(of, hash, user, password);
    match verified.knows(&digest) {
        Some(Found::Right) => return Answer::Right,
        Some(Found::Wrong) => return Answer::Wrong,
        None => {}
    }
    let (answer, question) = oneshot::channel();
    let job = Job {
        hash: Arc::clone(hash),
        of,
        password: password.to_vec(),
        digest,
        verified: Arc::clone(verified),
        answer,
    };
    match queue().as_ref().map(|queue| queue.try_send(job)) {
        Some(Ok(())) => Answer::Pending(Question(question)),
        Some(Err(_)) | None => Answer::Busy,
    }
}

/// Begun with the first password; `None`: there are no threads to be had.
fn queue() -> &'static Option<SyncSender<Job>> {
    static QUEUE: OnceLock<Option<SyncSender<Job>>> = OnceLock::new();
    QUEUE.get_or_init(|| {
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = (cores / CORES_PER_THREAD).clamp(1, THREADS_MAX);
        let start = |_| {
            let jobs = Arc::clone(&jobs);
            let builder = thread::Builder::new().name("gw-passwords".to_owned());
            builder.spawn(move || work(&jobs))
        };
        let started = (0..threads).map(start).filter(Result::is_ok).count();
        (started > 0).then_some(queue)
    })
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        if job.answer.is_closed() {
            continue;
        }
        // A page asks over several connections at once: the first one's answer is that of all.
        let found = job.verified.knows(&job.digest).unwrap_or_else(|| {
            // Should a hash ever make its crate panic, the others still want this thread; of the password nothing was found.
            let Ok(is_right) = catch_unwind(AssertUnwindSafe(|| job.hash.is_of(&job.password))) else {
                return Found::Wrong;
            };
            let found = match (is_right, job.of) {
                (true, Of::User) => Found::Right,
                _ => Found::Wrong,
            };
            job.verified.add(job.digest, found);
            found
        });
        // Who asked may have gone.
        let _gone = job.answer.send(found == Found::Right);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Of "password", at the least cost.
    pub(crate) const BCRYPT: &str = "$2y$04$7YoKaDqlKtTXCxrONH4pkOcvYqhTg9DIcER.L0LnWwBkfwoWERMzG";
    /// Of "password", with little memory: of the test vectors of the reference implementation.
    pub(crate) const ARGON2: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    #[test]
    fn hashes_are_read_and_what_nobody_should_wait_for_is_refused() {
        let rows: [(&str, Result<&str, &str>); 11] = [
            (BCRYPT, Ok("password")),
            (ARGON2, Ok("password")),
            ("secret", Err("is neither")),
            ("", Err("is neither")),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", Err("is neither")),
            ("$apr1$x$y", Err("is neither")),
            ("$2y$05$abc", Err("begins as bcrypt")),
            (&BCRYPT.replace("$04$", "$15$"), Err("costs more than 14")),
            (&BCRYPT.replace("$04$", "$03$"), Err("begins as bcrypt")),
            ("$argon2id$v=19$m=x", Err("takes more than")),
            (&ARGON2.replace("t=2", "t=11"), Err("takes more than")),
        ];
        for (text, expected) in rows {
            match (Hash::parse(text), expected) {
                (Ok(hash), Ok(password)) => {
                    assert!(hash.is_of(password.as_bytes()), "{text}");
                    assert!(!hash.is_of(b"Password"), "{text}");
                    assert_eq!(format!("{hash:?}"), "Hash(…)");
                }
                (Err(fault), Err(expected)) => assert!(fault.starts_with(expected), "{text}: {fault}"),
                (got, expected) => panic!("{text}: {got:?} {expected:?}"),
            }
        }
    }

    async fn ask(
        verified: &Arc<Verified>,
        user: &str,
        password: &str,
        hash: Option<&Arc<Hash>>,
    ) -> (&'static str, bool) {
        let some = Arc::new(Hash::parse(BCRYPT).unwrap());
        match verify(verified, user.as_bytes(), password.as_bytes(), hash, &some) {
            Answer::Right => ("known", true),
            Answer::Wrong => ("known", false),
            Answer::Pending(question) => ("asked", question.answer().await.unwrap()),
            Answer::Busy => panic!("busy"),
        }
    }

    #[tokio::test]
    async fn what_was_found_out_is_known_for_that_user_and_that_hash() {
        let verified = Arc::<Verified>::default();
        let [one, other] = [BCRYPT, ARGON2].map(|text| Arc::new(Hash::parse(text).unwrap()));
        let rows = [
            ("ann", "wrong", Some(&one), ("asked", false)),
            ("ann", "wrong", Some(&one), ("known", false)),
            ("ann", "wrong", Some(&other), ("asked", false)),
            ("bob", "wrong", Some(&one), ("asked", false)),
            ("ann", "password", Some(&one), ("asked", true)),
            ("ann", "password", Some(&one), ("known", true)),
            ("annp", "assword", Some(&one), ("asked", false)),
            ("bob", "password", Some(&one), ("asked", true)),
            ("ann", "password", Some(&other), ("asked", true)),
            ("cat", "password", None, ("asked", false)),
            ("cat", "password", None, ("known", false)),
            // She has registered, with the hash that stood for hers before.
            ("cat", "password", Some(&one), ("asked", true)),
        ];
        for (user, password, hash, expected) in rows {
            assert_eq!(
                ask(&verified, user, password, hash).await,
                expected,
                "{user} {password}"
            );
        }
    }

    #[test]
    fn what_is_known_is_bounded() {
        let verified = Verified::default();
        let session = [9; 32];
        verified.add(session, Found::Right);
        for index in 0..3_000_u32 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&index.to_le_bytes());
            verified.add(digest, Found::Wrong);
            assert_eq!(verified.knows(&digest), Some(Found::Wrong));
            assert!(verified.wrong.read().unwrap().len() <= VERIFIED_MAX);
        }
        // No guess has pushed out what is right.
        assert_eq!(verified.knows(&session), Some(Found::Right));
        for index in 0..3_000_u32 {
            let mut digest = [1; 32];
            digest[..4].copy_from_slice(&index.to_le_bytes());
            verified.add(digest, Found::Right);
            assert!(verified.right.read().unwrap().len() <= VERIFIED_MAX);
        }
    }
}
