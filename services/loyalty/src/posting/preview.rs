//! What an earn would come to, decided as it would be and then forgotten.

use cqm_db::Conn;
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Call, Error};

use super::{Command, Earning, Posting, State};
use crate::domain::entry::Cause;
use crate::grpc::convert::earning;
use crate::grpc::convert::ledger::Earn;
use crate::store::{self, Wants};

impl Posting {
    /// What each rule says to an earn.
    pub async fn explain(
        &self,
        conn: &mut Conn,
        earn: &Earn,
    ) -> Result<proto::ExplainEarningResponse, Error> {
        let state = self.peek(conn, earn).await?;
        let given = (earn.customer, earn.basis.reason(), earn.source.clone());
        let base = earn.basis.points(&self.rules)?;
        if state.loaded.rewarded.contains_key(&given) {
            return Ok(earning::explained(&state.earning, base, None));
        }
        let account = match state.loaded.accounts.get(&earn.customer) {
            Some(account) => account.clone(),
            None => state.open(earn.customer).0,
        };
        let weighed = state.earning.weigh(earn, &account, &self.rules, state.now)?;
        Ok(earning::explained(&state.earning, base, Some(&weighed)))
    }

    /// What an earn would give.
    pub async fn simulate(
        &self,
        conn: &mut Conn,
        call: &Call,
        earn: &Earn,
    ) -> Result<proto::SimulateEarningResponse, Error> {
        let mut state = self.peek(conn, earn).await?;
        let cause = Cause {
            actor: call.caller.subject.to_string(),
            request_id: earn.request_id,
            reason: earn.basis.reason(),
            source: earn.source.clone(),
            time: state.now,
        };
        let (weighed, answer) = self.earn(&mut state, call, earn, &cause)?;
        Ok(earning::simulated(weighed.as_ref(), answer))
    }

    /// What `load` reads for an earn, without its locks.
    async fn peek(&self, conn: &mut Conn, earn: &Earn) -> Result<State, Error> {
        let mut wants = Wants::default();
        Command::Earn(earn.clone()).wants(&mut wants);
        let now = self.clock.now();
        let rules = self.book.read(conn).await?;
        let loaded = store::peek(conn, &wants, &self.policy, &self.tiers, now).await?;
        loaded.check(earn.customer)?;
        let earning = Earning::peek(conn, rules, earn, &self.rules, now).await?;
        Ok(State { loaded, earning, now, events: Vec::new() })
    }
}
