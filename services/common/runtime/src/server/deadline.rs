//! Until when a call is worth answering. tonic's own timeout ignores a malformed header and answers CANCELLED.

use std::time::{Duration, Instant};

use cqm_rpc::{Deadline, Error, Refusal, metadata, reason};
use http::HeaderMap;

use super::DeadlineConfig;
use super::method::Method;

/// What the caller asked for, within what the process gives, of a call that came at `began`: finding out who calls may
/// have taken a part of it.
pub(super) fn read(
    headers: &HeaderMap,
    method: &Method,
    config: &DeadlineConfig,
    began: Instant,
) -> Result<Deadline, Error> {
    let (fallback, cap) =
        if method.streams { (config.stream_cap, config.stream_cap) } else { (config.fallback, config.cap) };
    let mut values = headers.get_all(metadata::TIMEOUT).iter();
    let budget = match (values.next(), values.next()) {
        (None, _) => fallback,
        (Some(value), None) => value
            .to_str()
            .ok()
            .and_then(parse)
            .ok_or_else(|| Error::Malformed(Refusal::new(reason::BAD_DEADLINE)))?,
        (Some(_), Some(_)) => return Err(Error::Malformed(Refusal::new(reason::BAD_DEADLINE))),
    };
    let deadline = Deadline::of(began, budget.min(cap));
    if deadline.remaining().is_zero() {
        return Err(Error::DeadlinePassed);
    }
    Ok(deadline)
}

/// gRPC over HTTP/2: at most eight digits and one unit.
fn parse(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back().filter(char::is_ascii)?;
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(count * 3600)),
        'M' => Some(Duration::from_secs(count * 60)),
        'S' => Some(Duration::from_secs(count)),
        'm' => Some(Duration::from_millis(count)),
        'u' => Some(Duration::from_micros(count)),
        'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("0S", Duration::ZERO),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_the_protocol_does_not_allow_is_no_deadline() {
        for text in ["", "S", "1", "1s", "1.5S", "-1S", "+1S", " 1S", "1S ", "100000000S", "1é", "é", "１S"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
