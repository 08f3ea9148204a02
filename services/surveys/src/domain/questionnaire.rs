//! Questionnaires: a draft that changes, and published versions that never do.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The best answer to the question of the net promoter score; the worst is 0.
pub const NPS_MAX: i32 = 10;

/// One text by BCP 47 tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LocalizedText(pub BTreeMap<String, String>);

impl LocalizedText {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

cqm_rpc::words! {
    /// What a questionnaire is asked for.
    pub enum Purpose {
        ComplaintHandling = "COMPLAINT_HANDLING",
        Satisfaction = "SATISFACTION",
        Relationship = "RELATIONSHIP",
        ReturnVisit = "RETURN_VISIT",
        Demand = "DEMAND",
    }
}

cqm_rpc::words! {
    pub enum State {
        Draft = "DRAFT",
        Published = "PUBLISHED",
        Retired = "RETIRED",
    }
}

/// What the author writes: the draft, and what a version keeps of it. Stored as JSON in this shape, published ones
/// for ever: a field may be added with a default, none may be renamed or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub title: LocalizedText,
    pub questions: Vec<Question>,
    /// The customer is promised something for an answer.
    pub incentive: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Unique in the questionnaire.
    pub id: String,
    pub prompt: LocalizedText,
    pub required: bool,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Unique in the question.
    pub id: String,
    pub label: LocalizedText,
}

/// What an answer is. The bounds are explicit: what an author left to the default was filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Kind {
    SingleChoice {
        choices: Vec<Choice>,
    },
    MultipleChoice {
        choices: Vec<Choice>,
        min_choices: usize,
        max_choices: usize,
    },
    /// From 1 to `scale_max`; `positive_from` and above counts as satisfied.
    Rating {
        scale_max: i32,
        positive_from: i32,
        low_label: LocalizedText,
        high_label: LocalizedText,
    },
    /// From 0 to [`NPS_MAX`].
    Nps {
        low_label: LocalizedText,
        high_label: LocalizedText,
    },
    FreeText {
        max_length: usize,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Questionnaire {
    pub id: Uuid,
    pub purpose: Purpose,
    pub state: State,
    /// The draft.
    pub content: Content,
    /// The number of the newest published version; 0 is none.
    pub latest_version: i32,
    pub publish_time: Option<DateTime<Utc>>,
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

/// What a questionnaire held when it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub questionnaire_id: Uuid,
    /// From 1.
    pub number: i32,
    pub purpose: Purpose,
    pub content: Content,
    pub create_time: DateTime<Utc>,
}

/// What an update writes; `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub title: Option<LocalizedText>,
    pub questions: Option<Vec<Question>>,
    pub incentive: Option<bool>,
}

/// Why a questionnaire does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    State { state: State, action: &'static str },
    Empty,
}

impl Questionnaire {
    pub fn draft(id: Uuid, purpose: Purpose, content: Content, now: DateTime<Utc>) -> Self {
        Self {
            id,
            purpose,
            state: State::Draft,
            content,
            latest_version: 0,
            publish_time: None,
            version: 1,
            create_time: now,
            update_time: now,
        }
    }

    /// Changes the draft; `false` when it already reads so. Published versions stay as they are.
    pub fn update(&mut self, changes: &Changes, now: DateTime<Utc>) -> Result<bool, Refused> {
        self.unless_retired("update")?;
        let mut content = self.content.clone();
        if let Some(title) = &changes.title {
            content.title = title.clone();
        }
        if let Some(questions) = &changes.questions {
            content.questions = questions.clone();
        }
        if let Some(incentive) = changes.incentive {
            content.incentive = incentive;
        }
        if content == self.content {
            return Ok(false);
        }
        self.content = content;
        self.touch(now);
        Ok(true)
    }

    /// Makes a version of the draft, to which customers are invited from now on.
    pub fn publish(&mut self, now: DateTime<Utc>) -> Result<Version, Refused> {
        self.unless_retired("publish")?;
        if self.content.questions.is_empty() {
            return Err(Refused::Empty);
        }
        self.state = State::Published;
        self.latest_version += 1;
        self.publish_time = Some(now);
        self.touch(now);
        Ok(Version {
            questionnaire_id: self.id,
            number: self.latest_version,
            purpose: self.purpose,
            content: self.content.clone(),
            create_time: now,
        })
    }

    /// Nobody is invited any more; invitations that are out can still be answered.
    pub fn retire(&mut self, now: DateTime<Utc>) -> Result<(), Refused> {
        self.unless_retired("retire")?;
        self.state = State::Retired;
        self.touch(now);
        Ok(())
    }

    /// Whether customers may be invited.
    pub fn check_invitable(&self) -> Result<(), Refused> {
        match self.state {
            State::Published => Ok(()),
            state => Err(Refused::State { state, action: "invite" }),
        }
    }

    fn unless_retired(&self, action: &'static str) -> Result<(), Refused> {
        match self.state {
            State::Retired => Err(Refused::State { state: self.state, action }),
            State::Draft | State::Published => Ok(()),
        }
    }

    fn touch(&mut self, now: DateTime<Utc>) {
        self.version += 1;
        self.update_time = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn content(questions: usize) -> Content {
        let question = |index: usize| Question {
            id: format!("q{index}"),
            prompt: LocalizedText(BTreeMap::from([("en".to_owned(), "Why?".to_owned())])),
            required: true,
            kind: Kind::FreeText { max_length: 10 },
        };
        Content {
            title: LocalizedText::default(),
            questions: (0..questions).map(question).collect(),
            incentive: false,
        }
    }

    fn questionnaire(state: State, questions: usize) -> Questionnaire {
        let mut questionnaire = Questionnaire::draft(Uuid::nil(), Purpose::Demand, content(questions), at(0));
        questionnaire.state = state;
        questionnaire
    }

    #[test]
    fn every_action_in_every_state() {
        type Action = fn(&mut Questionnaire) -> Result<(), Refused>;
        let update: Action = |it| {
            it.update(&Changes { incentive: Some(true), ..Changes::default() }, at(1))
                .map(|changed| assert!(changed))
        };
        let publish: Action = |it| it.publish(at(1)).map(drop);
        let retire: Action = |it| it.retire(at(1));
        let invite: Action = |it| it.check_invitable();
        let refused = |state, action| Err(Refused::State { state, action });
        let table = [
            (State::Draft, update, Ok(State::Draft)),
            (State::Draft, publish, Ok(State::Published)),
            (State::Draft, retire, Ok(State::Retired)),
            (State::Draft, invite, refused(State::Draft, "invite")),
            (State::Published, update, Ok(State::Published)),
            (State::Published, publish, Ok(State::Published)),
            (State::Published, retire, Ok(State::Retired)),
            (State::Published, invite, Ok(State::Published)),
            (State::Retired, update, refused(State::Retired, "update")),
            (State::Retired, publish, refused(State::Retired, "publish")),
            (State::Retired, retire, refused(State::Retired, "retire")),
            (State::Retired, invite, refused(State::Retired, "invite")),
        ];
        for (index, (state, action, expected)) in table.into_iter().enumerate() {
            let mut it = questionnaire(state, 1);
            let before = it.clone();
            assert_eq!(action(&mut it).map(|()| it.state), expected, "row {index}");
            if expected.is_err() {
                assert_eq!(it, before, "row {index}: a refusal changes nothing");
            }
        }
    }

    #[test]
    fn versions_are_numbered_from_one_and_keep_what_was_published() {
        let mut it = questionnaire(State::Draft, 2);
        let first = it.publish(at(1)).unwrap();
        it.update(&Changes { questions: Some(content(3).questions), ..Changes::default() }, at(2)).unwrap();
        let second = it.publish(at(3)).unwrap();
        assert_eq!((first.number, first.content.questions.len()), (1, 2));
        assert_eq!((second.number, second.content.questions.len()), (2, 3));
        assert_eq!((it.latest_version, it.publish_time, it.version), (2, Some(at(3)), 4));
    }

    #[test]
    fn a_questionnaire_without_questions_is_not_published() {
        assert_eq!(questionnaire(State::Draft, 0).publish(at(1)), Err(Refused::Empty));
    }

    #[test]
    fn an_update_that_changes_nothing_leaves_the_version() {
        let mut it = questionnaire(State::Draft, 1);
        assert_eq!(it.update(&Changes { incentive: Some(false), ..Changes::default() }, at(1)), Ok(false));
        assert_eq!(it.version, 1);
    }

    #[test]
    fn the_stored_form_is_the_one_that_stands_in_the_database() {
        let stored = serde_json::json!({
            "title": {"en": "T"},
            "questions": [
                {"id": "a", "prompt": {"en": "A"}, "required": true, "kind": {"type": "single_choice",
                    "choices": [{"id": "x", "label": {"en": "X"}}, {"id": "y", "label": {"en": "Y"}}]}},
                {"id": "b", "prompt": {"en": "B"}, "required": false, "kind": {"type": "multiple_choice",
                    "choices": [{"id": "x", "label": {"en": "X"}}], "min_choices": 0, "max_choices": 1}},
                {"id": "c", "prompt": {"en": "C"}, "required": false, "kind": {"type": "rating", "scale_max": 5,
                    "positive_from": 4, "low_label": {}, "high_label": {"en": "good"}}},
                {"id": "d", "prompt": {"en": "D"}, "required": false, "kind": {"type": "nps",
                    "low_label": {}, "high_label": {}}},
                {"id": "e", "prompt": {"en": "E"}, "required": false, "kind": {"type": "free_text",
                    "max_length": 2000}}
            ],
            "incentive": true
        });
        let content: Content = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(content.questions.len(), 5);
        assert_eq!(serde_json::to_value(&content).unwrap(), stored);
    }
}
