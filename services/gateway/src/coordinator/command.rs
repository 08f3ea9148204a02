//! What one service is told about another.

use cqm_proto::complaints::v1::ReopenComplaintRequest;
use cqm_proto::customers::v1::{RecordErasureStepRequest, RecordMergeStepRequest};
use cqm_proto::loyalty::v1::EarnPointsRequest;
use cqm_proto::loyalty::v1::earn_points_request::Basis;
use cqm_proto::notifications::v1::{PutContactRequest, SendMessageRequest};
use cqm_proto::subjects::v1::{
    EraseSubjectRequest, MergeSubjectRequest, ReleaseSubjectRequest, RestrictSubjectRequest,
};
use cqm_proto::surveys::v1::CreateInvitationRequest;

use crate::backend::Backend;

/// A call to a service. The request id is the executor's to set. Its `Debug` shows no personal data.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    CreateInvitation(CreateInvitationRequest),
    EarnPoints(EarnPointsRequest),
    /// Has a service erase what it has of a person.
    EraseSubject(Backend, EraseSubjectRequest),
    /// Has a service give what it has of a person to the name that stays.
    MergeSubject(Backend, MergeSubjectRequest),
    PutContact(PutContactRequest),
    RecordErasureStep(RecordErasureStepRequest),
    RecordMergeStep(RecordMergeStepRequest),
    /// Copies how the customer is reached, as of this version or a newer one, from customer-data to notifications. Events
    /// carry no personal data, so the executor fetches it.
    RefreshContact {
        customer: String,
        version: i64,
    },
    /// Has a service take new data about a person again.
    ReleaseSubject(Backend, ReleaseSubjectRequest),
    ReopenComplaint(ReopenComplaintRequest),
    /// Has a service take nothing new about a person.
    RestrictSubject(Backend, RestrictSubjectRequest),
    /// Sends the link of an invitation, which is a secret and so fetched as well.
    SendInvitation {
        invitation: String,
        customer: String,
    },
    SendMessage(SendMessageRequest),
}

/// What becomes of a command when its customer turns out to be known under another name.
#[derive(Debug, PartialEq)]
pub(super) enum Renamed {
    /// It is the survivor's.
    Survivors(Box<Command>),
    /// It was about the name that is gone, or about two who are one: nothing is left to do.
    Nothing,
}

impl Command {
    /// Whose answer it is.
    pub fn backend(&self) -> Backend {
        match self {
            Self::EraseSubject(backend, _)
            | Self::MergeSubject(backend, _)
            | Self::ReleaseSubject(backend, _)
            | Self::RestrictSubject(backend, _) => *backend,
            Self::CreateInvitation(_) => Backend::Surveys,
            Self::EarnPoints(_) => Backend::Loyalty,
            Self::PutContact(_)
            | Self::RefreshContact { .. }
            | Self::SendInvitation { .. }
            | Self::SendMessage(_) => Backend::Notifications,
            Self::RecordErasureStep(_) | Self::RecordMergeStep(_) => Backend::CustomerData,
            Self::ReopenComplaint(_) => Backend::Complaints,
        }
    }

    /// The same for whom the customer was merged into; `None` when it does not name the customer.
    pub fn renamed(&self, customer: &str, survivor: &str) -> Option<Renamed> {
        let mut command = self.clone();
        let names = match &mut command {
            Self::CreateInvitation(message) => vec![&mut message.customer],
            Self::EarnPoints(message) => match &mut message.basis {
                Some(Basis::Referral(referral)) => vec![&mut message.customer, &mut referral.referred],
                _ => vec![&mut message.customer],
            },
            Self::SendInvitation { customer, .. } => vec![customer],
            Self::SendMessage(message) => vec![&mut message.recipient],
            // What the survivor is reached by, and whether they are to be forgotten, is told of the survivor.
            Self::EraseSubject(..)
            | Self::PutContact(_)
            | Self::RefreshContact { .. }
            | Self::ReleaseSubject(..)
            | Self::RestrictSubject(..) => return Some(Renamed::Nothing),
            Self::MergeSubject(..)
            | Self::RecordErasureStep(_)
            | Self::RecordMergeStep(_)
            | Self::ReopenComplaint(_) => return None,
        };
        if !names.iter().any(|name| *name == customer) {
            return None;
        }
        // Who brought somebody in is the one who was brought in.
        if names.iter().all(|name| *name == customer || *name == survivor) && names.len() > 1 {
            return Some(Renamed::Nothing);
        }
        names.into_iter().filter(|name| *name == customer).for_each(|name| survivor.clone_into(name));
        Some(Renamed::Survivors(Box::new(command)))
    }
}

#[cfg(test)]
mod tests {
    use cqm_proto::loyalty::v1::ReferralBasis;

    use super::*;

    #[test]
    fn a_command_is_the_survivors_wherever_it_names_the_customer() {
        let (old, new) = ("customers/1", "customers/2");
        let earn = |customer: &str, referred: &str| {
            Command::EarnPoints(EarnPointsRequest {
                customer: customer.to_owned(),
                basis: Some(Basis::Referral(ReferralBasis { referred: referred.to_owned() })),
                source: "customers/1/purchases/7".to_owned(),
                ..Default::default()
            })
        };
        let invitation =
            |to: &str| Command::SendInvitation { invitation: "invitations/1".into(), customer: to.into() };
        let message = |to: &str| {
            Command::SendMessage(SendMessageRequest { recipient: to.to_owned(), ..Default::default() })
        };
        let survivors = |command| Some(Renamed::Survivors(Box::new(command)));
        for (before, after) in [
            (earn(old, "customers/3"), survivors(earn(new, "customers/3"))),
            (earn("customers/3", old), survivors(earn("customers/3", new))),
            (earn("customers/3", "customers/4"), None),
            (earn(old, new), Some(Renamed::Nothing)),
            (earn(new, old), Some(Renamed::Nothing)),
            (invitation(old), survivors(invitation(new))),
            (message(old), survivors(message(new))),
            (message(new), None),
            (Command::PutContact(PutContactRequest::default()), Some(Renamed::Nothing)),
            (Command::ReopenComplaint(ReopenComplaintRequest::default()), None),
        ] {
            assert_eq!(before.renamed(old, new), after, "{before:?}");
        }
    }
}
