//! One customer across all services, within what is left of the call's time.
//!
//! Every section is read at the same time and with the caller's own identity. A service that is away costs its section,
//! not the answer: the section is what it was when it was last read (STALE), or empty (UNAVAILABLE).

mod earlier;
mod history;
mod read;
mod scores;
mod section;
mod selection;
mod timeline;

use std::sync::Arc;
use std::time::Duration;

use cqm_proto::gateway::v1::customer360_service_server::Customer360Service;
use cqm_proto::gateway::v1::{
    GetCustomer360Request, GetCustomer360Response, ListCustomerTimelineRequest, ListCustomerTimelineResponse,
    ProfileSection,
};
use cqm_rpc::{Call, Deadline, Error, Failure, ResourceName, Violations, serve};
use tonic::{Code, Request, Response, Status};

use crate::backend::Channels;
use crate::config::Customer360Config;
use crate::error::{CUSTOMER_NOT_FOUND, merged, word};
use read::Readers;
use section::Section;
use selection::{COMPLAINTS, INTERACTIONS, MESSAGES, POINTS, PROFILE, PURCHASES, SURVEYS, TIER, Wanted};

pub use earlier::Earlier;

/// The service on one shard.
#[derive(Clone)]
pub struct Customer360(Arc<Inner>);

struct Inner {
    readers: Readers,
    config: Customer360Config,
    earlier: Earlier,
}

impl Customer360 {
    pub fn new(channels: &Channels, config: Customer360Config, earlier: Earlier) -> Self {
        Self(Arc::new(Inner { readers: Readers::new(channels), config, earlier }))
    }
}

#[tonic::async_trait]
impl Customer360Service for Customer360 {
    async fn get_customer360(
        &self,
        request: Request<GetCustomer360Request>,
    ) -> Result<Response<GetCustomer360Response>, Status> {
        serve(request, async |call, message| self.0.get(call, message).await).await
    }

    async fn list_customer_timeline(
        &self,
        request: Request<ListCustomerTimelineRequest>,
    ) -> Result<Response<ListCustomerTimelineResponse>, Status> {
        serve(request, async |call, message| self.0.list(call, message).await).await
    }
}

impl Inner {
    async fn get(&self, call: Call, message: GetCustomer360Request) -> Result<GetCustomer360Response, Error> {
        let mut violations = Violations::default();
        let customer = ResourceName::parse("customers", "customer", &message.customer, &mut violations);
        let wanted = Wanted::parse(message.fields.as_ref(), &mut violations);
        violations.finish()?;
        let customer = customer.ok_or_else(|| Error::internal("a name without a violation is a name"))?;

        let call = self.bounded(call);
        let (call, name, read) = (&call, &message.customer, &self.readers);

        // The profile ends the call when there is no such customer, and every section when they are known under another
        // name; nothing else does.
        let (profile, purchases, interactions, complaints, surveys, messages, points, tier) = tokio::try_join!(
            wanted.read(PROFILE, self.profile(customer, read.profile(call, name))),
            wanted.read(PURCHASES, self.section(customer, read.purchases(call, name))),
            wanted.read(INTERACTIONS, self.section(customer, read.interactions(call, name))),
            wanted.read(COMPLAINTS, self.section(customer, read.complaints(call, name))),
            wanted.read(SURVEYS, self.section(customer, read.surveys(call, name))),
            wanted.read(MESSAGES, self.section(customer, read.messages(call, name))),
            wanted.read(POINTS, self.section(customer, read.points(call, name))),
            wanted.read(TIER, self.section(customer, read.tier(call, customer))),
        )?;
        let mut answer = GetCustomer360Response {
            customer: message.customer,
            profile,
            purchases,
            interactions,
            complaints,
            surveys,
            messages,
            points,
            timeline: Vec::new(),
            tier,
        };
        answer.timeline = timeline::of(&answer);
        wanted.trim(&mut answer);
        Ok(answer)
    }

    async fn list(
        &self,
        call: Call,
        message: ListCustomerTimelineRequest,
    ) -> Result<ListCustomerTimelineResponse, Error> {
        let query = history::Query::parse(&message)?;
        history::page(&self.readers, &self.bounded(call), &query).await
    }

    /// The call as the services get it: they leave time to put their answers together.
    fn bounded(&self, call: Call) -> Call {
        Call { deadline: Deadline::after(budget(call.deadline.remaining(), &self.config)), ..call }
    }

    async fn profile(
        &self,
        customer: ResourceName,
        read: impl Future<Output = Result<ProfileSection, Status>>,
    ) -> Result<ProfileSection, Error> {
        let answer = read.await;
        if let Err(status) = &answer
            && status.code() == Code::NotFound
        {
            // Deleted, perhaps: what is remembered of them goes, too.
            self.earlier.forget(customer);
            return Err(Error::NotFound { reason: CUSTOMER_NOT_FOUND, name: customer.to_string() });
        }
        self.check_merged(customer, &answer)?;
        Ok(self.settle(customer, answer))
    }

    async fn section<S: Section>(
        &self,
        customer: ResourceName,
        read: impl Future<Output = Result<S, Status>>,
    ) -> Result<S, Error> {
        let answer = read.await;
        self.check_merged(customer, &answer)?;
        Ok(self.settle(customer, answer))
    }

    /// Everything is under the survivor's name, also what is remembered under this one.
    fn check_merged<S>(&self, customer: ResourceName, answer: &Result<S, Status>) -> Result<(), Error> {
        let merged = answer.as_ref().err().and_then(|status| merged(&Failure::of(status)));
        merged.map_or(Ok(()), |error| {
            self.earlier.forget(customer);
            Err(error)
        })
    }

    /// The section with its status: as it was read, as it was earlier, or empty.
    fn settle<S: Section>(&self, customer: ResourceName, answer: Result<S, Status>) -> S {
        let failure = match answer {
            Ok(section) => {
                self.earlier.keep(customer, &section);
                return section.fresh();
            }
            Err(status) => Failure::of(&status),
        };
        let reason = word(&failure).to_owned();
        // Only for a service that is away: what a caller may not read is not read from memory either.
        let earlier = if failure.is_transient() { self.earlier.find::<S>(customer) } else { None };
        match earlier {
            Some((section, age)) => section.stale(reason, age),
            None => S::unavailable(reason),
        }
    }
}

/// What the sections may take: a share of what is left, and never more than the limit.
fn budget(left: Duration, config: &Customer360Config) -> Duration {
    (left * config.share_percent / 100).min(config.section_limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sections_leave_time_to_answer() {
        let config = Customer360Config::default();
        assert_eq!(budget(Duration::from_secs(1), &config), Duration::from_millis(800));
        assert_eq!(budget(Duration::from_secs(20), &config), Duration::from_secs(2));
        assert_eq!(budget(Duration::ZERO, &config), Duration::ZERO);
    }
}
