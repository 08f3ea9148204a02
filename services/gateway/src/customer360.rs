//! One customer across all services, within what is left of the call's time.
//!
//! Every section is read at the same time and with the caller's own identity. A service that is away costs its section,
//! not the answer: the section is what it was when it was last read (STALE), or empty (UNAVAILABLE).

mod earlier;
mod read;
mod section;
mod timeline;

use std::sync::Arc;
use std::time::Duration;

use cqm_proto::gateway::v1::customer360_service_server::Customer360Service;
use cqm_proto::gateway::v1::{GetCustomer360Request, GetCustomer360Response, ProfileSection};
use cqm_rpc::{BoxError, Call, Deadline, Error, Failure, ResourceName, Violations, serve};
use cqm_runtime::pass::Mint;
use tonic::{Code, Request, Response, Status};

use crate::backend::Backends;
use crate::config::Customer360Config;
use crate::error::{CUSTOMER_NOT_FOUND, word};
use read::Readers;
use section::Section;

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
    /// Makes channels that connect when they are first used, on the current runtime.
    pub fn new(
        backends: &Backends,
        mint: &Mint,
        config: Customer360Config,
        earlier: Earlier,
    ) -> Result<Self, BoxError> {
        Ok(Self(Arc::new(Inner { readers: Readers::new(backends, mint)?, config, earlier })))
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
}

impl Inner {
    async fn get(&self, call: Call, message: GetCustomer360Request) -> Result<GetCustomer360Response, Error> {
        let mut violations = Violations::default();
        let customer = ResourceName::parse("customers", "customer", &message.customer, &mut violations);
        violations.finish()?;
        let customer = customer.ok_or_else(|| Error::internal("a name without a violation is a name"))?;

        let budget = budget(call.deadline.remaining(), &self.config);
        let call = Call { deadline: Deadline::after(budget), ..call };
        let (call, name, read) = (&call, &message.customer, &self.readers);

        // The profile ends the call when there is no such customer; the others never do.
        let (profile, purchases, interactions, complaints, surveys, messages, points) = tokio::try_join!(
            self.profile(customer, read.profile(call, name)),
            self.section(customer, read.purchases(call, name)),
            self.section(customer, read.interactions(call, name)),
            self.section(customer, read.complaints(call, name)),
            self.section(customer, read.surveys(call, name)),
            self.section(customer, read.messages(call, name)),
            self.section(customer, read.points(call, name)),
        )?;
        let mut answer = GetCustomer360Response {
            customer: message.customer,
            profile: Some(profile),
            purchases: Some(purchases),
            interactions: Some(interactions),
            complaints: Some(complaints),
            surveys: Some(surveys),
            messages: Some(messages),
            points: Some(points),
            timeline: Vec::new(),
        };
        answer.timeline = timeline::of(&answer);
        Ok(answer)
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
        Ok(self.settle(customer, answer))
    }

    async fn section<S: Section>(
        &self,
        customer: ResourceName,
        read: impl Future<Output = Result<S, Status>>,
    ) -> Result<S, Error> {
        Ok(self.settle(customer, read.await))
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
