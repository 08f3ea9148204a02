//! What one service is told about another.

use cqm_proto::complaints::v1::ReopenComplaintRequest;
use cqm_proto::customers::v1::RecordErasureStepRequest;
use cqm_proto::loyalty::v1::EarnPointsRequest;
use cqm_proto::notifications::v1::{PutContactRequest, SendMessageRequest};
use cqm_proto::subjects::v1::{EraseSubjectRequest, ReleaseSubjectRequest, RestrictSubjectRequest};
use cqm_proto::surveys::v1::CreateInvitationRequest;

use crate::backend::Backend;

/// A call to a service. The request id is the executor's to set. Its `Debug` shows no personal data.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    CreateInvitation(CreateInvitationRequest),
    EarnPoints(EarnPointsRequest),
    /// Has a service erase what it has of a person.
    EraseSubject(Backend, EraseSubjectRequest),
    PutContact(PutContactRequest),
    RecordErasureStep(RecordErasureStepRequest),
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
