//! What the company's people do about a complaint.

use anyhow::Result;
use cqm_proto::complaints::v1::complaint::{Channel, Remedy, State};
use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::complaints::v1::{
    AcknowledgeComplaintRequest, AssignComplaintRequest, Category, CloseComplaintRequest, Complaint,
    GetComplaintRequest, RecordRootCauseRequest, RegisterComplaintRequest, ResolveComplaintRequest,
    RootCause, Severity, SlaClock, StartInvestigationRequest,
};

use super::{Story, fresh};
use crate::connect::Client;
use crate::demo::again;

impl Story {
    fn complaints(&self) -> ComplaintServiceClient<Client> {
        ComplaintServiceClient::new(self.client.clone())
    }

    pub(super) async fn register(
        &self,
        subject: &str,
        description: &str,
        category: Category,
        severity: Severity,
    ) -> Result<Complaint> {
        let request = RegisterComplaintRequest {
            complaint: Some(Complaint {
                customer: self.customer.name.clone(),
                channel: Channel::Phone.into(),
                category: category.into(),
                severity: severity.into(),
                subject: subject.to_owned(),
                description: description.to_owned(),
                remedy_sought: Remedy::Replacement.into(),
                ..Complaint::default()
            }),
            request_id: fresh(),
        };
        let complaint = again(|| {
            let (mut service, request) = (self.complaints(), request.clone());
            async move { service.register_complaint(request).await }
        })
        .await?;
        self.say(&format!("complaint {} is registered: {subject}", complaint.reference));
        Ok(complaint)
    }

    /// Acknowledges, assigns, investigates and finds the cause.
    pub(super) async fn handle(
        &self,
        complaint: &Complaint,
        cause: &str,
        department: &str,
    ) -> Result<Complaint> {
        let name = complaint.name.clone();
        let acknowledge =
            AcknowledgeComplaintRequest { name: name.clone(), request_id: fresh(), etag: String::new() };
        again(|| {
            let (mut service, request) = (self.complaints(), acknowledge.clone());
            async move { service.acknowledge_complaint(request).await }
        })
        .await?;
        let assign = AssignComplaintRequest {
            name: name.clone(),
            assignee: "staff/zhang-wei".to_owned(),
            request_id: fresh(),
            etag: String::new(),
        };
        again(|| {
            let (mut service, request) = (self.complaints(), assign.clone());
            async move { service.assign_complaint(request).await }
        })
        .await?;
        let start =
            StartInvestigationRequest { name: name.clone(), request_id: fresh(), etag: String::new() };
        again(|| {
            let (mut service, request) = (self.complaints(), start.clone());
            async move { service.start_investigation(request).await }
        })
        .await?;
        let record = RecordRootCauseRequest {
            name,
            root_cause: Some(RootCause { category: complaint.category, explanation: cause.to_owned() }),
            responsible_department: department.to_owned(),
            request_id: fresh(),
            etag: String::new(),
        };
        let complaint = again(|| {
            let (mut service, request) = (self.complaints(), record.clone());
            async move { service.record_root_cause(request).await }
        })
        .await?;
        self.say(&format!("acknowledged, assigned, investigated; the cause lies with {department}"));
        Ok(complaint)
    }

    pub(super) async fn resolve(
        &self,
        complaint: &Complaint,
        summary: &str,
        compensation_points: i64,
    ) -> Result<Complaint> {
        let request = ResolveComplaintRequest {
            name: complaint.name.clone(),
            summary: summary.to_owned(),
            compensation_points,
            request_id: fresh(),
            etag: String::new(),
        };
        let complaint = again(|| {
            let (mut service, request) = (self.complaints(), request.clone());
            async move { service.resolve_complaint(request).await }
        })
        .await?;
        self.say(&format!("resolved: {summary}"));
        Ok(complaint)
    }

    pub(super) async fn close(&self, complaint: &Complaint) -> Result<()> {
        let request =
            CloseComplaintRequest { name: complaint.name.clone(), request_id: fresh(), etag: String::new() };
        let closed = again(|| {
            let (mut service, request) = (self.complaints(), request.clone());
            async move { service.close_complaint(request).await }
        })
        .await?;
        self.say("the customer is satisfied; the complaint is closed");
        if let Some(sla) = closed.sla {
            let shown = |clock: Option<SlaClock>| {
                clock.unwrap_or_default().state().as_str_name().trim_start_matches("STATE_").to_owned()
            };
            let (first_response, resolution) = (shown(sla.first_response), shown(sla.resolution));
            self.say(&format!("first response {first_response}, resolution {resolution}, by {}", sla.policy));
        }
        Ok(())
    }

    /// Waits until the complaint has got into a state by the suite's own doing.
    pub(super) async fn state(&self, complaint: &Complaint, state: State) -> Result<Complaint> {
        self.wait_for("the complaint's new state", async || {
            let request = GetComplaintRequest { name: complaint.name.clone() };
            let complaint = again(|| {
                let (mut service, request) = (self.complaints(), request.clone());
                async move { service.get_complaint(request).await }
            })
            .await?;
            Ok((complaint.state() == state).then_some(complaint))
        })
        .await
    }
}
