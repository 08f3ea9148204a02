//! Responses: what a customer answered to one invitation. They never change, but that the customer may be known under
//! another name one day.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::answer::{Answer, is_dissatisfied};
use super::invitation::{Invitation, Subject};
use super::questionnaire::Question;

/// The version that a response has for good.
pub const VERSION: i64 = 1;

cqm_rpc::words! {
    /// How a response was taken.
    pub enum Mode {
        Online = "ONLINE",
        Phone = "PHONE",
        FaceToFace = "FACE_TO_FACE",
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub id: Uuid,
    pub invitation_id: Uuid,
    pub questionnaire_id: Uuid,
    /// Of the questionnaire's version.
    pub number: i32,
    pub customer_id: Uuid,
    pub subject: Subject,
    /// In the order of the questions.
    pub answers: Vec<Answer>,
    pub dissatisfied: bool,
    pub mode: Mode,
    pub create_time: DateTime<Utc>,
}

impl Response {
    /// The response to an invitation, of answers that were checked against its questions.
    pub fn new(
        id: Uuid,
        invitation: &Invitation,
        questions: &[Question],
        answers: Vec<Answer>,
        mode: Mode,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            invitation_id: invitation.id,
            questionnaire_id: invitation.questionnaire_id,
            number: invitation.number,
            customer_id: invitation.customer_id,
            subject: invitation.subject.clone(),
            dissatisfied: is_dissatisfied(questions, &answers),
            answers,
            mode,
            create_time: now,
        }
    }
}
