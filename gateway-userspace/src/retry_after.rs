//! How long a server asks to be left alone (`Retry-After`): upstreams of a retry, authorities of an order.

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap};

/// What an answer's head says; `None`: nothing that can be read.
///
/// A date is compared with that of the answer itself, so that no two clocks are: ours, `now`, counts only where the answer
/// has none. One that is over asks for nothing.
///
/// Source: RFC 9110, section 10.2.3.
pub fn retry_after(headers: &HeaderMap, now: impl FnOnce() -> SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
    let now = date
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or_else(now);
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::HeaderValue;

    use super::*;

    #[test]
    fn it_is_seconds_or_a_date_by_the_answers_own_clock_and_nothing_else() {
        const LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT";
        const EARLIER: &str = "Sun, 06 Nov 1994 08:48:37 GMT";
        // Sun, 06 Nov 1994 08:49:37 GMT.
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let rows = [
            (Some("120"), None, Some(120)),
            (Some("120"), Some(LATER), Some(120)),
            (Some(LATER), None, Some(60)),
            (Some(LATER), Some(EARLIER), Some(120)),
            (Some(LATER), Some(LATER), Some(0)),
            (Some(LATER), Some("yesterday"), Some(60)),
            (Some(EARLIER), None, Some(0)),
            (Some("soon"), None, None),
            (Some("-1"), None, None),
            (Some(""), None, None),
            (None, Some(LATER), None),
        ];
        for (asked, date, expected) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::RETRY_AFTER, asked), (header::DATE, date)] {
                if let Some(value) = value {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            let got = retry_after(&headers, || now);
            assert_eq!(got, expected.map(Duration::from_secs), "{asked:?}, {date:?}");
        }
    }
}
