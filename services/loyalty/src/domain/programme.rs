//! Programmes: rules with a common time, state and budget.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::text::Text;

/// How many programmes may be active or paused at once, and how many rules each may have. Every earn is held against
/// all of them, and one earn makes at most two entries for each.
pub const MOST_RUNNING: i64 = 10;
pub const MOST_RULES: i64 = 40;

cqm_rpc::words! {
    /// Whether a programme's rules give points.
    pub enum State {
        /// Not yet.
        Draft = "DRAFT",
        Active = "ACTIVE",
        /// Not for now.
        Paused = "PAUSED",
        /// Never again.
        Ended = "ENDED",
    }
}

/// Why a programme or a rule cannot be changed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The programme's state does not allow the action.
    State { state: State, action: &'static str },
    /// So many programmes are active or paused already.
    TooManyRunning,
    /// So many rules belong to the programme already.
    TooManyRules,
    /// More has been given than the budget would be.
    Spent { spent: i64 },
}

/// A stretch of time, from `start` and before `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub start: Option<DateTime<Utc>>,
    pub end: Option<DateTime<Utc>>,
}

/// Where a time lies beside a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    Before,
    Within,
    After,
}

impl Window {
    pub fn beside(&self, time: DateTime<Utc>) -> Beside {
        match self {
            Self { start: Some(start), .. } if time < *start => Beside::Before,
            Self { end: Some(end), .. } if time >= *end => Beside::After,
            _ => Beside::Within,
        }
    }

    /// Whether it begins before it ends.
    pub fn is_in_order(&self) -> bool {
        self.start.zip(self.end).is_none_or(|(start, end)| start < end)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programme {
    pub id: Uuid,
    pub display_name: Text,
    pub state: State,
    pub window: Window,
    /// The most that its rules give together; over 0.
    pub budget: Option<i64>,
    /// How much later than in UTC days begin, for the limits of its rules.
    pub utc_offset_minutes: i32,
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

impl Programme {
    pub fn activate(&mut self, now: DateTime<Utc>) -> Result<(), Refusal> {
        self.turn(&[State::Draft, State::Paused], State::Active, "activate", now)
    }

    pub fn pause(&mut self, now: DateTime<Utc>) -> Result<(), Refusal> {
        self.turn(&[State::Active], State::Paused, "pause", now)
    }

    pub fn end(&mut self, now: DateTime<Utc>) -> Result<(), Refusal> {
        self.turn(&[State::Draft, State::Active, State::Paused], State::Ended, "end", now)
    }

    /// Whether it or its rules may be changed.
    pub fn may_change(&self, action: &'static str) -> Result<(), Refusal> {
        match self.state {
            State::Ended => Err(Refusal::State { state: self.state, action }),
            State::Draft | State::Active | State::Paused => Ok(()),
        }
    }

    /// Whether its rules are held against what happens.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Active | State::Paused)
    }

    /// Notes a change.
    pub fn changed(&mut self, now: DateTime<Utc>) {
        self.version += 1;
        self.update_time = now;
    }

    fn turn(
        &mut self,
        from: &[State],
        to: State,
        action: &'static str,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        if !from.contains(&self.state) {
            return Err(Refusal::State { state: self.state, action });
        }
        self.state = to;
        self.changed(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Programme {
        Programme {
            id: Uuid::nil(),
            display_name: Text { zh: "春节".into(), en: String::new() },
            state: State::Draft,
            window: Window::default(),
            budget: None,
            utc_offset_minutes: 0,
            version: 1,
            create_time: DateTime::UNIX_EPOCH,
            update_time: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_programme_is_turned_on_and_off_until_it_ends() {
        use State::{Active, Draft, Ended, Paused};
        type Turn = fn(&mut Programme, DateTime<Utc>) -> Result<(), Refusal>;
        let turns: [(&'static str, Turn, &[State], State); 3] = [
            ("activate", Programme::activate, &[Draft, Paused], Active),
            ("pause", Programme::pause, &[Active], Paused),
            ("end", Programme::end, &[Draft, Active, Paused], Ended),
        ];
        for (action, turn, from, to) in turns {
            for state in State::ALL {
                let mut programme = Programme { state: *state, ..draft() };
                let turned = turn(&mut programme, DateTime::UNIX_EPOCH);
                if from.contains(state) {
                    assert_eq!((turned, programme.state, programme.version), (Ok(()), to, 2));
                } else {
                    assert_eq!(turned, Err(Refusal::State { state: *state, action }));
                    assert_eq!(
                        programme,
                        Programme { state: *state, ..draft() },
                        "a refusal changes nothing"
                    );
                }
            }
        }
    }

    #[test]
    fn a_window_has_its_first_moment_and_not_its_last() {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let whole = Window { start: Some(at(10)), end: Some(at(20)) };
        for (time, beside) in
            [(9, Beside::Before), (10, Beside::Within), (19, Beside::Within), (20, Beside::After)]
        {
            assert_eq!(whole.beside(at(time)), beside, "{time}");
        }
        assert_eq!(Window::default().beside(at(0)), Beside::Within);
        assert!(whole.is_in_order() && Window::default().is_in_order());
        assert!(!Window { start: Some(at(20)), end: Some(at(20)) }.is_in_order());
    }
}
