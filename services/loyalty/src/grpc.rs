//! The contract's services: one line for each RPC.

mod catalogue;
pub(crate) mod convert;
mod hold;
mod ledger;
mod member;
mod reward;
mod verify;
mod voucher;

use std::pin::Pin;

use cqm_db::{Conn, log};
use cqm_proto::loyalty::v1 as proto;
use cqm_proto::loyalty::v1::ledger_service_server::LedgerService;
use cqm_proto::loyalty::v1::member_service_server::MemberService;
use cqm_rpc::{Call, Error, serve};
use futures::Stream;
use tonic::{Request, Response, Status};

use crate::App;
use crate::domain::Event;

/// A stream of answers.
type Answers<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

#[tonic::async_trait]
impl MemberService for App {
    async fn create_member(
        &self,
        request: Request<proto::CreateMemberRequest>,
    ) -> Result<Response<proto::Member>, Status> {
        serve(request, async |call, message| member::create_member(self, &call, &message).await).await
    }

    async fn get_member(
        &self,
        request: Request<proto::GetMemberRequest>,
    ) -> Result<Response<proto::Member>, Status> {
        serve(request, async |call, message| member::get_member(self, &call, &message).await).await
    }

    async fn list_members(
        &self,
        request: Request<proto::ListMembersRequest>,
    ) -> Result<Response<proto::ListMembersResponse>, Status> {
        serve(request, async |call, message| member::list_members(self, &call, &message).await).await
    }

    async fn freeze_member(
        &self,
        request: Request<proto::FreezeMemberRequest>,
    ) -> Result<Response<proto::Member>, Status> {
        serve(request, async |call, message| member::freeze_member(self, &call, &message).await).await
    }

    async fn unfreeze_member(
        &self,
        request: Request<proto::UnfreezeMemberRequest>,
    ) -> Result<Response<proto::Member>, Status> {
        serve(request, async |call, message| member::unfreeze_member(self, &call, &message).await).await
    }
}

#[tonic::async_trait]
impl LedgerService for App {
    async fn earn_points(
        &self,
        request: Request<proto::EarnPointsRequest>,
    ) -> Result<Response<proto::EarnPointsResponse>, Status> {
        serve(request, async |call, message| ledger::earn_points(self, &call, &message).await).await
    }

    async fn redeem_points(
        &self,
        request: Request<proto::RedeemPointsRequest>,
    ) -> Result<Response<proto::RedeemPointsResponse>, Status> {
        serve(request, async |call, message| ledger::redeem_points(self, &call, &message).await).await
    }

    async fn get_account(
        &self,
        request: Request<proto::GetAccountRequest>,
    ) -> Result<Response<proto::Account>, Status> {
        serve(request, async |call, message| ledger::get_account(self, &call, &message).await).await
    }

    async fn list_entries(
        &self,
        request: Request<proto::ListEntriesRequest>,
    ) -> Result<Response<proto::ListEntriesResponse>, Status> {
        serve(request, async |call, message| ledger::list_entries(self, &call, &message).await).await
    }

    async fn get_trial_balance(
        &self,
        request: Request<proto::GetTrialBalanceRequest>,
    ) -> Result<Response<proto::GetTrialBalanceResponse>, Status> {
        serve(request, async |call, _| ledger::get_trial_balance(self, &call).await).await
    }

    async fn hold_points(
        &self,
        request: Request<proto::HoldPointsRequest>,
    ) -> Result<Response<proto::HoldPointsResponse>, Status> {
        serve(request, async |call, message| ledger::hold_points(self, &call, &message).await).await
    }

    async fn commit_hold(
        &self,
        request: Request<proto::CommitHoldRequest>,
    ) -> Result<Response<proto::CommitHoldResponse>, Status> {
        serve(request, async |call, message| ledger::commit_hold(self, &call, &message).await).await
    }

    async fn release_hold(
        &self,
        request: Request<proto::ReleaseHoldRequest>,
    ) -> Result<Response<proto::ReleaseHoldResponse>, Status> {
        serve(request, async |call, message| ledger::release_hold(self, &call, &message).await).await
    }

    async fn get_hold(
        &self,
        request: Request<proto::GetHoldRequest>,
    ) -> Result<Response<proto::Hold>, Status> {
        serve(request, async |call, message| hold::get_hold(self, &call, &message).await).await
    }

    async fn list_holds(
        &self,
        request: Request<proto::ListHoldsRequest>,
    ) -> Result<Response<proto::ListHoldsResponse>, Status> {
        serve(request, async |call, message| hold::list_holds(self, &call, &message).await).await
    }

    async fn reverse_transaction(
        &self,
        request: Request<proto::ReverseTransactionRequest>,
    ) -> Result<Response<proto::ReverseTransactionResponse>, Status> {
        serve(request, async |call, message| ledger::reverse_transaction(self, &call, &message).await).await
    }

    type VerifyLedgerStream = Answers<proto::VerifyLedgerResponse>;

    async fn verify_ledger(
        &self,
        request: Request<proto::VerifyLedgerRequest>,
    ) -> Result<Response<Self::VerifyLedgerStream>, Status> {
        serve(request, async |call, message| {
            Ok(Box::pin(verify::verify_ledger(self, &call, &message).await?) as Answers<_>)
        })
        .await
    }
}

/// Writes events down: the last thing that a transaction does.
async fn append(tx: &mut Conn, call: &Call, events: &[Event]) -> Result<(), Error> {
    let events: Vec<log::NewEvent> = events.iter().map(convert::event::logged).collect();
    log::append(tx, &call.trace, &events).await
}
