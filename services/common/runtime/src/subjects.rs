//! Forgetting a person in one service, or knowing them under one name instead of two: `cqm.subjects.v1.SubjectService`,
//! one implementation for all of them.
//!
//! What a service has of a person and why it must keep it is its own to say ([`Service::blockers`], [`Service::erase`],
//! [`Service::merge`]); the way is the same everywhere. Restricted first: nothing new is taken, and what stands in the
//! way is told. A loop looks whether that has changed. Erased last, in one transaction with the receipt.

use std::time::Duration;

use chrono::{DateTime, Utc};
use cqm_db::log::{self, NewEvent};
use cqm_db::subjects::{self, Closed, State, Subject};
use cqm_db::{Conn, Db};
use cqm_proto::events::v1::{SubjectErased, SubjectMerged, SubjectRestricted};
use cqm_proto::subjects::v1 as proto;
use cqm_proto::subjects::v1::subject_service_server::{SubjectService, SubjectServiceServer};
use cqm_rpc::{Call, Error, Reason, Refusal, ResourceName, Violations, reason, serve, time};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::process::{Base, Service};
use crate::server::UNARY_LIMIT;
use crate::tasks::Supervisor;

/// Something stands in the way of the erasure.
pub const SUBJECT_BLOCKED: Reason = Reason::new("cqm.subjects.v1", "SUBJECT_BLOCKED");

const CUSTOMERS: &str = "customers";
const SUBJECTS: &str = "subjects";
/// Between two looks whether what stands in the way has changed. Too high: an erasure waits for nothing, or begins although
/// something has come into its way. Too low: the database is asked for nothing. Few persons wait at any time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looked at at once.
const PAGE: i64 = 100;
/// What one look at a page or at one person may take.
const BUDGET: Duration = Duration::from_secs(10);

/// The tonic service over one runtime's `Db`.
pub fn server<S: Service>(service: S, base: Base) -> SubjectServiceServer<impl SubjectService> {
    let forgetting = Forgetting { service, db: base.db, clock: base.clock };
    SubjectServiceServer::new(forgetting).max_decoding_message_size(UNARY_LIMIT)
}

#[derive(Clone)]
struct Forgetting<S> {
    service: S,
    db: Db,
    clock: cqm_rpc::Clock,
}

#[tonic::async_trait]
impl<S: Service> SubjectService for Forgetting<S> {
    async fn restrict_subject(
        &self,
        request: Request<proto::RestrictSubjectRequest>,
    ) -> Result<Response<proto::Subject>, Status> {
        serve(request, async |call, message| self.restrict(&call, message).await).await
    }

    async fn release_subject(
        &self,
        request: Request<proto::ReleaseSubjectRequest>,
    ) -> Result<Response<proto::Subject>, Status> {
        serve(request, async |call, message| self.release(&call, message).await).await
    }

    async fn erase_subject(
        &self,
        request: Request<proto::EraseSubjectRequest>,
    ) -> Result<Response<proto::Subject>, Status> {
        serve(request, async |call, message| self.erase(&call, message).await).await
    }

    async fn merge_subject(
        &self,
        request: Request<proto::MergeSubjectRequest>,
    ) -> Result<Response<proto::Subject>, Status> {
        serve(request, async |call, message| self.merge(&call, message).await).await
    }
}

impl<S: Service> Forgetting<S> {
    async fn restrict(
        &self,
        call: &Call,
        message: proto::RestrictSubjectRequest,
    ) -> Result<proto::Subject, Error> {
        let (customer, round) = parse_restrict(&message)?;
        let forfeit_points = message.forfeit_points;
        self.db
            .mutate(call, "restrict_subject", &message, async |tx| {
                let before = subjects::lock(tx, customer).await?;
                if let Some(before) = before.as_ref().filter(|before| !is_news(before, round)) {
                    return Ok(answer(before));
                }
                self.service.lock(tx, customer).await?;
                let blockers = blockers(&self.service, tx, customer, forfeit_points).await?;
                let subject = Subject {
                    customer,
                    state: State::Restricted,
                    forfeit_points,
                    blockers: blockers.into_iter().map(str::to_owned).collect(),
                    version: before.map_or(1, |before| before.version + 1),
                    update_time: self.clock.now(),
                    survivor: None,
                    round,
                };
                subjects::save(tx, &subject).await?;
                log::append(tx, &call.trace, &[restricted(S::NAME, &subject)]).await?;
                Ok(answer(&subject))
            })
            .await
    }

    /// Tells nobody: who called the erasure off knows.
    async fn release(
        &self,
        call: &Call,
        message: proto::ReleaseSubjectRequest,
    ) -> Result<proto::Subject, Error> {
        let customer = parse(&message.customer, &message.request_id)?;
        self.db
            .mutate(call, "release_subject", &message, async |tx| {
                let before = subjects::lock(tx, customer).await?;
                let subject = Subject {
                    customer,
                    state: State::Open,
                    forfeit_points: false,
                    blockers: Vec::new(),
                    version: before.as_ref().map_or(1, |before| before.version + 1),
                    update_time: self.clock.now(),
                    survivor: None,
                    round: 0,
                };
                match before.and_then(|before| before.closed()) {
                    None => {}
                    Some(Closed::Restricted) => subjects::save(tx, &subject).await?,
                    Some(closed) => return Err(closed.refuse(customer)),
                }
                Ok(answer(&subject))
            })
            .await
    }

    async fn erase(&self, call: &Call, message: proto::EraseSubjectRequest) -> Result<proto::Subject, Error> {
        let customer = parse(&message.customer, &message.request_id)?;
        let answer = self
            .db
            .mutate(call, "erase_subject", &message, async |tx| {
                let before = subjects::lock(tx, customer).await?;
                match before.as_ref().map(|before| (before, before.closed())) {
                    Some((before, Some(Closed::Erased))) => return Ok(answer(before)),
                    Some((_, Some(closed @ Closed::Merged { .. }))) => return Err(closed.refuse(customer)),
                    _ => {}
                }
                let forfeit_points = before.as_ref().is_some_and(|before| before.forfeit_points);
                self.service.lock(tx, customer).await?;
                let blockers = blockers(&self.service, tx, customer, forfeit_points).await?;
                if !blockers.is_empty() {
                    return Err(Refusal::new(SUBJECT_BLOCKED).fact("blockers", blockers.join(",")).into());
                }
                let mut erased = self.service.erase(tx, call, customer).await?;
                if S::ANSWERS_TELL_OF_PERSONS {
                    let mut names = subjects::merged_into(tx, customer).await?;
                    names.push(customer);
                    erased.push(("answers", subjects::forget_answers(tx, &names).await?));
                }
                let subject = Subject {
                    customer,
                    state: State::Erased,
                    forfeit_points,
                    blockers: Vec::new(),
                    version: before.as_ref().map_or(1, |before| before.version + 1),
                    update_time: self.clock.now(),
                    survivor: None,
                    round: before.map_or(0, |before| before.round),
                };
                subjects::save(tx, &subject).await?;
                let payload = SubjectErased {
                    customer: ResourceName::new(CUSTOMERS, customer).to_string(),
                    service: S::NAME.to_owned(),
                    version: subject.version,
                    erased: erased.into_iter().map(|(what, count)| (what.to_owned(), count)).collect(),
                };
                log::append(tx, &call.trace, &[told(&subject, &payload)]).await?;
                Ok(answer(&subject))
            })
            .await?;
        self.service.gone(customer).await;
        Ok(answer)
    }

    async fn merge(&self, call: &Call, message: proto::MergeSubjectRequest) -> Result<proto::Subject, Error> {
        let (customer, survivor) = parse_merge(&message)?;
        let answer = self
            .db
            .mutate(call, "merge_subject", &message, async |tx| {
                let now = self.clock.now();
                Ok(answer(&merge(&self.service, tx, call, customer, survivor, now).await?))
            })
            .await?;
        self.service.gone(customer).await;
        Ok(answer)
    }

    /// Looks once at everybody who is to be erased. Whose answer is still the right one is not locked.
    async fn look_at_all(&self) -> Result<(), Error> {
        let mut after = Uuid::nil();
        while let Some(page) = self.look_at_page(after).await? {
            for customer in page.changed {
                // The others do not wait for this one, who is met again in the next round.
                if let Err(error) = self.look_again(customer).await {
                    let customer = ResourceName::new(CUSTOMERS, customer);
                    tracing::warn!(%customer, %error, "what stands in the way of an erasure could not be told");
                }
            }
            after = page.last;
        }
        Ok(())
    }

    async fn look_at_page(&self, after: Uuid) -> Result<Option<Page>, Error> {
        let call = &Call::internal("look_at_subjects", BUDGET);
        self.db
            .read(call, "look_at_subjects", async |conn| {
                let waiting = subjects::restricted(conn, after, PAGE).await?;
                let Some(last) = waiting.last().map(|subject| subject.customer) else {
                    return Ok(None);
                };
                let mut changed = Vec::new();
                for forfeit_points in [false, true] {
                    let those = waiting.iter().filter(|subject| subject.forfeit_points == forfeit_points);
                    let customers: Vec<Uuid> = those.clone().map(|subject| subject.customer).collect();
                    if customers.is_empty() {
                        continue;
                    }
                    let found = self.service.blockers(conn, &customers, forfeit_points).await?;
                    let differs = |subject: &&Subject| {
                        let found = found.get(&subject.customer).map_or(&[][..], Vec::as_slice);
                        subject.blockers.as_slice() != found
                    };
                    changed.extend(those.filter(differs).map(|subject| subject.customer));
                }
                Ok(Some(Page { last, changed }))
            })
            .await
    }

    /// Looks at one person whose answer is not the right one any more, and tells the right one.
    async fn look_again(&self, customer: Uuid) -> Result<(), Error> {
        let call = &Call::internal("look_at_subject", BUDGET);
        self.db
            .tx(call, "look_at_subject", async |tx| {
                look(&self.service, tx, call, customer, self.clock.now()).await
            })
            .await
    }
}

/// Persons who are to be erased, one page of them.
struct Page {
    last: Uuid,
    /// Those in whose way something else stands than was told.
    changed: Vec<Uuid>,
}

/// What stands in the way of one person's erasure.
async fn blockers<S: Service>(
    service: &S,
    tx: &mut Conn,
    customer: Uuid,
    forfeit_points: bool,
) -> Result<Vec<&'static str>, Error> {
    let mut found = service.blockers(tx, &[customer], forfeit_points).await?;
    Ok(found.remove(&customer).unwrap_or_default())
}

/// Looks at one person, and if they are to be erased and something else stands in the way than was told, tells it. For who
/// has just put something there: it is told in the same transaction.
pub async fn look<S: Service>(
    service: &S,
    tx: &mut Conn,
    call: &Call,
    customer: Uuid,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let before = subjects::lock(tx, customer).await?;
    let Some(before) = before.filter(|before| before.state == State::Restricted) else {
        return Ok(());
    };
    let blockers = blockers(service, tx, customer, before.forfeit_points).await?;
    if before.blockers == blockers {
        return Ok(());
    }
    let subject = Subject {
        blockers: blockers.into_iter().map(str::to_owned).collect(),
        version: before.version + 1,
        update_time: now,
        ..before
    };
    subjects::save(tx, &subject).await?;
    log::append(tx, &call.trace, &[restricted(S::NAME, &subject)]).await
}

/// Gives everything that the service has under one name to the name that stays, and tells it. One that is merged already
/// stays as it is. Afterwards, when that is committed, comes [`Service::gone`].
pub async fn merge<S: Service>(
    service: &S,
    tx: &mut Conn,
    call: &Call,
    customer: Uuid,
    survivor: Uuid,
    now: DateTime<Utc>,
) -> Result<Subject, Error> {
    // Merges are told in no order: the one who stays may have gone meanwhile.
    let survivor = match subjects::find(tx, survivor).await?.and_then(|subject| subject.closed()) {
        Some(Closed::Merged { survivor: further }) => further,
        _ => survivor,
    };
    let (before, into) = subjects::lock_two(tx, customer, survivor).await?;
    match into.and_then(|into| into.closed()) {
        // What is there already is not new: it goes to whom it belongs, and is erased with the rest.
        None | Some(Closed::Restricted) => {}
        Some(Closed::Erased) => return Err(Closed::Erased.refuse(survivor)),
        Some(Closed::Merged { .. }) => {
            // Between the look and the lock; the repeat finds it by the look.
            return Err(Error::Conflict { reason: reason::TRANSACTION_CONFLICT, source: None });
        }
    }
    match before.as_ref().map(|before| (before, before.closed())) {
        Some((before, Some(Closed::Merged { .. }))) => return Ok(before.clone()),
        Some((_, Some(Closed::Erased))) => return Err(Closed::Erased.refuse(customer)),
        _ => {}
    }
    let moved = service.merge(tx, call, customer, survivor).await?;
    subjects::send_on(tx, customer, survivor, now).await?;
    let subject = Subject {
        customer,
        state: State::Merged,
        forfeit_points: false,
        blockers: Vec::new(),
        version: before.map_or(1, |before| before.version + 1),
        update_time: now,
        survivor: Some(survivor),
        round: 0,
    };
    subjects::save(tx, &subject).await?;
    let payload = SubjectMerged {
        customer: ResourceName::new(CUSTOMERS, customer).to_string(),
        survivor: ResourceName::new(CUSTOMERS, survivor).to_string(),
        service: S::NAME.to_owned(),
        version: subject.version,
        moved: moved.into_iter().map(|(what, count)| (what.to_owned(), count)).collect(),
    };
    // What came may stand in the way of an erasure of the survivor's that waits for the merge.
    look(service, tx, call, survivor, now).await?;
    log::append(tx, &call.trace, &[told(&subject, &payload)]).await?;
    Ok(subject)
}

/// Looks again and again at those who are to be erased. Any replica may; two that look at the same person see the same.
pub(crate) fn look_again<S: Service>(service: S, base: &Base, supervisor: &Supervisor) {
    let forgetting = Forgetting { service, db: base.db.clone(), clock: base.clock.clone() };
    let ticks = supervisor.every(LOOK_EVERY);
    supervisor.spawn("look at restricted subjects", move || {
        let (forgetting, mut ticks) = (forgetting.clone(), ticks.clone());
        async move {
            while ticks.next().await {
                forgetting.look_at_all().await?;
            }
            Ok(())
        }
    });
}

fn parse(customer: &str, request_id: &str) -> Result<Uuid, Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(CUSTOMERS, "customer", customer, &mut violations);
    violations.optional_request_id(request_id);
    violations.finish()?;
    Ok(name.expect("no violation means that there is a customer").id())
}

fn parse_restrict(message: &proto::RestrictSubjectRequest) -> Result<(Uuid, i64), Error> {
    let mut violations = Violations::default();
    let customer = ResourceName::parse(CUSTOMERS, "customer", &message.customer, &mut violations);
    if message.round < 0 {
        violations.range("round", "0 or more");
    }
    violations.optional_request_id(&message.request_id);
    violations.finish()?;
    Ok((customer.expect("no violation means that there is a customer").id(), message.round))
}

/// Whether a restriction says something new about the person. A greater round does though they are restricted: what was
/// answered to the one before, whose end nobody has told, is not counted for this one.
fn is_news(before: &Subject, round: i64) -> bool {
    match before.state {
        State::Open => true,
        State::Restricted => round > before.round,
        State::Erased | State::Merged => false,
    }
}

fn parse_merge(message: &proto::MergeSubjectRequest) -> Result<(Uuid, Uuid), Error> {
    let mut violations = Violations::default();
    let customer = ResourceName::parse(CUSTOMERS, "customer", &message.customer, &mut violations);
    let survivor = ResourceName::parse(CUSTOMERS, "survivor", &message.survivor, &mut violations);
    if customer.is_some() && customer == survivor {
        violations.add("survivor", reason::FIELD_FORMAT, "must be another customer");
    }
    violations.optional_request_id(&message.request_id);
    violations.finish()?;
    let id = |name: Option<ResourceName>| name.expect("no violation means that there is a customer").id();
    Ok((id(customer), id(survivor)))
}

fn restricted(service: &str, subject: &Subject) -> NewEvent {
    let payload = SubjectRestricted {
        customer: ResourceName::new(CUSTOMERS, subject.customer).to_string(),
        service: service.to_owned(),
        version: subject.version,
        blockers: subject.blockers.clone(),
        round: subject.round,
    };
    told(subject, &payload)
}

fn told<P: prost::Message + prost::Name>(subject: &Subject, payload: &P) -> NewEvent {
    let name = ResourceName::new(SUBJECTS, subject.customer);
    NewEvent::new(name, subject.version, subject.update_time, payload)
}

fn answer(subject: &Subject) -> proto::Subject {
    let state = match subject.state {
        State::Open => proto::subject::State::Open,
        State::Restricted => proto::subject::State::Restricted,
        State::Erased => proto::subject::State::Erased,
        State::Merged => proto::subject::State::Merged,
    };
    proto::Subject {
        customer: ResourceName::new(CUSTOMERS, subject.customer).to_string(),
        state: state.into(),
        blockers: subject.blockers.clone(),
        version: subject.version,
        update_time: Some(time::wire(subject.update_time)),
        survivor: subject
            .survivor
            .map_or_else(String::new, |survivor| ResourceName::new(CUSTOMERS, survivor).to_string()),
    }
}
