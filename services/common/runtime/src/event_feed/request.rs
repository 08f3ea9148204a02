//! The feed's requests, with everything that is wrong with them said at once.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use cqm_db::log::{self, LoggedEvent, Parked};
use cqm_proto::events::v1 as proto;
use cqm_rpc::{Error, Page, PageRequest, Violations, reason};
use uuid::Uuid;

const HASH: usize = 32;
const DEFAULT_EVENTS: i64 = 100;
const MAX_EVENTS: i64 = 1000;
const MAX_WAIT: Duration = Duration::from_secs(20);

pub(super) struct Read {
    pub(super) consumer: String,
    pub(super) reader: String,
    pub(super) after: i64,
    pub(super) expect_hash: Bytes,
    pub(super) max: i64,
    pub(super) wait: Duration,
}

impl Read {
    pub(super) fn parse(message: proto::ReadRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        consumer(&message.consumer, &mut violations);
        text("reader", &message.reader, 1..=128, &mut violations);
        position("after_position", message.after_position, 0, &mut violations);
        hash("expect_hash", message.after_position, &message.expect_hash, &mut violations);
        let max = max_events(message.max_events, &mut violations);
        let wait = match message.wait {
            None => Some(Duration::ZERO),
            // Not for the library to find out: it negates what is below 0, and panics at the lowest of all.
            Some(wait) if wait.seconds < 0 => None,
            Some(wait) => Duration::try_from(wait).ok(),
        };
        if wait.is_none() {
            violations.range("wait", "0 or more");
        }
        let wait = wait.unwrap_or_default().min(MAX_WAIT);
        violations.finish()?;
        Ok(Self {
            consumer: message.consumer,
            reader: message.reader,
            after: message.after_position,
            expect_hash: message.expect_hash,
            max,
            wait,
        })
    }
}

pub(super) struct Ack {
    pub(super) consumer: String,
    pub(super) reader: String,
    pub(super) position: i64,
    pub(super) hash: Bytes,
}

impl Ack {
    pub(super) fn parse(message: proto::AckRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        consumer(&message.consumer, &mut violations);
        text("reader", &message.reader, 1..=128, &mut violations);
        position("position", message.position, 1, &mut violations);
        hash("hash", message.position, &message.hash, &mut violations);
        violations.finish()?;
        Ok(Self {
            consumer: message.consumer,
            reader: message.reader,
            position: message.position,
            hash: message.hash,
        })
    }
}

pub(super) struct Park {
    pub(super) consumer: String,
    pub(super) reader: String,
    pub(super) aggregate: String,
    pub(super) event_id: Uuid,
    pub(super) position: i64,
    pub(super) attempts: i32,
    reason: String,
    detail_code: String,
}

impl Park {
    pub(super) fn parse(message: proto::ParkRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        consumer(&message.consumer, &mut violations);
        text("reader", &message.reader, 1..=128, &mut violations);
        text("aggregate", &message.aggregate, 1..=200, &mut violations);
        let event_id = event_id(&message.event_id, &mut violations);
        position("position", message.position, 1, &mut violations);
        code("reason", &message.reason, 1, &mut violations);
        code("detail_code", &message.detail_code, 0, &mut violations);
        if message.attempts < 1 {
            violations.range("attempts", "1 or more");
        }
        violations.finish()?;
        Ok(Self {
            consumer: message.consumer,
            reader: message.reader,
            aggregate: message.aggregate,
            event_id,
            position: message.position,
            attempts: message.attempts,
            reason: message.reason,
            detail_code: message.detail_code,
        })
    }

    /// What to store, the event's type as the log has it.
    pub(super) fn at(&self, event: &LoggedEvent, attempts: i32) -> log::Park {
        log::Park {
            consumer: self.consumer.clone(),
            aggregate: self.aggregate.clone(),
            event_id: self.event_id,
            position: self.position,
            event_type: event.event_type.clone(),
            reason: self.reason.clone(),
            detail_code: self.detail_code.clone(),
            attempts,
        }
    }
}

pub(super) struct List {
    pub(super) consumer: String,
    page: PageRequest,
    pub(super) after: Option<(DateTime<Utc>, String)>,
}

impl List {
    pub(super) fn parse(message: proto::ListParkedRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        consumer(&message.consumer, &mut violations);
        let query = ["parked", &message.consumer];
        let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
        violations.finish()?;
        let after = page.after.as_deref().map(read_key).transpose()?;
        Ok(Self { consumer: message.consumer, page, after })
    }

    /// Rows to ask for: one more than the page holds.
    pub(super) fn limit(&self) -> i64 {
        self.page.limit()
    }

    pub(super) fn page(&self, rows: Vec<Parked>) -> Page<Parked> {
        self.page.page(rows, write_key)
    }
}

/// The last row's key in a page token: the time of parking in microseconds, then the aggregate.
fn write_key(parked: &Parked) -> Vec<u8> {
    [&parked.park_time.timestamp_micros().to_be_bytes()[..], parked.park.aggregate.as_bytes()].concat()
}

fn read_key(key: &[u8]) -> Result<(DateTime<Utc>, String), Error> {
    key.split_first_chunk::<8>()
        .and_then(|(micros, aggregate)| {
            let time = DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?;
            Some((time, std::str::from_utf8(aggregate).ok()?.to_owned()))
        })
        .ok_or_else(|| {
            Error::invalid("page_token", reason::PAGE_TOKEN_INVALID, "is not a token of this list")
        })
}

pub(super) struct ReadAggregate {
    pub(super) aggregate: String,
    pub(super) after: i64,
    pub(super) max: i64,
}

impl ReadAggregate {
    pub(super) fn parse(message: proto::ReadAggregateRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        consumer(&message.consumer, &mut violations);
        text("aggregate", &message.aggregate, 1..=200, &mut violations);
        position("after_position", message.after_position, 0, &mut violations);
        let max = max_events(message.max_events, &mut violations);
        violations.finish()?;
        Ok(Self { aggregate: message.aggregate, after: message.after_position, max })
    }
}

pub(super) struct Discard {
    pub(super) consumer: String,
    pub(super) aggregate: String,
    pub(super) event_id: Uuid,
}

impl Discard {
    pub(super) fn parse(message: proto::DiscardRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        consumer(&message.consumer, &mut violations);
        text("aggregate", &message.aggregate, 1..=200, &mut violations);
        let event_id = event_id(&message.event_id, &mut violations);
        violations.finish()?;
        Ok(Self { consumer: message.consumer, aggregate: message.aggregate, event_id })
    }
}

pub(super) struct Unpark {
    pub(super) consumer: String,
    pub(super) reader: String,
    pub(super) aggregate: String,
    pub(super) through: i64,
}

impl Unpark {
    pub(super) fn parse(message: proto::UnparkRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        consumer(&message.consumer, &mut violations);
        text("reader", &message.reader, 1..=128, &mut violations);
        text("aggregate", &message.aggregate, 1..=200, &mut violations);
        position("through_position", message.through_position, 1, &mut violations);
        violations.finish()?;
        Ok(Self {
            consumer: message.consumer,
            reader: message.reader,
            aggregate: message.aggregate,
            through: message.through_position,
        })
    }
}

/// The most reactions that a consumer may name.
const MAX_REACTIONS: usize = 1000;

pub(super) struct Register {
    pub(super) consumer: String,
    pub(super) reader: String,
    /// The id of each, and the id that it replaces.
    pub(super) reactions: Vec<(String, String)>,
}

impl Register {
    pub(super) fn parse(message: proto::RegisterReactionsRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        consumer(&message.consumer, &mut violations);
        text("reader", &message.reader, 1..=128, &mut violations);
        match message.reactions.len() {
            0 => violations.required("reactions"),
            1..=MAX_REACTIONS => {}
            _ => violations.too_long("reactions", MAX_REACTIONS),
        }
        for (index, reaction) in message.reactions.iter().take(MAX_REACTIONS).enumerate() {
            key(&format!("reactions[{index}].id"), &reaction.id, &mut violations);
            if !reaction.replaces.is_empty() {
                key(&format!("reactions[{index}].replaces"), &reaction.replaces, &mut violations);
            }
        }
        violations.finish()?;
        let reactions = message.reactions.into_iter().map(|reaction| (reaction.id, reaction.replaces));
        Ok(Self { consumer: message.consumer, reader: message.reader, reactions: reactions.collect() })
    }
}

pub(super) fn claim_key(name: String, reader: String) -> Result<(String, String), Error> {
    let mut violations = Violations::default();
    consumer(&name, &mut violations);
    text("reader", &reader, 1..=128, &mut violations);
    violations.finish()?;
    Ok((name, reader))
}

pub(super) fn consumer_alone(name: String) -> Result<String, Error> {
    let mut violations = Violations::default();
    consumer(&name, &mut violations);
    violations.finish()?;
    Ok(name)
}

pub(super) fn parked_key(name: String, aggregate: String) -> Result<(String, String), Error> {
    let mut violations = Violations::default();
    consumer(&name, &mut violations);
    text("aggregate", &aggregate, 1..=200, &mut violations);
    violations.finish()?;
    Ok((name, aggregate))
}

fn consumer(name: &str, violations: &mut Violations) {
    key("consumer", name, violations);
}

/// A name that a program chose: a consumer's, a reaction's.
fn key(field: &str, name: &str, violations: &mut Violations) {
    let known = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_');
    match name.len() {
        0 => violations.required(field),
        1..=64 if name.bytes().all(known) => {}
        1..=64 => violations.format(field, "a-z, 0-9, - and _"),
        _ => violations.too_long(field, 64),
    }
}

fn text(field: &str, value: &str, length: std::ops::RangeInclusive<usize>, violations: &mut Violations) {
    let characters = value.chars().count();
    if characters < *length.start() {
        violations.required(field);
    } else if characters > *length.end() {
        violations.too_long(field, *length.end());
    } else if value.chars().any(char::is_control) {
        violations.add(field, reason::FORBIDDEN_CHARACTER, "holds a control character");
    }
}

/// `CUSTOMER_NOT_FOUND`: free text has no place in what operators list.
fn code(field: &str, value: &str, least: usize, violations: &mut Violations) {
    let known = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_';
    match value.len() {
        length if length < least => violations.required(field),
        0..=64 if value.bytes().all(known) => {}
        0..=64 => violations.format(field, "A-Z, 0-9 and _"),
        _ => violations.too_long(field, 64),
    }
}

fn position(field: &str, value: i64, least: i64, violations: &mut Violations) {
    if value < least {
        violations.range(field, &format!("{least} or more"));
    }
}

fn hash(field: &str, position: i64, value: &Bytes, violations: &mut Violations) {
    match (position, value.len()) {
        (0, 0) | (_, HASH) => {}
        (_, 0) => violations.required(field),
        _ => violations.format(field, "32 bytes"),
    }
}

fn max_events(value: i32, violations: &mut Violations) -> i64 {
    match value {
        ..0 => {
            violations.range("max_events", "0 or more");
            DEFAULT_EVENTS
        }
        0 => DEFAULT_EVENTS,
        value => i64::from(value).min(MAX_EVENTS),
    }
}

fn event_id(value: &str, violations: &mut Violations) -> Uuid {
    if value.is_empty() {
        violations.required("event_id");
    } else if let Ok(id) = Uuid::try_parse(value) {
        return id;
    } else {
        violations.format("event_id", "a UUID");
    }
    Uuid::nil()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read() -> proto::ReadRequest {
        proto::ReadRequest { consumer: "coordinator".into(), reader: "pod-1".into(), ..Default::default() }
    }

    fn fields(outcome: Result<Read, Error>) -> Vec<String> {
        match outcome {
            Err(Error::Invalid(violations)) => violations.iter().map(|v| v.field.clone()).collect(),
            Err(other) => panic!("{other:?}"),
            Ok(_) => Vec::new(),
        }
    }

    #[test]
    fn everything_that_is_wrong_with_a_read_is_said_at_once() {
        assert!(fields(Read::parse(read())).is_empty());
        let wrong = proto::ReadRequest {
            consumer: "The Coordinator".into(),
            reader: String::new(),
            after_position: 3,
            max_events: -1,
            wait: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
            ..Default::default()
        };
        assert_eq!(fields(Read::parse(wrong)), ["consumer", "reader", "expect_hash", "max_events", "wait"]);
        let negative = proto::ReadRequest { after_position: -1, ..read() };
        assert_eq!(fields(Read::parse(negative)), ["after_position", "expect_hash"]);
        let lowest = prost_types::Duration { seconds: i64::MIN, nanos: i32::MIN };
        assert_eq!(fields(Read::parse(proto::ReadRequest { wait: Some(lowest), ..read() })), ["wait"]);
    }

    #[test]
    fn sizes_and_waits_are_cut_to_what_the_contract_says() {
        let wait = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
        let parsed = Read::parse(proto::ReadRequest { max_events: 5000, wait, ..read() }).unwrap();
        assert_eq!((parsed.max, parsed.wait), (1000, Duration::from_secs(20)));
        let parsed = Read::parse(read()).unwrap();
        assert_eq!((parsed.max, parsed.wait), (100, Duration::ZERO));
    }

    #[test]
    fn a_reason_is_never_free_text() {
        let park = |reason: &str| {
            Park::parse(proto::ParkRequest {
                consumer: "coordinator".into(),
                reader: "pod-1".into(),
                aggregate: "complaints/1".into(),
                event_id: Uuid::nil().to_string(),
                position: 1,
                reason: reason.into(),
                attempts: 5,
                ..Default::default()
            })
            .is_ok()
        };
        assert!(park("CUSTOMER_NOT_FOUND"));
        for reason in ["", "customer Wang is gone", "ÄRGER", &"X".repeat(65)] {
            assert!(!park(reason), "{reason}");
        }
    }
}
