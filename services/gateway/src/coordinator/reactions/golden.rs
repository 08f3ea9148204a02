//! The recorded log of a real loop, replayed: which commands it leads to, each with its request id.
//!
//! `./scripts/record` runs the loop over all services and writes both files anew; what changes in `recorded-commands.txt`
//! is what a change of the reactions means for events that have happened.

use std::fmt::Write as _;

use cqm_proto::events::v1 as proto;
use uuid::Uuid;

use super::tests::shown;
use super::{REACTIONS, Reaction, of};
use crate::coordinator::handle::request_id;
use crate::coordinator::starts::Starts;

const LOG: &str = include_str!("recorded-log.tsv");
const COMMANDS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/src/coordinator/reactions/recorded-commands.txt");
/// Set by `./scripts/record`.
const RECORD: &str = "CQM_RECORD";

/// One line of the recording: an event as its source's log has it.
struct Recorded<'a> {
    source: &'a str,
    log_id: Uuid,
    position: i64,
    event_id: &'a str,
    event_type: &'a str,
    payload: Vec<u8>,
}

fn recorded() -> Vec<Recorded<'static>> {
    let events: Vec<Recorded<'_>> = LOG
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [source, log_id, position, event_id, event_type, payload] = fields[..] else {
                panic!("a line of the recording has another form: {line}");
            };
            Recorded {
                source,
                log_id: log_id.parse().unwrap(),
                position: position.parse().unwrap(),
                event_id,
                event_type,
                payload: bytes(payload),
            }
        })
        .collect();
    assert!(events.len() > 50, "the recording holds {} events", events.len());
    events
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn the_recorded_log_leads_to_these_commands_and_no_others() {
    let mut story = String::new();
    for event in recorded() {
        let name = event.event_type.rsplit('.').next().unwrap();
        let _ = writeln!(story, "{} {} {name}", event.source, event.position);
        let reactions = of(event.event_type).unwrap_or_else(|| panic!("{name} parks its aggregate"));
        for reaction in reactions {
            if let Some(command) = (reaction.decide)(&event.payload).unwrap() {
                let id = request_id(event.log_id, event.event_id, reaction.id);
                let _ = writeln!(story, "    {} {id} {}", reaction.id, shown(&command));
            }
        }
    }
    if std::env::var_os(RECORD).is_some() {
        std::fs::write(COMMANDS, &story).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(COMMANDS).unwrap();
    for (line, (found, expected)) in story.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {}", line + 1);
    }
    assert_eq!(story.lines().count(), expected.lines().count());
}

#[test]
fn the_recorded_log_holds_a_whole_loop() {
    let events = recorded();
    for reaction in REACTIONS {
        let decided = |event: &Recorded<'_>| (reaction.decide)(&event.payload).unwrap().is_some();
        let found = events.iter().filter(|event| event.event_type == reaction.event_type).any(decided);
        assert!(found, "{} does nothing in the recording", reaction.id);
    }
}

/// A log is read by one version up to some point, by the next one from there, and then again from its beginning.
#[test]
fn a_new_version_of_a_reaction_repeats_nothing_that_the_old_one_did() {
    let old = *REACTIONS.iter().find(|reaction| reaction.id == "purchase-points").unwrap();
    let new = Reaction { id: "purchase-points-2", replaces: old.id, ..old };
    let purchases: Vec<_> =
        recorded().into_iter().filter(|event| event.event_type == old.event_type).collect();
    let upgrade = purchases[purchases.len() / 2].position;
    let row = |reaction: &Reaction, start_position| proto::Reaction {
        id: reaction.id.to_owned(),
        replaces: reaction.replaces.to_owned(),
        start_position,
    };
    let before = Starts::new(vec![row(&old, 0)]);
    let after = Starts::new(vec![row(&old, 0), row(&new, upgrade)]);

    let ids = |starts: &Starts, from: i64, to: i64| -> Vec<Uuid> {
        let read = purchases.iter().filter(|event| (from..=to).contains(&event.position));
        let commands = read.flat_map(|event| {
            let applied = [old, new].into_iter().filter(|it| starts.apply(it, event.position, false));
            applied.map(|it| request_id(event.log_id, event.event_id, it.id)).collect::<Vec<_>>()
        });
        commands.collect()
    };
    let mut sent = ids(&before, 1, upgrade);
    sent.extend(ids(&after, upgrade + 1, i64::MAX));
    assert_eq!(sent.len(), purchases.len(), "every purchase is answered once");
    assert_eq!(ids(&after, 1, i64::MAX), sent, "and a replay sends the same commands again, and no others");
}
