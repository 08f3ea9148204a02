//! The call that a handler answers: who asks, until when, in which trace.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cqm_proto::options::v1::Role;
use cqm_proto::{Kinds, PersonalData, policy};
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::disclosure::Desk;
use crate::{Error, Purpose, TraceContext, role_name};

/// What the server stack established about a call before the handler sees it. It travels in the request's
/// extensions; [`serve`] takes it out.
#[derive(Clone, Debug)]
pub struct Call {
    pub caller: Caller,
    pub deadline: Deadline,
    pub trace: TraceContext,
    /// `/cqm.complaints.v1.ComplaintService/ResolveComplaint`
    pub path: Arc<str>,
    /// What the caller needs personal data in clear for, if they said.
    pub purpose: Option<Purpose>,
}

impl Call {
    /// The kinds of personal data that the caller sees in clear: what their roles are shown, and what they are shown
    /// for a purpose when they gave one.
    pub fn sees(&self) -> Kinds {
        let rights = policy::rights(&self.caller.roles);
        if self.purpose.is_some() { rights.clear | rights.purpose } else { rights.clear }
    }

    /// A call that the process makes to itself: a worker's transaction, a start-up check.
    pub fn internal(name: &str, budget: Duration) -> Self {
        Self {
            caller: Caller { subject: "internal".into(), roles: vec![Role::InternalService] },
            deadline: Deadline::after(budget),
            trace: TraceContext::fresh(false),
            path: name.into(),
            purpose: None,
        }
    }
}

/// The subject that the edge authenticated, with its roles.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Stable and free of personal data: a service account's name, a staff login's opaque subject.
    pub subject: Arc<str>,
    pub roles: Vec<Role>,
}

impl Caller {
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// The roles by name, separated by commas.
    pub fn role_names(&self) -> String {
        self.roles.iter().map(|role| role_name(*role)).collect::<Vec<_>>().join(",")
    }
}

/// The moment after which nobody waits for the answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    pub fn after(budget: Duration) -> Self {
        Self::of(Instant::now(), budget)
    }

    /// For what has begun already.
    pub fn of(began: Instant, budget: Duration) -> Self {
        Self(began + budget)
    }

    /// What is left; zero when it has passed.
    pub fn remaining(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub fn instant(&self) -> Instant {
        self.0
    }
}

/// The one line of every tonic method: takes the [`Call`] out of the request, runs the handler, shows the caller of the
/// answer what they may see, turns an error into a status.
pub async fn serve<Q, A: PersonalData + Send>(
    request: Request<Q>,
    handler: impl AsyncFnOnce(Call, Q) -> Result<A, Error>,
) -> Result<Response<A>, Status> {
    let desk = Desk::of(request.extensions())?;
    let answer = handler(desk.call().clone(), request.into_inner()).await?;
    Ok(Response::new(desk.disclose(answer).await?))
}

/// [`serve`] for methods that answer in a stream: every message of it is an answer.
pub async fn serve_stream<Q, A, S>(
    request: Request<Q>,
    handler: impl AsyncFnOnce(Call, Q) -> Result<S, Error>,
) -> Result<Response<Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>>, Status>
where
    A: PersonalData + Send + 'static,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
{
    let desk = Desk::of(request.extensions())?;
    let answers = handler(desk.call().clone(), request.into_inner()).await?;
    let answers = answers.then(move |answer| {
        let desk = desk.clone();
        async move { Ok(desk.disclose(answer?).await?) }
    });
    Ok(Response::new(Box::pin(answers)))
}
