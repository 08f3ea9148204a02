//! In what time the company has promised to handle complaints.

use anyhow::Result;
use cqm_proto::complaints::v1::sla_calendar::{Day, DayHours};
use cqm_proto::complaints::v1::sla_policy_service_client::SlaPolicyServiceClient;
use cqm_proto::complaints::v1::{
    ListSlaPoliciesRequest, PublishSlaPolicyRequest, Severity, SlaCalendar, SlaHours, SlaPolicy, SlaTarget,
};
use prost_types::Duration;

use super::fresh;
use crate::connect::Target;
use crate::demo::again;

const HOUR: i64 = 60 * 60;

/// Publishes a policy of service levels, unless one is in force.
pub async fn promise(target: &Target) -> Result<()> {
    let service = SlaPolicyServiceClient::new(target.client()?);
    let listed = again(|| {
        let mut service = service.clone();
        async move { service.list_sla_policies(ListSlaPoliciesRequest::default()).await }
    })
    .await?;
    let policy = match listed.sla_policies.into_iter().next() {
        Some(policy) => policy,
        None => {
            let request = PublishSlaPolicyRequest { sla_policy: Some(office()), request_id: fresh() };
            again(|| {
                let (mut service, request) = (service.clone(), request.clone());
                async move { service.publish_sla_policy(request).await }
            })
            .await?
        }
    };
    println!("   {} says in what time complaints are answered and settled", policy.name);
    Ok(())
}

/// From Monday to Friday, 09:00 to 18:00 in Shanghai; the more severe, the sooner.
fn office() -> SlaPolicy {
    let days = [Day::Monday, Day::Tuesday, Day::Wednesday, Day::Thursday, Day::Friday];
    let hours = || vec![SlaHours { start: "09:00".to_owned(), end: "18:00".to_owned() }];
    let hours_of = |hours: i64| Some(Duration { seconds: hours * HOUR, nanos: 0 });
    let targets = [
        (Severity::Low, 9, 90),
        (Severity::Medium, 4, 45),
        (Severity::High, 2, 18),
        (Severity::Critical, 1, 9),
    ];
    SlaPolicy {
        calendar: Some(SlaCalendar {
            time_zone: "Asia/Shanghai".to_owned(),
            weekly: days.into_iter().map(|day| DayHours { day: day.into(), hours: hours() }).collect(),
            ..SlaCalendar::default()
        }),
        targets: targets
            .into_iter()
            .map(|(severity, first_response, resolution)| SlaTarget {
                severity: severity.into(),
                first_response: hours_of(first_response),
                resolution: hours_of(resolution),
            })
            .collect(),
        ..SlaPolicy::default()
    }
}
