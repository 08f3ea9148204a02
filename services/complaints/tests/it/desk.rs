//! A served complaints service and the people who work with it.

use std::time::Duration;

use cqm_complaints::{App, Config};
use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::complaints::v1::sla_policy_service_client::SlaPolicyServiceClient;
use cqm_proto::complaints::v1::*;
use cqm_proto::events::v1 as events;
use cqm_testkit::{Kit, Line};
pub use cqm_testkit::{manager, persistent, refused, representative, request_id, violations};

pub const CUSTOMER: &str = "customers/01890a5d-ac96-774b-bcce-b302099a8058";
/// Well formed, and nobody's.
pub const NOBODYS: &str = "complaints/01890a5d-ac96-774b-bcce-b302099a8057";

/// Longer than any test takes.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

pub struct Desk {
    pub kit: Kit,
    pub client: ComplaintServiceClient<Line>,
    pub policies: SlaPolicyServiceClient<Line>,
}

impl Desk {
    /// Nobody comes by to tell what clocks show.
    pub async fn open() -> Self {
        Self::telling_every(NEVER).await
    }

    pub async fn telling_every(sla_interval: Duration) -> Self {
        let kit = Kit::start::<App>(Config { sla_interval }).await;
        let client = ComplaintServiceClient::new(kit.channel.clone());
        let policies = SlaPolicyServiceClient::new(kit.channel.clone());
        Self { kit, client, policies }
    }

    /// Registers a complaint and looks at its event.
    pub async fn registered(&mut self) -> Complaint {
        let answer = self.client.register_complaint(representative(registration(matter()))).await;
        let complaint = answer.unwrap().into_inner();
        self.kit.events.only::<events::ComplaintRegistered>().await;
        complaint
    }

    /// A complaint in the given state, by the shortest way there; its events have been looked at.
    pub async fn in_state(&mut self, state: complaint::State) -> Complaint {
        use complaint::State;

        let mut complaint = self.registered().await;
        let name = complaint.name.clone();
        if state >= State::Acknowledged {
            complaint = self
                .client
                .acknowledge_complaint(representative(acknowledge(&name)))
                .await
                .unwrap()
                .into_inner();
        }
        if state == State::Investigating {
            complaint =
                self.client.start_investigation(representative(start(&name))).await.unwrap().into_inner();
        }
        if state >= State::Resolved {
            complaint =
                self.client.resolve_complaint(representative(resolve(&name, 0))).await.unwrap().into_inner();
        }
        if state == State::Closed {
            complaint = self.client.close_complaint(representative(close(&name))).await.unwrap().into_inner();
        }
        self.kit.events.next().await;
        assert_eq!(complaint.state(), state);
        complaint
    }

    pub async fn get(&self, name: &str) -> Complaint {
        let message = GetComplaintRequest { name: name.to_owned() };
        self.client.clone().get_complaint(representative(message)).await.unwrap().into_inner()
    }

    pub async fn timeline(&self, name: &str) -> Vec<TimelineEntry> {
        let message = ListTimelineRequest { complaint: name.to_owned(), ..Default::default() };
        self.client.clone().list_timeline(representative(message)).await.unwrap().into_inner().entries
    }
}

pub fn matter() -> Complaint {
    Complaint {
        customer: CUSTOMER.to_owned(),
        channel: complaint::Channel::Phone.into(),
        category: Category::Logistics.into(),
        severity: Severity::High.into(),
        subject: "the parcel came late".to_owned(),
        description: "promised for Monday\nthere on Friday".to_owned(),
        remedy_sought: complaint::Remedy::Compensation.into(),
        remedy_note: "the postage".to_owned(),
        ..Default::default()
    }
}

pub fn registration(complaint: Complaint) -> RegisterComplaintRequest {
    RegisterComplaintRequest { complaint: Some(complaint), ..Default::default() }
}

pub fn acknowledge(name: &str) -> AcknowledgeComplaintRequest {
    AcknowledgeComplaintRequest { name: name.to_owned(), ..Default::default() }
}

pub fn assign(name: &str, assignee: &str) -> AssignComplaintRequest {
    AssignComplaintRequest { name: name.to_owned(), assignee: assignee.to_owned(), ..Default::default() }
}

pub fn start(name: &str) -> StartInvestigationRequest {
    StartInvestigationRequest { name: name.to_owned(), ..Default::default() }
}

pub fn record_cause(name: &str) -> RecordRootCauseRequest {
    RecordRootCauseRequest {
        name: name.to_owned(),
        root_cause: Some(RootCause {
            category: Category::Information.into(),
            explanation: "nobody told the driver".to_owned(),
        }),
        responsible_department: "warehouse".to_owned(),
        ..Default::default()
    }
}

pub fn resolve(name: &str, compensation_points: i64) -> ResolveComplaintRequest {
    ResolveComplaintRequest {
        name: name.to_owned(),
        summary: "the postage was paid back".to_owned(),
        compensation_points,
        ..Default::default()
    }
}

pub fn close(name: &str) -> CloseComplaintRequest {
    CloseComplaintRequest { name: name.to_owned(), ..Default::default() }
}

pub fn reopen(name: &str) -> ReopenComplaintRequest {
    ReopenComplaintRequest {
        name: name.to_owned(),
        reason: reopen_complaint_request::Reason::NotSolved.into(),
        note: "the next parcel was late, too".to_owned(),
        ..Default::default()
    }
}
