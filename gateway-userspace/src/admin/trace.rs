//! `GET /v1/trace`: packets of the data plane as they pass, one a line as JSON, until as many were told as were asked for, the
//! time is over, or the reader goes.
//!
//! | in the query | what |
//! |---|---|
//! | `address` | network or address: of sender, receiver or client |
//! | `vip` | name of a VIP |
//! | `sample` | one of so many packets; 1 unless it is said |
//! | `rate` | packets that each core tells a second at most; 1,000 unless it is said |
//! | `count`, `seconds` | after so many it is over |
//! | `snap` | bytes of each frame's start that are told |

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::follow::Body;
use crate::config::{limits, validate};
use crate::json_line::json_line;
use crate::trace::{End, Order, Progress, Running, Wish};

/// How often a stream says how far it is; so a reader that is gone is found, too.
const PROGRESS: Duration = Duration::from_secs(1);

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Of the data plane.
    pub order: Order,
    /// For so long; `None`: until it goes.
    pub lasts: Option<Duration>,
}

/// Reads a query.
///
/// # Errors
/// A sentence for the client.
pub fn asked(query: Option<&str>) -> Result<Asked, String> {
    let mut asked = Asked {
        order: Order {
            wish: Wish {
                address: None,
                vip: None,
                sample: 1,
                rate: limits::TRACE_RATE,
            },
            snap: None,
            count: None,
        },
        lasts: None,
    };
    let order = &mut asked.order;
    for pair in query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
    {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "address" => {
                let prefix = validate::prefix(value).ok_or_else(|| {
                    format!("address is \"{value}\": write a network or an address, as in 198.51.100.0/24.")
                })?;
                order.wish.address = Some(prefix);
            }
            "vip" => order.wish.vip = Some(value.to_owned()),
            "sample" => order.wish.sample = number(key, value, u64::from(limits::TRACE_SAMPLE_MAX))? as u32,
            "rate" => order.wish.rate = number(key, value, u64::from(limits::TRACE_RATE_MAX))? as u32,
            "count" => order.count = Some(number(key, value, u64::MAX)?),
            "seconds" => {
                let seconds = number(key, value, limits::TRACE_SECONDS_MAX)?;
                asked.lasts = Some(Duration::from_secs(seconds));
            }
            "snap" => order.snap = Some(number(key, value, limits::TRACE_SNAP_MAX as u64)? as usize),
            _ => {
                return Err(format!(
                    "/v1/trace takes address, vip, sample, rate, count, seconds and snap, not {key}."
                ));
            }
        }
    }
    Ok(asked)
}

fn number(key: &str, value: &str, most: u64) -> Result<u64, String> {
    let number = value.parse::<u64>().ok();
    let number = number.filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| match most {
        u64::MAX => format!("{key} is \"{value}\": write a whole number of at least 1."),
        most => format!("{key} is \"{value}\": write a whole number from 1 to {most}."),
    })
}

/// A stream of packets.
struct Streaming {
    running: Running,
    progress: Interval,
    ends: Option<Instant>,
    stopped: watch::Receiver<()>,
}

/// The lines of a trace, until it is over or the server stops.
pub fn lines(running: Running, lasts: Option<Duration>, stopped: watch::Receiver<()>) -> Body {
    let mut progress = interval_at(Instant::now() + PROGRESS, PROGRESS);
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let streaming = Streaming {
        running,
        progress,
        ends: lasts.map(|lasts| Instant::now() + lasts),
        stopped,
    };
    let lines = stream::unfold(Some(streaming), |streaming| async move {
        let mut streaming: Streaming = streaming?;
        match streaming.next().await {
            Next::Line(line) => Some((line, Some(streaming))),
            Next::End(why) => Some((streaming.last(why), None)),
        }
    });
    let frames = futures_util::StreamExt::map(lines, |bytes| Ok(Frame::data(bytes)));
    StreamBody::new(frames).boxed_unsync()
}

enum Next {
    Line(Bytes),
    End(&'static str),
}

impl Streaming {
    async fn next(&mut self) -> Next {
        let ends = self.ends;
        let over = async {
            match ends {
                Some(ends) => sleep_until(ends).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // Its sender never sends: this is ready when it is gone.
            _ = self.stopped.changed() => Next::End("the node stops"),
            () = over => Next::End("the time is over"),
            // Before packets, of which there may always be one more.
            _ = self.progress.tick() => Next::Line(Bytes::from(json_line(&Progress {
                counts: self.running.counting.counts(),
            }))),
            packet = self.running.lines.recv() => match packet {
                Some(line) => Next::Line(line),
                None => Next::End("as many packets were told as were asked for"),
            },
        }
    }

    fn last(&self, why: &str) -> Bytes {
        Bytes::from(json_line(&End {
            end: why.to_owned(),
            counts: self.running.counting.counts(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::trace::{Counting, Counts};

    #[test]
    fn queries_say_what_is_wanted_or_are_refused_with_a_sentence() {
        let asked_for = asked(Some(
            "address=2001:db8::/32&vip=public&sample=10&rate=5&count=7&seconds=9&snap=64",
        ))
        .unwrap();
        let wish = &asked_for.order.wish;
        assert_eq!(wish.address.unwrap().to_string(), "2001:db8::/32");
        assert_eq!(
            (wish.vip.as_deref(), wish.sample, wish.rate),
            (Some("public"), 10, 5)
        );
        assert_eq!((asked_for.order.count, asked_for.order.snap), (Some(7), Some(64)));
        assert_eq!(asked_for.lasts, Some(Duration::from_secs(9)));

        for empty in [None, Some("")] {
            let asked_for = asked(empty).unwrap();
            let wish = asked_for.order.wish;
            assert_eq!((wish.address, wish.vip, wish.sample), (None, None, 1));
            assert_eq!((wish.rate, asked_for.lasts), (limits::TRACE_RATE, None));
        }
        for (query, sentence) in [
            (
                "address=10.0.0.0/33",
                "address is \"10.0.0.0/33\": write a network",
            ),
            ("sample=0", "sample is \"0\": write a whole number from 1 to"),
            ("rate=x", "rate is \"x\""),
            ("count=-1", "count is \"-1\": write a whole number of at least 1"),
            ("snap=257", "snap is \"257\": write a whole number from 1 to 256"),
            ("seconds", "seconds is \"\""),
            ("port=80", "not port"),
        ] {
            let refused = asked(Some(query)).unwrap_err();
            assert!(refused.contains(sentence), "{query}: {refused}");
        }
    }

    struct Fixed;

    impl Counting for Fixed {
        fn counts(&self) -> Counts {
            Counts {
                seen: 3,
                ..Counts::default()
            }
        }
    }

    async fn next(body: &mut Body) -> String {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        String::from_utf8(frame.to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_tells_packets_then_how_many_and_why_it_ends() {
        for (why, end) in [
            ("stopped", "the node stops"),
            ("over", "the time is over"),
            ("counted", "as many packets were told"),
        ] {
            let (stopping, stopped) = watch::channel(());
            let (packets, told) = mpsc::channel(4);
            let running = Running {
                lines: told,
                counting: Box::new(Fixed),
            };
            let mut body = lines(running, Some(Duration::from_millis(1_500)), stopped);
            packets.try_send(Bytes::from_static(b"a packet\n")).unwrap();
            assert_eq!(next(&mut body).await, "a packet\n");
            let progress = next(&mut body).await;
            assert_eq!(
                serde_json::from_str::<Progress>(&progress).unwrap().counts.seen,
                3
            );
            match why {
                "stopped" => drop(stopping),
                "counted" => drop(packets),
                _ => {}
            }
            let last: End = serde_json::from_str(&next(&mut body).await).unwrap();
            assert!(last.end.contains(end) && last.counts.seen == 3, "{last:?}");
            assert!(body.frame().await.is_none(), "{why}");
        }
    }
}
