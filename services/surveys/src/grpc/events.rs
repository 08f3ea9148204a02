//! What happened, in the words of `cqm.events.v1`. No answer and no token stands in an event.

use cqm_db::log::NewEvent;
use cqm_proto::events::v1 as proto;
use cqm_rpc::{ResourceName, time};

use super::convert::version_name;
use crate::domain::invitation::Invitation;
use crate::domain::questionnaire::{Questionnaire, Version};
use crate::domain::response::{self, Response};
use crate::{CUSTOMERS, INVITATIONS, QUESTIONNAIRES, RESPONSES};

pub(super) fn questionnaire_published(questionnaire: &Questionnaire, version: &Version) -> NewEvent {
    let name = ResourceName::new(QUESTIONNAIRES, questionnaire.id);
    let payload = proto::QuestionnairePublished {
        questionnaire: name.to_string(),
        questionnaire_version: version_name(version.questionnaire_id, version.number),
    };
    NewEvent::new(name, questionnaire.version, version.create_time, &payload)
}

pub(super) fn invitation_created(invitation: &Invitation) -> NewEvent {
    let name = ResourceName::new(INVITATIONS, invitation.id);
    let payload = proto::InvitationCreated {
        invitation: name.to_string(),
        customer: ResourceName::new(CUSTOMERS, invitation.customer_id).to_string(),
        subject: invitation.subject.name.clone(),
        subject_version: invitation.subject.version,
        expire_time: Some(time::wire(invitation.expire_time)),
    };
    NewEvent::new(name, invitation.version, invitation.update_time, &payload)
}

pub(crate) fn invitation_expired(invitation: &Invitation) -> NewEvent {
    let name = ResourceName::new(INVITATIONS, invitation.id);
    let payload = proto::InvitationExpired {
        invitation: name.to_string(),
        customer: ResourceName::new(CUSTOMERS, invitation.customer_id).to_string(),
        subject: invitation.subject.name.clone(),
    };
    NewEvent::new(name, invitation.version, invitation.update_time, &payload)
}

pub(super) fn response_accepted(response: &Response, incentive: bool) -> NewEvent {
    let name = ResourceName::new(RESPONSES, response.id);
    let payload = proto::ResponseAccepted {
        response: name.to_string(),
        invitation: ResourceName::new(INVITATIONS, response.invitation_id).to_string(),
        customer: ResourceName::new(CUSTOMERS, response.customer_id).to_string(),
        questionnaire: ResourceName::new(QUESTIONNAIRES, response.questionnaire_id).to_string(),
        subject: response.subject.name.clone(),
        subject_version: response.subject.version,
        dissatisfied: response.dissatisfied,
        incentive,
    };
    NewEvent::new(name, response::VERSION, response.create_time, &payload)
}
