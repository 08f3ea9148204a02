//! Invitations.

use chrono::TimeDelta;
use cqm_proto::surveys::v1 as proto;
use cqm_rpc::{Error, Etag, PageRequest, ResourceName, Violations, any_name, time};
use uuid::Uuid;

use super::{questionnaire, version_name};
use crate::domain::invitation::{DEFAULT_TTL, Invitation, MAX_TTL, MIN_TTL, State, Subject};
use crate::domain::questionnaire::Purpose;
use crate::store::invitations::Filter;
use crate::{CUSTOMERS, INVITATIONS, QUESTIONNAIRES, RESPONSES};

/// Ask this customer.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct Invite {
    pub customer_id: Uuid,
    pub target: Target,
    pub subject: Subject,
    pub ttl: TimeDelta,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(in crate::grpc) enum Target {
    Questionnaire(Uuid),
    Purpose(Purpose),
}

pub(in crate::grpc) fn invite(message: &proto::CreateInvitationRequest) -> Result<Invite, Error> {
    use proto::create_invitation_request::Target as Given;
    let mut violations = Violations::default();
    let customer = ResourceName::parse(CUSTOMERS, "customer", &message.customer, &mut violations);
    let target = match &message.target {
        None => {
            violations.required("target");
            None
        }
        Some(Given::Questionnaire(name)) => {
            ResourceName::parse(QUESTIONNAIRES, "questionnaire", name, &mut violations)
                .map(|name| Target::Questionnaire(name.id()))
        }
        Some(Given::Purpose(number)) => {
            questionnaire::purpose("purpose", *number, &mut violations).map(Target::Purpose)
        }
    };
    let subject = Subject {
        name: any_name("subject", &message.subject, &mut violations),
        version: message.subject_version,
    };
    if subject.version < 0 {
        violations.range("subject_version", "0 or more");
    }
    let ttl = ttl(message.ttl.as_ref(), &mut violations);
    violations.optional_request_id(&message.request_id);
    violations.finish()?;
    Ok(Invite {
        customer_id: customer.expect("no violation means that there is a customer").id(),
        target: target.expect("no violation means that there is a target"),
        subject,
        ttl,
    })
}

/// To the microsecond, which is what the database keeps.
fn ttl(given: Option<&prost_types::Duration>, violations: &mut Violations) -> TimeDelta {
    let Some(given) = given else { return DEFAULT_TTL };
    let nanos = u32::try_from(given.nanos).ok();
    let ttl = nanos.and_then(|nanos| TimeDelta::new(given.seconds, nanos / 1000 * 1000));
    let ttl = ttl.filter(|ttl| (MIN_TTL..=MAX_TTL).contains(ttl));
    ttl.unwrap_or_else(|| {
        violations.range("ttl", "1 minute to 366 days");
        DEFAULT_TTL
    })
}

pub(in crate::grpc) fn name(name: &str) -> Result<ResourceName, Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(INVITATIONS, "name", name, &mut violations);
    violations.finish()?;
    Ok(name.expect("no violation means that there is a name"))
}

/// The token of a request; whether it is one is told by what it opens.
pub(in crate::grpc) fn token(token: &str) -> Result<&str, Error> {
    let mut violations = Violations::default();
    if token.is_empty() {
        violations.required("token");
    }
    violations.finish()?;
    Ok(token)
}

pub(in crate::grpc) fn list(
    message: &proto::ListInvitationsRequest,
) -> Result<(PageRequest<Uuid>, Filter), Error> {
    let mut violations = Violations::default();
    let customer = ResourceName::parse_optional(CUSTOMERS, "customer", &message.customer, &mut violations);
    let subject = any_name("subject", &message.subject, &mut violations);
    let state = violations.optional_choice("state", message.state).and_then(read_state);
    let query = ["invitations", &message.customer, &message.subject, state.map_or("", State::name)];
    let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
    violations.finish()?;
    let filter = Filter {
        customer_id: customer.map(|customer| customer.id()),
        subject: (!subject.is_empty()).then_some(subject),
        state,
    };
    Ok((page, filter))
}

pub(in crate::grpc) fn answer(invitation: &Invitation) -> proto::Invitation {
    let response = invitation.response_id.map(|id| ResourceName::new(RESPONSES, id).to_string());
    proto::Invitation {
        name: ResourceName::new(INVITATIONS, invitation.id).to_string(),
        customer: ResourceName::new(CUSTOMERS, invitation.customer_id).to_string(),
        questionnaire_version: version_name(invitation.questionnaire_id, invitation.number),
        subject: invitation.subject.name.clone(),
        subject_version: invitation.subject.version,
        state: show_state(invitation.state).into(),
        response: response.unwrap_or_default(),
        expire_time: Some(time::wire(invitation.expire_time)),
        answer_time: invitation.answer_time.map(time::wire),
        create_time: Some(time::wire(invitation.create_time)),
        update_time: Some(time::wire(invitation.update_time)),
        etag: Etag::of(invitation.version).to_string(),
    }
}

fn read_state(state: proto::invitation::State) -> Option<State> {
    State::ALL.iter().copied().find(|known| show_state(*known) == state)
}

fn show_state(state: State) -> proto::invitation::State {
    match state {
        State::Pending => proto::invitation::State::Pending,
        State::Answered => proto::invitation::State::Answered,
        State::Expired => proto::invitation::State::Expired,
    }
}
