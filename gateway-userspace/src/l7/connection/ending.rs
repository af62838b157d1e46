//! How connections end that never made a request: each with one line of the access log and one reason.

use std::time::Duration;

use super::{Cause, Connection};
use crate::inspect::Flood;
use crate::l7::error::Fault;
use crate::proxy_protocol;
use crate::telemetry::access_log::line::Line;
use crate::tls::NO_CERTIFICATE;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client closed without a byte: checks of load balancers do.
    Empty,
    /// The client closed within a head.
    Truncated,
    /// No byte came in time.
    FirstByteTimeout,
    /// The head did not end in time.
    HeadTimeout,
    /// HTTP/2 without a stream, closed by the client or for being idle.
    Unused,
    /// HTTP could not be read, or the connection broke.
    Unreadable,
    /// Frames that cost us and bring nothing.
    Flood(Flood),
    /// TLS could not be agreed upon.
    Handshake(HandshakeFault),
    /// A trusted proxy did not say for whom it connects.
    ProxyHeader(HeaderFault),
    /// The client that a proxy named has its most connections.
    ClientFull,
    /// The listener or the node goes.
    Drained,
    /// A fault in this program.
    Panic,
}

/// Why a header of the PROXY protocol could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// The proxy went away within it.
    Cut,
    /// What came is none.
    Bad(proxy_protocol::Fault),
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeFault {
    /// The client went away within it.
    Cut,
    /// What came is no TLS: plain HTTP, a scan.
    NoTls,
    /// The client's first message is longer than is read of one that is passed on.
    HelloTooLong,
    /// Versions, ciphers or protocols have nothing in common.
    Incompatible,
    /// The client shows no certificate, and must.
    NoCertificate,
    /// It shows one that is not taken.
    BadCertificate,
    /// The client does not take ours, or gives up for another reason of its own.
    Refused,
    /// The certificate for that name has not been issued yet.
    NotIssued,
    /// Any other.
    Other,
}

impl HandshakeFault {
    const ALL: [Self; 9] = [
        Self::Cut,
        Self::NoTls,
        Self::HelloTooLong,
        Self::Incompatible,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::Refused,
        Self::NotIssued,
        Self::Other,
    ];

    /// What an error of a handshake comes to.
    pub(crate) fn of(error: &std::io::Error) -> Self {
        use rustls::Error;
        let Some(inner) = error.get_ref() else {
            return Self::Cut;
        };
        match inner.downcast_ref::<Error>() {
            Some(Error::InvalidMessage(_)) => Self::NoTls,
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Self::Incompatible,
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(Error::InvalidCertificate(_)) => Self::BadCertificate,
            Some(Error::AlertReceived(_)) => Self::Refused,
            Some(Error::General(text)) if text == NO_CERTIFICATE => Self::NotIssued,
            Some(_) => Self::Other,
            None => Self::Cut,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Cut => "tls-cut",
            Self::NoTls => "tls-unreadable",
            Self::HelloTooLong => "tls-hello-too-long",
            Self::Incompatible => "tls-incompatible",
            Self::NoCertificate => "tls-no-client-certificate",
            Self::BadCertificate => "tls-bad-client-certificate",
            Self::Refused => "tls-refused-by-client",
            Self::NotIssued => "tls-certificate-awaited",
            Self::Other => "tls-failed",
        }
    }
}

impl HeaderFault {
    fn reason(self) -> &'static str {
        use proxy_protocol::Fault;
        match self {
            Self::Cut => "proxy-header-cut",
            Self::Bad(Fault::Missing) => "proxy-header-missing",
            Self::Bad(Fault::Malformed) => "proxy-header-malformed",
            Self::Bad(Fault::TooLong) => "proxy-header-too-long",
            Self::Bad(Fault::Checksum) => "proxy-header-checksum",
        }
    }
}

impl Ending {
    /// Every one, in the order of [`Ending::index`]; floods, which are told apart by their frames, come after these.
    const PLAIN: [Self; 14] = [
        Self::Empty,
        Self::Truncated,
        Self::FirstByteTimeout,
        Self::HeadTimeout,
        Self::Unused,
        Self::Unreadable,
        Self::Drained,
        Self::ClientFull,
        Self::ProxyHeader(HeaderFault::Cut),
        Self::ProxyHeader(HeaderFault::Bad(proxy_protocol::Fault::Missing)),
        Self::ProxyHeader(HeaderFault::Bad(proxy_protocol::Fault::Malformed)),
        Self::ProxyHeader(HeaderFault::Bad(proxy_protocol::Fault::TooLong)),
        Self::ProxyHeader(HeaderFault::Bad(proxy_protocol::Fault::Checksum)),
        Self::Panic,
    ];

    /// Every one.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let floods = Flood::ALL.iter().map(|flood| Self::Flood(*flood));
        let handshakes = HandshakeFault::ALL.into_iter().map(Self::Handshake);
        Self::PLAIN.into_iter().chain(handshakes).chain(floods)
    }

    /// Position in [`Ending::all`], for tables of counters.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Flood(flood) => Self::PLAIN.len() + HandshakeFault::ALL.len() + flood.index(),
            Self::Handshake(fault) => {
                let among = HandshakeFault::ALL.iter().position(|other| *other == fault);
                Self::PLAIN.len() + among.unwrap_or(0)
            }
            plain => Self::PLAIN.iter().position(|other| *other == plain).unwrap_or(0),
        }
    }

    /// Metric label and access-log field.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Empty => "connection-empty",
            Self::Truncated => "head-truncated",
            Self::FirstByteTimeout => "first-byte-timeout",
            Self::HeadTimeout => "head-timeout",
            Self::Unused => "connection-unused",
            Self::Unreadable => "connection-unreadable",
            Self::Handshake(fault) => fault.reason(),
            Self::ProxyHeader(fault) => fault.reason(),
            Self::ClientFull => "client-connections-full",
            Self::Flood(flood) => flood.reason(),
            Self::Drained => "connection-drained",
            Self::Panic => "panic",
        }
    }

    pub(crate) fn fault(self) -> Fault {
        match self {
            Self::Empty | Self::Unused | Self::Drained => Fault::None,
            Self::Panic | Self::Handshake(HandshakeFault::NotIssued) => Fault::Internal,
            _ => Fault::Downstream,
        }
    }
}

impl Connection {
    /// The sweep ordered its end.
    pub(super) fn cut(&self) -> Ending {
        match self.cause.get() {
            Some(Cause::FirstByte) => Ending::FirstByteTimeout,
            Some(Cause::Head) => Ending::HeadTimeout,
            Some(Cause::Leave) => Ending::Drained,
            Some(Cause::Idle | Cause::Stalled) | None => Ending::Unused,
        }
    }

    /// HTTP on it ended in order.
    pub(in crate::l7) fn finished(&self) -> Ending {
        match self.cause.get() {
            Some(Cause::Leave) => Ending::Drained,
            _ => Ending::Unused,
        }
    }
}

/// Writes the line and counts.
pub(super) fn write(connection: &Connection, ending: Ending) {
    let worker = &connection.worker;
    worker.counters.ended_without_request(ending);
    let listener = connection.listener.borrow();
    let line = Line {
        time: worker.clock.stamp(connection.since),
        client: connection.client_text().as_str(),
        peer: connection.proxy(),
        listener: &listener.tag.name,
        route: None,
        consumer: None,
        upstream: None,
        endpoint: None,
        method: "-",
        host: b"-",
        path: "-",
        version: "-",
        status: None,
        reason: ending.reason(),
        fault: ending.fault().as_str(),
        option: None,
        tries: 0,
        bytes_in: 0,
        bytes_out: 0,
        connect: None,
        first_byte: None,
        total: worker
            .clock
            .coarse()
            .checked_duration_since(connection.since)
            .unwrap_or(Duration::ZERO),
        grpc_status: None,
        trace: None,
        tls: connection.tls().map(|tls| tls.version),
        client_certificate: connection.tls().and_then(|tls| tls.subject()),
        snapshot: listener.tag.snapshot,
        request_id: b"-",
    };
    worker.log.add(|out| line.write(out));
}
