//! Requests: what the inspector lets through is what hyper gives its service, and hyper finds no fault of its own.
//!
//! An input's first byte says how to split the rest (`0`: not at all) and which mode holds (odd: lenient).

#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use gateway_fuzz::gateway::inspect::{
    Body, Inspected, MethodKind, Mode, Offered, Report, RequestInspector, Resume, Rules, Step, Version,
};
use gateway_fuzz::message::{apart, dechunked};
use gateway_fuzz::socket::{Socket, Splits, run};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;

/// One request as the inspector let it through.
#[derive(Debug, PartialEq, Eq)]
struct Passed {
    head: Vec<u8>,
    fields: usize,
    /// Bytes of its body without chunks; `None`: it did not end.
    body: Option<usize>,
    version: Version,
}

/// What the inspector says of an input.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    passed: Vec<Passed>,
    end: Step,
}

/// One request as hyper's service gets it.
#[derive(Debug)]
struct Served {
    method: String,
    target: String,
    fields: usize,
    /// `None`: it broke.
    body: Option<usize>,
}

fuzz_target!(|input: &[u8]| {
    let Some((way, input)) = input.split_first() else {
        return;
    };
    let rules = Rules {
        mode: if way % 2 == 1 { Mode::Lenient } else { Mode::Strict },
        head_bytes_max: 2_048,
        target_bytes_max: 256,
        ..Rules::default()
    };
    let whole = inspect(rules, input, Splits::new(0));
    let splits = Splits::new(way.wrapping_sub(b'0'));
    let split = inspect(rules, input, splits);
    assert_eq!(split, whole, "the verdict hangs on the splits");
    compare(&whole, serve(rules, input, splits));
});

/// Shows an input to the inspector alone.
fn inspect(rules: Rules, input: &[u8], mut splits: Splits) -> Verdict {
    let mut inspector = RequestInspector::new(rules);
    let (mut passed, mut message) = (Vec::new(), Vec::new());
    let (mut from, mut to) = (0, 0);
    let end = loop {
        let heads = inspector.heads();
        let step = inspector.step(&input[from..to]);
        match step {
            Step::Pass(count) => {
                if inspector.heads() != heads && !message.is_empty() {
                    passed.push(taken_apart(&message));
                    message.clear();
                }
                message.extend_from_slice(&input[from..from + count]);
                from += count;
                continue;
            }
            Step::Hold => {
                inspector.resume(Resume::Http);
                continue;
            }
            Step::Refuse(_) | Step::Break(_) | Step::Last => break step,
            Step::Wait if to == input.len() => break step,
            Step::Wait => to += splits.next_len().min(input.len() - to),
        }
    };
    if !message.is_empty() {
        passed.push(taken_apart(&message));
    }
    assert_eq!(
        passed.len() as u64,
        inspector.heads(),
        "one message for each head"
    );
    if let (Some(summary), Some(last)) = (inspector.summary(), passed.last()) {
        match (summary.body, last.body) {
            (Body::None, body) => assert_eq!(body, Some(0)),
            (Body::Length(length), Some(body)) => assert_eq!(length, body as u64),
            _ => {}
        }
    }
    if matches!(end, Step::Break(_)) {
        // How much of a broken body passes before the fault is seen hangs on the splits.
        if let Some(last) = passed.last_mut() {
            last.body = None;
        }
    }
    Verdict { passed, end }
}

/// Reads a message that passed once more.
fn taken_apart(message: &[u8]) -> Passed {
    let blank = message
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    let parts = apart(&message[blank..]);
    let body = if parts.values("transfer-encoding").is_empty() {
        let length = parts.values("content-length");
        let length = length.first().map_or(0, |value| value.parse().expect("judged"));
        (parts.rest.len() == length).then_some(length)
    } else {
        dechunked(parts.rest).map(|data| data.len())
    };
    Passed {
        head: parts.head.to_vec(),
        fields: parts.lines() - 1,
        body,
        version: if parts.first_line().ends_with("1.0") {
            Version::Http10
        } else {
            Version::Http11
        },
    }
}

/// Serves an input by hyper, behind the inspector.
fn serve(rules: Rules, input: &[u8], splits: Splits) -> (Vec<Served>, Rc<Report>) {
    let report = Rc::<Report>::default();
    let served = Rc::new(RefCell::new(Vec::new()));
    let stream = Inspected::server(Socket::new(input, splits), Vec::new(), rules, Rc::clone(&report));
    let (theirs, log) = (Rc::clone(&report), Rc::clone(&served));
    let service = service_fn(move |request: Request<Incoming>| {
        let (report, served) = (Rc::clone(&theirs), Rc::clone(&log));
        async move {
            let summary = report.summary();
            let (head, body) = request.into_parts();
            let index = served.borrow().len();
            served.borrow_mut().push(Served {
                method: head.method.to_string(),
                target: head.uri.to_string(),
                fields: head.headers.len(),
                body: None,
            });
            let body = body.collect().await.ok().map(|body| body.to_bytes().len());
            served.borrow_mut()[index].body = body;
            let holds = |summary: &gateway_fuzz::gateway::inspect::HeadSummary| {
                summary.offered == Offered::Upgrade || summary.method == MethodKind::Connect
            };
            if summary.as_ref().is_some_and(holds) {
                report.resume(Resume::Http);
            }
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok::<_, Infallible>(response)
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Some(Err(error)) = run(connection) {
        assert!(
            !error.is_parse() && !error.is_parse_too_large(),
            "hyper's own fault: {error:?}"
        );
    }
    let served = std::mem::take(&mut *served.borrow_mut());
    (served, report)
}

fn compare(verdict: &Verdict, (mut served, report): (Vec<Served>, Rc<Report>)) {
    if let Step::Refuse(refusal) = verdict.end {
        let refused = report.refused();
        let cut = verdict
            .passed
            .iter()
            .any(|passed| passed.version == Version::Http10);
        if !cut {
            let refused = refused.expect("the stream refuses, too");
            assert_eq!(
                (refused.refusal, refused.index),
                (refusal, verdict.passed.len() as u64)
            );
            let stands_for_it = served.pop().expect("the refused head keeps its place");
            assert_eq!(stands_for_it.fields, 2);
        } else if served.len() > verdict.passed.len() {
            served.pop();
        }
    }
    let old = verdict
        .passed
        .iter()
        .position(|passed| passed.version == Version::Http10);
    match old {
        // hyper's answers to HTTP/1.0 end the connection unless the service says otherwise.
        Some(at) => assert!(served.len() > at && served.len() <= verdict.passed.len()),
        None => assert_eq!(served.len(), verdict.passed.len(), "{verdict:?} {served:?}"),
    }
    for (index, (served, passed)) in served.iter().zip(&verdict.passed).enumerate() {
        let line = String::from_utf8_lossy(&passed.head).into_owned();
        let mut words = line.split([' ', '\r', '\n']);
        assert_eq!(words.next(), Some(served.method.as_str()));
        let target = words.next().unwrap_or_default();
        if target.starts_with('/') {
            let target = target.split('#').next().unwrap_or_default();
            assert_eq!(target, served.target);
        }
        assert_eq!(passed.fields, served.fields, "{line:?}");
        let is_last = index + 1 == verdict.passed.len();
        if is_last && matches!(verdict.end, Step::Break(_)) {
            assert_eq!(served.body, None, "a broken body is no body");
        } else {
            assert_eq!(served.body, passed.body, "{line:?}");
        }
    }
}
