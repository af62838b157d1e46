//! Responses: what the inspector lets through is what hyper's client gives for it, and hyper finds no fault of its own.
//!
//! An input's first byte says how to split the answers (`0`: not at all) and which mode holds (odd: lenient). Up to the
//! first line feed follow the requests, one letter each (`H`: HEAD, `C`: CONNECT, any other: GET), of which each is
//! sent when the one before is answered; then the answers, after which the input ends.

#![no_main]

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use gateway_fuzz::gateway::inspect::{
    Answer, End, Inspected, Mode, Report, ResponseInspector, Resume, Rules, Step,
};
use gateway_fuzz::message::{Parts, apart, dechunked};
use gateway_fuzz::socket::{Splits, run};
use gateway_fuzz::turns::Turns;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;

/// Requests of one input.
const REQUESTS_MAX: usize = 8;

/// One answer: as the inspector let it through, or as hyper's client gives it.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    status: u16,
    fields: usize,
    /// Its body without chunks; `None`: it did not end.
    body: Option<Vec<u8>>,
}

/// What the inspector says of an input.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    answers: Vec<Read>,
    /// Where the answers end, the last one, too, if it does.
    ends: Vec<usize>,
    /// After this one hyper may close: the peer said that it will, or ends it so.
    last: Option<usize>,
    end: Ended,
}

/// How an input ends.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// A bad head, or a body that breaks.
    Fault(Step),
    /// By the end of the input.
    Input(End),
    /// With a change of protocols; what follows is the tunnel's.
    Tunnel(Vec<u8>),
}

/// What hyper makes of an input.
struct Given {
    answers: Vec<Read>,
    report: Rc<Report>,
    /// Bytes that hyper read and made nothing of.
    taken: usize,
    /// What hyper did not read.
    rest: Vec<u8>,
}

fuzz_target!(|input: &[u8]| {
    let Some((way, input)) = input.split_first() else {
        return;
    };
    let Some(line_end) = input.iter().position(|&byte| byte == b'\n') else {
        return;
    };
    let asked: Vec<Answer> = input[..line_end]
        .iter()
        .take(REQUESTS_MAX)
        .map(|letter| match letter {
            b'H' => Answer::ToHead,
            b'C' => Answer::ToConnect,
            _ => Answer::ToOther,
        })
        .collect();
    if asked.is_empty() {
        return;
    }
    let answers = &input[line_end + 1..];
    let rules = Rules {
        mode: if way % 2 == 1 { Mode::Lenient } else { Mode::Strict },
        head_bytes_max: 2_048,
        ..Rules::default()
    };
    let whole = inspect(rules, &asked, answers, Splits::new(0));
    let splits = Splits::new(way.wrapping_sub(b'0'));
    let split = inspect(rules, &asked, answers, splits);
    assert_eq!(split, whole, "the verdict hangs on the splits");
    compare(&whole, &asked, &ask(rules, &asked, answers, &whole.ends, splits));
});

/// Shows the answers to the inspector alone.
fn inspect(rules: Rules, asked: &[Answer], input: &[u8], mut splits: Splits) -> Verdict {
    let mut inspector = ResponseInspector::new(rules);
    let (mut messages, mut ends) = (Vec::<Vec<u8>>::new(), Vec::new());
    let mut last = None;
    let (mut from, mut to) = (0, 0);
    inspector.expect(asked[0]);
    let end = loop {
        let (heads, interim) = (inspector.heads(), inspector.interim());
        let step = inspector.step(&input[from..to]);
        match step {
            Step::Pass(count) => {
                assert!(count > 0 && count <= to - from, "as many as there are");
                let passed = &input[from..from + count];
                from += count;
                if inspector.interim() != interim {
                    assert_eq!((inspector.interim(), inspector.heads()), (interim + 1, heads));
                    continue;
                }
                if inspector.heads() == heads {
                    messages
                        .last_mut()
                        .expect("a head before its body")
                        .extend_from_slice(passed);
                } else {
                    messages.push(passed.to_vec());
                    if last.is_none() && ends_connection(&inspector, apart(passed)) {
                        last = Some(messages.len() - 1);
                    }
                }
                let ended = inspector.eof(b"") == End::Clean && !inspector.is_until_close();
                if ended && !inspector.holds() {
                    ends.push(from);
                    if let Some(next) = asked.get(messages.len()) {
                        inspector.expect(*next);
                    }
                }
            }
            Step::Hold => {
                inspector.resume(Resume::Tunnel);
                if to > from {
                    assert_eq!(
                        inspector.step(&input[from..to]),
                        Step::Pass(to - from),
                        "a tunnel takes all"
                    );
                }
                break Ended::Tunnel(input[from..].to_vec());
            }
            Step::Refuse(_) | Step::Break(_) => break Ended::Fault(step),
            Step::Last => panic!("only requests end a connection"),
            Step::Wait if to == input.len() => break Ended::Input(inspector.eof(&input[from..to])),
            Step::Wait => to += splits.next_len().min(input.len() - to),
        }
    };
    assert_eq!(
        messages.len() as u64,
        inspector.heads(),
        "one message for each final head"
    );
    assert!(messages.len() <= asked.len(), "no more answers than requests");
    let mut answers: Vec<Read> = messages
        .iter()
        .zip(asked)
        .map(|(message, asked)| read(message, *asked))
        .collect();
    if matches!(end, Ended::Fault(Step::Break(_))) {
        // How much of a broken body passes before the fault is seen hangs on the splits.
        if let Some(last) = answers.last_mut() {
            last.body = None;
        }
    }
    Verdict {
        answers,
        ends,
        last,
        end,
    }
}

/// Whether the peer, or the lack of framing, says that nothing follows.
fn ends_connection(inspector: &ResponseInspector, parts: Parts<'_>) -> bool {
    let says_close = |value: &String| value.to_ascii_lowercase().contains("close");
    inspector.is_until_close()
        || inspector.holds()
        || parts.first_line().starts_with("HTTP/1.0")
        || parts.values("connection").iter().any(says_close)
}

/// Reads an answer that passed once more, by RFC 9112, section 6.3, as it stands there.
fn read(message: &[u8], asked: Answer) -> Read {
    let parts = apart(message);
    let status = parts
        .first_line()
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("judged");
    let without = matches!(status, 100..=199 | 204 | 304)
        || asked == Answer::ToHead
        || (asked == Answer::ToConnect && matches!(status, 200..=299));
    let body = if without {
        assert!(parts.rest.is_empty(), "no body may be there");
        Some(Vec::new())
    } else if !parts.values("transfer-encoding").is_empty() {
        dechunked(parts.rest)
    } else if let Some(length) = parts.values("content-length").first() {
        let length: u64 = length.parse().expect("judged");
        (parts.rest.len() as u64 == length).then(|| parts.rest.to_vec())
    } else {
        Some(parts.rest.to_vec())
    };
    Read {
        status,
        fields: parts.lines() - 1,
        body,
    }
}

/// Asks for the answers by hyper, behind the inspector.
fn ask(rules: Rules, asked: &[Answer], input: &[u8], begins: &[usize], splits: Splits) -> Given {
    let report = Rc::<Report>::default();
    let stream = Inspected::client(Turns::new(input, begins, splits), rules, Rc::clone(&report));
    let mut answers = Vec::new();
    let handshake = run(http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)));
    let (mut sender, connection) = handshake
        .expect("it waits for nothing")
        .expect("nothing can fail");
    let mut connection = Some(connection);
    let mut parts = None;
    {
        let mut requests = pin!(async {
            for &answer in asked {
                if sender.ready().await.is_err() {
                    return;
                }
                report.expect(answer);
                match sender.send_request(request(answer)).await {
                    Ok(response) => {
                        let (head, body) = response.into_parts();
                        let body = body.collect().await.map(|body| body.to_bytes().to_vec());
                        answers.push(Read {
                            status: head.status.as_u16(),
                            fields: head.headers.len(),
                            body: body.map_err(faultless).ok(),
                        });
                    }
                    Err(error) => {
                        faultless(error);
                        return;
                    }
                }
            }
        });
        let ended = run(poll_fn(|context| {
            if let Some(mut polled) = connection.take() {
                match Pin::new(&mut polled).poll(context) {
                    Poll::Pending => connection = Some(polled),
                    Poll::Ready(outcome) => {
                        if let Err(error) = outcome {
                            faultless(error);
                        }
                        // Whoever waits for it learns of its end by this.
                        parts = Some(polled.into_parts());
                    }
                }
            }
            requests.as_mut().poll(context)
        }));
        assert_eq!(ended, Some(()), "hyper waits though the input has ended");
    }
    drop(sender);
    let parts = parts.or_else(|| Some(connection?.into_parts()));
    let parts = parts.expect("it ended, or it did not");
    let (turns, held) = parts.io.into_inner().into_inner();
    Given {
        answers,
        report,
        taken: parts.read_buf.len(),
        rest: [held.as_slice(), turns.rest()].concat(),
    }
}

fn request(answer: Answer) -> Request<Empty<Bytes>> {
    let (method, target) = match answer {
        Answer::ToHead => (Method::HEAD, "/"),
        Answer::ToConnect => (Method::CONNECT, "a:1"),
        Answer::ToOther => (Method::GET, "/"),
    };
    let builder = Request::builder().method(method).uri(target);
    builder.body(Empty::new()).expect("a request")
}

/// An error of hyper's that is not about what it read.
fn faultless(error: hyper::Error) {
    assert!(
        !error.is_parse() && !error.is_parse_too_large(),
        "hyper's own fault: {error:?}"
    );
}

fn compare(verdict: &Verdict, asked: &[Answer], given: &Given) {
    let Given {
        answers,
        report,
        taken,
        rest,
    } = given;
    assert!(answers.len() <= verdict.answers.len(), "hyper has more answers");
    for (given, passed) in answers.iter().zip(&verdict.answers) {
        assert_eq!(given, passed);
    }
    if answers.len() < verdict.answers.len() {
        let last = verdict.last.expect("hyper has fewer answers");
        assert!(answers.len() > last, "hyper ends the connection too early");
        return;
    }
    if verdict.last.is_some_and(|last| last + 1 < asked.len()) {
        // Whether hyper asks once more hangs on what its peer said.
        return;
    }
    match &verdict.end {
        Ended::Fault(Step::Refuse(refusal) | Step::Break(refusal)) => {
            // What follows the last answer is nobody's, and may stay unread.
            let is_read =
                verdict.answers.len() < asked.len() || matches!(verdict.end, Ended::Fault(Step::Break(_)));
            if is_read {
                assert_eq!(report.broken(), Some(*refusal));
            }
        }
        Ended::Tunnel(bytes) => {
            assert_eq!(*taken, 0, "hyper took bytes of the tunnel");
            assert_eq!(rest, bytes, "what follows a switch is the tunnel's");
        }
        Ended::Input(End::Truncated(refusal)) => assert_eq!(report.broken(), Some(*refusal)),
        Ended::Input(End::Clean | End::Unanswered) => assert_eq!(report.broken(), None),
        Ended::Fault(step) => panic!("{step:?} is no fault"),
    }
}
