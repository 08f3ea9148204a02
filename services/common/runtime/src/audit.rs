//! The log of a service's releases at its edge: every call finds the log that its answer is written down in, and
//! `cqm.audit.v1.AuditService` shows and checks it. One implementation for all services; the log is
//! [`cqm_db::audit`].

mod convert;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use cqm_db::Db;
use cqm_db::audit::{self, Walk};
use cqm_proto::audit::v1 as proto;
use cqm_proto::audit::v1::audit_service_server::{AuditService, AuditServiceServer};
use cqm_rpc::{Call, Deadline, Error, Releases, serve, serve_stream};
use futures::{Stream, stream};
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::server::{Served, UNARY_LIMIT};
use convert::{List, Verify};

/// What one step of a check may take: a stream lives as long as its caller listens.
const STEP_BUDGET: Duration = Duration::from_secs(30);
/// The most faults that one answer tells.
const MOST_FAULTS: usize = 100;

/// The tonic service over one runtime's `Db`.
pub fn server(db: Db) -> AuditServiceServer<impl AuditService> {
    AuditServiceServer::new(Audit { db }).max_decoding_message_size(UNARY_LIMIT)
}

/// Gives every request the place where releases are written down.
#[derive(Clone)]
pub struct Releasing<S> {
    served: S,
    releases: Releases,
}

impl<S> Releasing<S> {
    pub fn new(served: S, releases: Releases) -> Self {
        Self { served, releases }
    }
}

impl<S: Served> Service<Request<Body>> for Releasing<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.served.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.extensions_mut().insert(self.releases.clone());
        self.served.call(request)
    }
}

#[derive(Clone, Debug)]
struct Audit {
    db: Db,
}

type Answers<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list_releases(
        &self,
        request: tonic::Request<proto::ListReleasesRequest>,
    ) -> Result<tonic::Response<proto::ListReleasesResponse>, Status> {
        serve(request, async |call, message| self.list(&call, &message).await).await
    }

    type VerifyAuditStream = Answers<proto::VerifyAuditResponse>;

    async fn verify_audit(
        &self,
        request: tonic::Request<proto::VerifyAuditRequest>,
    ) -> Result<tonic::Response<Self::VerifyAuditStream>, Status> {
        serve_stream(request, async |call, message| self.verify(&call, &message).await).await
    }
}

impl Audit {
    async fn list(
        &self,
        call: &Call,
        message: &proto::ListReleasesRequest,
    ) -> Result<proto::ListReleasesResponse, Error> {
        let list = &List::parse(message)?;
        let rows = self
            .db
            .read(call, "list_releases", async |conn| {
                audit::list(conn, &list.filter, list.page.after, list.page.limit()).await
            })
            .await?;
        let mut request = list.page.clone();
        let releases: Vec<_> = rows.into_iter().map(convert::release).collect();
        // A release names up to a page of resources.
        request.shorten(&releases);
        let page = request.page(releases, |release| release.sequence);
        Ok(proto::ListReleasesResponse { releases: page.items, next_page_token: page.next_page_token })
    }

    async fn verify(
        &self,
        call: &Call,
        message: &proto::VerifyAuditRequest,
    ) -> Result<Answers<proto::VerifyAuditResponse>, Error> {
        let verify = Verify::parse(message)?;
        let end = self.db.read(call, "end_of_audit", async |conn| audit::end(conn).await).await?;
        let state = (self.db.clone(), call.clone(), Walk::new(end, verify.anchor), 0_i64);
        Ok(Box::pin(stream::try_unfold(Some(state), async |state| {
            let Some((db, call, walk, faults_total)) = state else {
                return Ok::<_, Status>(None);
            };
            let call = Call { deadline: Deadline::after(STEP_BUDGET), ..call };
            let walk = &walk;
            let (walk, faults) = db
                .read(&call, "verify_audit", async |conn| {
                    let mut walk = walk.clone();
                    let faults = walk.step(conn).await?;
                    Ok::<_, Error>((walk, faults))
                })
                .await?;
            let faults_total = faults_total + i64::try_from(faults.len()).unwrap_or(i64::MAX);
            let answer = proto::VerifyAuditResponse {
                checked: walk.checked(),
                head_sequence: walk.end().sequence,
                head_hash: walk.end().hash.clone().into(),
                faults: faults.iter().take(MOST_FAULTS).map(convert::fault).collect(),
                faults_total,
                done: walk.is_done(),
            };
            let next = (!answer.done).then_some((db, call, walk, faults_total));
            Ok(Some((answer, next)))
        })))
    }
}
