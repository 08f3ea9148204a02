//! From where in a source's log each reaction applies.
//!
//! A reaction that changes its mind is a new one, which says whose place it takes; the old one stays in the table. The
//! source has written down where the new one begins (`EventFeed.RegisterReactions`): up to there events
//! are the old one's, also when they are read again, behind it the new one's. So no event is ever answered by both.

use cqm_proto::events::v1 as proto;

use super::reactions::Reaction;

/// What one source has written down about all reactions that were ever registered with it.
#[derive(Clone, Debug)]
pub(super) struct Starts(Vec<proto::Reaction>);

impl Starts {
    pub fn new(registered: Vec<proto::Reaction>) -> Self {
        Self(registered)
    }

    /// Whether a reaction is applied to the event at this position. `waited`: the event stands behind the cursor all the
    /// same, because its aggregate was parked, so that whatever has been added since has not been done for it either.
    pub fn apply(&self, reaction: &Reaction, position: i64, waited: bool) -> bool {
        let own = self.0.iter().find(|registered| registered.id == reaction.id);
        let successor = self.0.iter().find(|registered| registered.replaces == reaction.id);
        let begun = own.is_some_and(|own| position > own.start_position);
        let added = waited && reaction.replaces.is_empty();
        let ended = successor.is_some_and(|successor| position > successor.start_position);
        (begun || added) && !ended
    }

    /// One that has taken the place of one of `ours` and is not among them: whoever has `ours` is older than who was here
    /// before, and must not do what is the other one's now.
    pub fn unknown_successor(&self, ours: &[Reaction]) -> Option<&str> {
        let is_ours = |id: &str| ours.iter().any(|reaction| reaction.id == id);
        let stranger = self.0.iter().find(|it| is_ours(&it.replaces) && !is_ours(&it.id));
        stranger.map(|stranger| stranger.id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Reaction = reaction("points", "");
    const SECOND: Reaction = reaction("points-2", "points");
    const THIRD: Reaction = reaction("points-3", "points-2");
    const OTHER: Reaction = reaction("message", "");

    const fn reaction(id: &'static str, replaces: &'static str) -> Reaction {
        Reaction { id, replaces, event_type: "cqm.events.v1.PurchaseRecorded", decide: |_| Ok(None) }
    }

    fn starts(rows: &[(&str, &str, i64)]) -> Starts {
        let row = |&(id, replaces, start_position): &(&str, &str, i64)| proto::Reaction {
            id: id.to_owned(),
            replaces: replaces.to_owned(),
            start_position,
        };
        Starts::new(rows.iter().map(row).collect())
    }

    fn applied(starts: &Starts, position: i64, waited: bool) -> Vec<&'static str> {
        let table = [FIRST, SECOND, THIRD, OTHER];
        table.iter().filter(|it| starts.apply(it, position, waited)).map(|it| it.id).collect()
    }

    #[test]
    fn an_event_belongs_to_one_version_of_a_reaction_however_often_it_is_read() {
        let starts = starts(&[
            ("points", "", 0),
            ("points-2", "points", 10),
            ("points-3", "points-2", 20),
            ("message", "", 15),
        ]);
        for (position, expected) in [
            (1, &["points"][..]),
            (10, &["points"]),
            (11, &["points-2"]),
            (15, &["points-2"]),
            (16, &["points-2", "message"]),
            (20, &["points-2", "message"]),
            (21, &["points-3", "message"]),
        ] {
            assert_eq!(applied(&starts, position, false), expected, "{position}");
        }
        // What waited all along gets what was added since, and no second version.
        assert_eq!(applied(&starts, 1, true), ["points", "message"]);
        assert_eq!(applied(&starts, 11, true), ["points-2", "message"]);
    }

    #[test]
    fn a_reaction_that_is_not_registered_applies_to_nothing() {
        assert!(applied(&starts(&[]), 1, false).is_empty());
    }

    #[test]
    fn who_is_older_than_the_one_before_finds_out() {
        let newer = starts(&[("points", "", 0), ("points-2", "points", 10), ("extra", "", 10)]);
        assert_eq!(newer.unknown_successor(&[FIRST, OTHER]), Some("points-2"));
        assert_eq!(newer.unknown_successor(&[FIRST, SECOND]), None, "what was only added is nobody's");
    }
}
