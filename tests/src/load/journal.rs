//! What became of each connection attempt and each request.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Records that a journal takes: an hour of the demo's rate, some 200 MB.
const RECORDS_MAX: usize = 2_000_000;

/// A client's connection: no two of a process have the same number, whatever their journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// What its requests carry as `x-request-id`, and what the gateway writes to its access log.
    pub fn request_id(self) -> String {
        format!("{REQUEST_ID_PREFIX}{}", self.0)
    }

    /// The connection of a request of that identity; `None` for what [`ConnectionId::request_id`] did not make.
    pub fn of_request_id(text: &str) -> Option<Self> {
        text.strip_prefix(REQUEST_ID_PREFIX)?.parse().ok().map(Self)
    }
}

/// Tells the identities of the load's requests from those that the gateway makes.
const REQUEST_ID_PREFIX: &str = "load-";

/// The next connection's number.
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(0);

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To open a connection.
    Connect,
    /// To get an answer on an open connection.
    Request,
    /// Nothing: the connection ended between two requests.
    Idle,
}

/// Why something failed, as the client saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The SYN was answered with a reset.
    Refused,
    /// The connection was reset.
    Reset,
    /// The other side closed before it had answered.
    Closed,
    /// No answer in time.
    TimedOut,
    /// The network says that there is no way there.
    Unreachable,
    /// An answer other than 2xx.
    Status(u16),
    /// One connection was answered by two nodes.
    Moved,
    /// Anything else.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("reset"),
            Self::Closed => f.write_str("closed early"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Moved => f.write_str("answered by two nodes"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// One connection attempt, request or end of an idle connection.
#[derive(Clone, Debug)]
pub struct Record {
    /// On which connection.
    pub connection: ConnectionId,
    /// When that connection's attempt began.
    pub opened: Instant,
    /// What was tried.
    pub step: Step,
    /// The node that the connection ended on, where an answer has told.
    pub node: Option<Arc<str>>,
    /// When this began.
    pub started: Instant,
    /// When its outcome was known.
    pub ended: Instant,
    /// What came of it.
    pub outcome: Result<(), Failure>,
}

/// All records of a load, in the order in which their outcomes were known.
#[derive(Debug, Default)]
pub struct Journal {
    left_out: AtomicU64,
    records: Mutex<Vec<Record>>,
}

impl Journal {
    /// A number for a new connection.
    pub fn new_connection(&self) -> ConnectionId {
        ConnectionId(NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed))
    }

    /// Adds a record; beyond the journal's bound it is only counted.
    pub fn add(&self, record: Record) {
        let mut records = self.records();
        if records.len() < RECORDS_MAX {
            records.push(record);
        } else {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The records from number `from` on.
    pub fn since(&self, from: usize) -> Vec<Record> {
        self.records().get(from..).unwrap_or_default().to_vec()
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.records().len()
    }

    /// Whether nothing was recorded yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records that found no room: figures made of the rest are wrong where this is not 0.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        // A push either happened or not.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
