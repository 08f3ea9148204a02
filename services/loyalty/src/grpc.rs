//! The contract's services: one line for each RPC.

mod catalogue;
pub(crate) mod convert;
mod estimate;
mod hold;
mod ledger;
mod member;
mod programme;
mod report;
mod reward;
mod rule;
mod tier;
pub(crate) mod verify;
pub(crate) mod voucher;

use std::pin::Pin;

use chrono::{DateTime, Utc};
use cqm_db::subjects::{self, Closed};
use cqm_db::{Conn, log};
use cqm_proto::loyalty::v1 as proto;
use cqm_proto::loyalty::v1::earning_rule_service_server::EarningRuleService;
use cqm_proto::loyalty::v1::ledger_service_server::LedgerService;
use cqm_proto::loyalty::v1::member_service_server::MemberService;
use cqm_proto::loyalty::v1::programme_service_server::ProgrammeService;
use cqm_proto::loyalty::v1::report_service_server::ReportService;
use cqm_proto::loyalty::v1::tier_service_server::TierService;
use cqm_rpc::{Call, Error, serve, serve_stream};
use futures::Stream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::domain::Event;
use crate::domain::account::Account;
use crate::domain::member::{Member, State};
use crate::error::member_not_found;
use crate::{App, store};

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

    async fn list_tier_changes(
        &self,
        request: Request<proto::ListTierChangesRequest>,
    ) -> Result<Response<proto::ListTierChangesResponse>, Status> {
        serve(request, async |call, message| tier::list_tier_changes(self, &call, &message).await).await
    }
}

#[tonic::async_trait]
impl TierService for App {
    async fn create_tier(
        &self,
        request: Request<proto::CreateTierRequest>,
    ) -> Result<Response<proto::Tier>, Status> {
        serve(request, async |call, message| tier::create_tier(self, &call, &message).await).await
    }

    async fn get_tier(
        &self,
        request: Request<proto::GetTierRequest>,
    ) -> Result<Response<proto::Tier>, Status> {
        serve(request, async |call, message| tier::get_tier(self, &call, &message).await).await
    }

    async fn list_tiers(
        &self,
        request: Request<proto::ListTiersRequest>,
    ) -> Result<Response<proto::ListTiersResponse>, Status> {
        serve(request, async |call, message| tier::list_tiers(self, &call, &message).await).await
    }

    async fn update_tier(
        &self,
        request: Request<proto::UpdateTierRequest>,
    ) -> Result<Response<proto::Tier>, Status> {
        serve(request, async |call, message| tier::update_tier(self, &call, &message).await).await
    }

    async fn delete_tier(
        &self,
        request: Request<proto::DeleteTierRequest>,
    ) -> Result<Response<proto::Tier>, Status> {
        serve(request, async |call, message| tier::delete_tier(self, &call, &message).await).await
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
        serve_stream(request, async |call, message| {
            Ok(Box::pin(verify::verify_ledger(self, &call, &message).await?) as Answers<_>)
        })
        .await
    }
}

#[tonic::async_trait]
impl ProgrammeService for App {
    async fn create_programme(
        &self,
        request: Request<proto::CreateProgrammeRequest>,
    ) -> Result<Response<proto::Programme>, Status> {
        serve(request, async |call, message| programme::create(self, &call, &message).await).await
    }

    async fn get_programme(
        &self,
        request: Request<proto::GetProgrammeRequest>,
    ) -> Result<Response<proto::Programme>, Status> {
        serve(request, async |call, message| programme::get(self, &call, &message).await).await
    }

    async fn list_programmes(
        &self,
        request: Request<proto::ListProgrammesRequest>,
    ) -> Result<Response<proto::ListProgrammesResponse>, Status> {
        serve(request, async |call, message| programme::list(self, &call, &message).await).await
    }

    async fn update_programme(
        &self,
        request: Request<proto::UpdateProgrammeRequest>,
    ) -> Result<Response<proto::Programme>, Status> {
        serve(request, async |call, message| programme::update(self, &call, &message).await).await
    }

    async fn activate_programme(
        &self,
        request: Request<proto::ActivateProgrammeRequest>,
    ) -> Result<Response<proto::Programme>, Status> {
        serve(request, async |call, message| programme::activate(self, &call, &message).await).await
    }

    async fn pause_programme(
        &self,
        request: Request<proto::PauseProgrammeRequest>,
    ) -> Result<Response<proto::Programme>, Status> {
        serve(request, async |call, message| programme::pause(self, &call, &message).await).await
    }

    async fn end_programme(
        &self,
        request: Request<proto::EndProgrammeRequest>,
    ) -> Result<Response<proto::Programme>, Status> {
        serve(request, async |call, message| programme::end(self, &call, &message).await).await
    }
}

#[tonic::async_trait]
impl EarningRuleService for App {
    async fn create_earning_rule(
        &self,
        request: Request<proto::CreateEarningRuleRequest>,
    ) -> Result<Response<proto::EarningRule>, Status> {
        serve(request, async |call, message| rule::create(self, &call, &message).await).await
    }

    async fn get_earning_rule(
        &self,
        request: Request<proto::GetEarningRuleRequest>,
    ) -> Result<Response<proto::EarningRule>, Status> {
        serve(request, async |call, message| rule::get(self, &call, &message).await).await
    }

    async fn list_earning_rules(
        &self,
        request: Request<proto::ListEarningRulesRequest>,
    ) -> Result<Response<proto::ListEarningRulesResponse>, Status> {
        serve(request, async |call, message| rule::list(self, &call, &message).await).await
    }

    async fn update_earning_rule(
        &self,
        request: Request<proto::UpdateEarningRuleRequest>,
    ) -> Result<Response<proto::EarningRule>, Status> {
        serve(request, async |call, message| rule::update(self, &call, &message).await).await
    }

    async fn explain_earning(
        &self,
        request: Request<proto::ExplainEarningRequest>,
    ) -> Result<Response<proto::ExplainEarningResponse>, Status> {
        serve(request, async |call, message| rule::explain(self, &call, &message).await).await
    }

    async fn simulate_earning(
        &self,
        request: Request<proto::SimulateEarningRequest>,
    ) -> Result<Response<proto::SimulateEarningResponse>, Status> {
        serve(request, async |call, message| rule::simulate(self, &call, &message).await).await
    }
}

#[tonic::async_trait]
impl ReportService for App {
    type GetStatementStream = Answers<proto::GetStatementResponse>;

    async fn get_statement(
        &self,
        request: Request<proto::GetStatementRequest>,
    ) -> Result<Response<Self::GetStatementStream>, Status> {
        serve_stream(request, async |call, message| {
            Ok(Box::pin(report::get_statement(self, &call, &message).await?) as Answers<_>)
        })
        .await
    }

    async fn get_period_trial_balance(
        &self,
        request: Request<proto::GetPeriodTrialBalanceRequest>,
    ) -> Result<Response<proto::GetPeriodTrialBalanceResponse>, Status> {
        serve(request, async |call, message| report::get_period_trial_balance(self, &call, &message).await)
            .await
    }

    async fn get_liability(
        &self,
        request: Request<proto::GetLiabilityRequest>,
    ) -> Result<Response<proto::Liability>, Status> {
        serve(request, async |call, message| report::get_liability(self, &call, &message).await).await
    }

    async fn create_breakage_estimate(
        &self,
        request: Request<proto::CreateBreakageEstimateRequest>,
    ) -> Result<Response<proto::BreakageEstimate>, Status> {
        serve(request, async |call, message| estimate::create_breakage_estimate(self, &call, &message).await)
            .await
    }

    async fn get_breakage_estimate(
        &self,
        request: Request<proto::GetBreakageEstimateRequest>,
    ) -> Result<Response<proto::BreakageEstimate>, Status> {
        serve(request, async |call, message| estimate::get_breakage_estimate(self, &call, &message).await)
            .await
    }

    async fn list_breakage_estimates(
        &self,
        request: Request<proto::ListBreakageEstimatesRequest>,
    ) -> Result<Response<proto::ListBreakageEstimatesResponse>, Status> {
        serve(request, async |call, message| estimate::list_breakage_estimates(self, &call, &message).await)
            .await
    }
}

/// The member by the name that a call says.
async fn find_member(conn: &mut Conn, customer: Uuid) -> Result<Member, Error> {
    match store::find_member(conn, customer).await? {
        Some(member) if member.state != State::Merged => Ok(member),
        _ => Err(missing(conn, customer, member_not_found(convert::member::name(customer))).await),
    }
}

/// [`find_member`] with what they have, time having passed.
async fn find_account(
    app: &App,
    conn: &mut Conn,
    customer: Uuid,
    now: DateTime<Utc>,
) -> Result<Account, Error> {
    let (member, posting) = (find_member(conn, customer).await?, &app.posting);
    let account = store::settled(conn, vec![member], &posting.policy, &posting.tiers, now).await?.pop();
    account.ok_or_else(|| Error::internal("a member vanished"))
}

/// Why there is nothing by a customer's name: everything is somebody's under another name, or `not_found`.
async fn missing(conn: &mut Conn, customer: Uuid, not_found: Error) -> Error {
    match subjects::find(conn, customer).await.map(|found| found.and_then(|subject| subject.closed())) {
        Ok(Some(merged @ Closed::Merged { .. })) => merged.refuse(customer),
        Ok(_) => not_found,
        Err(error) => error,
    }
}

/// Writes events down: the last thing that a transaction does.
pub(crate) async fn append(tx: &mut Conn, call: &Call, events: &[Event]) -> Result<(), Error> {
    let events: Vec<log::NewEvent> = events.iter().map(convert::event::logged).collect();
    log::append(tx, &call.trace, &events).await
}
