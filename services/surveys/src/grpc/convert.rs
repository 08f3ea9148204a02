//! Messages to commands and back. A command holds nothing invalid; what is wrong with a message is told at once.

mod content;
pub(super) mod invitation;
pub(super) mod questionnaire;
pub(super) mod response;

use cqm_rpc::ResourceName;
use uuid::Uuid;

use crate::QUESTIONNAIRES;

/// `questionnaires/{uuid}/versions/{number}`
pub(super) fn version_name(id: Uuid, number: i32) -> String {
    format!("{}/versions/{number}", ResourceName::new(QUESTIONNAIRES, id))
}
