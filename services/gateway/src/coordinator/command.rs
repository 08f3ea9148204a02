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

impl Command {
    /// Whether it is about a name and what is kept under it, so that nothing is left to do once the name is gone: what the
    /// survivor is reached by and whether they are to be forgotten is told of the survivor.
    pub fn is_of_the_name(&self) -> bool {
        match self {
            Self::EraseSubject(..)
            | Self::PutContact(_)
            | Self::RefreshContact { .. }
            | Self::ReleaseSubject(..)
            | Self::RestrictSubject(..) => true,
            Self::CreateInvitation(_)
            | Self::EarnPoints(_)
            | Self::MergeSubject(..)
            | Self::RecordErasureStep(_)
            | Self::RecordMergeStep(_)
            | Self::ReopenComplaint(_)
            | Self::SendInvitation { .. }
            | Self::SendMessage(_) => false,
        }
    }

    /// The same for whom the customer was merged into; `None` when it does not name the customer.
    pub fn for_survivor(&self, customer: &str, survivor: &str) -> Option<Self> {
        let mut command = self.clone();
        let mut changed = false;
        let mut rename = |name: &mut String| {
            if name == customer {
                survivor.clone_into(name);
                changed = true;
            }
        };
        match &mut command {
            Self::CreateInvitation(message) => rename(&mut message.customer),
            Self::EarnPoints(message) => {
                rename(&mut message.customer);
                if let Some(Basis::Referral(referral)) = &mut message.basis {
                    rename(&mut referral.referred);
                }
            }
            Self::SendInvitation { customer, .. } => rename(customer),
            Self::SendMessage(message) => rename(&mut message.recipient),
            Self::EraseSubject(..)
            | Self::MergeSubject(..)
            | Self::PutContact(_)
            | Self::RecordErasureStep(_)
            | Self::RecordMergeStep(_)
            | Self::RefreshContact { .. }
            | Self::ReleaseSubject(..)
            | Self::ReopenComplaint(_)
            | Self::RestrictSubject(..) => {}
        }
        changed.then_some(command)
    }
}

#[cfg(test)]
mod tests {
    use cqm_proto::loyalty::v1::ReferralBasis;

    use super::*;

    #[test]
    fn a_command_is_for_the_survivor_wherever_it_names_the_customer() {
        let (old, new) = ("customers/1".to_owned(), "customers/2".to_owned());
        let earn = |customer: &str, referred: &str| {
            Command::EarnPoints(EarnPointsRequest {
                customer: customer.to_owned(),
                basis: Some(Basis::Referral(ReferralBasis { referred: referred.to_owned() })),
                source: "customers/1/purchases/7".to_owned(),
                ..Default::default()
            })
        };
        let invitation =
            |customer: &String| Command::SendInvitation { invitation: "i".into(), customer: customer.clone() };
        let message = |customer: &String| {
            Command::SendMessage(SendMessageRequest { recipient: customer.clone(), ..Default::default() })
        };
        for (before, after) in [
            (earn(&old, "customers/3"), Some(earn(&new, "customers/3"))),
            (earn("customers/3", &old), Some(earn("customers/3", &new))),
            (earn("customers/3", "customers/4"), None),
            (invitation(&old), Some(invitation(&new))),
            (message(&old), Some(message(&new))),
            (message(&new), None),
        ] {
            assert_eq!(before.for_survivor(&old, &new), after);
        }
    }
}
