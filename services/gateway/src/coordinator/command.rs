//! What one service is told about another.

use cqm_proto::complaints::v1::ReopenComplaintRequest;
use cqm_proto::loyalty::v1::EarnPointsRequest;
use cqm_proto::notifications::v1::{PutContactRequest, SendMessageRequest};
use cqm_proto::surveys::v1::CreateInvitationRequest;

/// A call to a service. The request id is the executor's to set. Its `Debug` shows no personal data.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    CreateInvitation(CreateInvitationRequest),
    EarnPoints(EarnPointsRequest),
    PutContact(PutContactRequest),
    /// Copies how the customer is reached, as of this version or a newer one, from customer-data to notifications. Events
    /// carry no personal data, so the executor fetches it.
    RefreshContact {
        customer: String,
        version: i64,
    },
    ReopenComplaint(ReopenComplaintRequest),
    /// Sends the link of an invitation, which is a secret and so fetched as well.
    SendInvitation {
        invitation: String,
        customer: String,
    },
    SendMessage(SendMessageRequest),
}
