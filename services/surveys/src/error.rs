//! Why surveys refuses: the reasons of `cqm.surveys.v1.ErrorReason`, and what the database's constraints mean.

use cqm_rpc::{Error, Refusal};

use crate::domain::{invitation, questionnaire};

cqm_rpc::reasons! { "cqm.surveys.v1", cqm_proto::surveys::v1::ErrorReason:
    QUESTIONNAIRE_NOT_FOUND, QUESTIONNAIRE_VERSION_NOT_FOUND, QUESTIONNAIRE_STATE, QUESTIONNAIRE_EMPTY,
    INVITATION_NOT_FOUND, INVITATION_ANSWERED, INVITATION_EXPIRED, RESPONSE_NOT_FOUND, QUESTION_UNKNOWN,
    ANSWER_REQUIRED, ANSWER_KIND, ANSWER_VALUE, NO_PUBLISHED_QUESTIONNAIRE,
}

/// An invitation is answered once.
pub const RESPONSES_ONCE: &str = "responses_once";

/// The answer to any token that opens nothing, whatever is wrong with it: it names no invitation.
pub fn token_opens_nothing() -> Error {
    Error::not_found(INVITATION_NOT_FOUND, "invitations/-")
}

impl From<questionnaire::Refused> for Error {
    fn from(refused: questionnaire::Refused) -> Self {
        match refused {
            questionnaire::Refused::State { state, action } => {
                Refusal::new(QUESTIONNAIRE_STATE).fact("state", state.name()).fact("action", action).into()
            }
            questionnaire::Refused::Empty => Self::refused(QUESTIONNAIRE_EMPTY),
        }
    }
}

impl From<invitation::Closed> for Error {
    fn from(closed: invitation::Closed) -> Self {
        match closed {
            invitation::Closed::Answered => Self::refused(INVITATION_ANSWERED),
            invitation::Closed::Expired => Self::refused(INVITATION_EXPIRED),
        }
    }
}
