//! Members and the ledger of their points: `cqm.loyalty.v1`.
//!
//! This service owns who takes part in the programme, which tier they hold, what points are given for, and the ledger: append-only, double
//! entry, in whole points. A balance is never stored without the entries that make it, cannot fall below zero in the
//! database itself, and every account of every member has a hash chain that shows an altered byte.
//!
//! # One earn, from the wire to the disk
//!
//! 1. [`grpc`]: one line for each RPC takes the call; the handler in `grpc/ledger.rs` has `grpc/convert` parse the
//!    message into a command that holds nothing invalid, every violation at once.
//! 2. The command goes to the [`Coalescer`]. While one commit is on its way to the disk, the requests that arrive form
//!    the next batch; a request that arrives alone goes at once.
//! 3. [`posting`]: one set of statements for the whole batch looks up which requests were answered before, takes the
//!    locks of the members, in the order of their ids and the only locks there are, and reads what the decisions need:
//!    lots to spend, holds, what a source was rewarded with. What time has changed meanwhile is written down first.
//! 4. [`domain::earning`] says what it is worth by the base rule and [`domain::rules`] what the programmes' rules give
//!    beside it, whose copy is in the [`rulebook`] and whose budgets were locked behind the members, in slices that
//!    nobody else has; [`domain::account`] makes the change: a lot, an entry that debits one account and credits another,
//!    chained to the member's entry before it, and an event. A purchase counts for the member's tier, which they reach by
//!    the same change ([`domain::standing`]). The next request of the batch is decided over what this one has left. A
//!    refusal changes nothing.
//! 5. [`store::save`] writes the batch by arrays, the answers beside the requests' ids, the events last. One commit
//!    carries all of it, and each caller is told their own answer.
//!
//! # How it is put together
//!
//! `grpc` knows the contract and not the tables, `store` the tables and not the contract, `domain` neither. Nothing of
//! a member is cached: what they have must be what they have now, and is one row by its key. The tiers, a few rows that
//! hardly change, are read from a copy that is a second old at most, see [`store::Tiers`]. [`worker`] writes down what time
//! changes for members whom nobody asks about, and sums up the days that are over: reports about all members read those
//! sums and the entries of the day that is not.
//!
//! # Two names of one person
//!
//! [`merging`] gives everything of a name that goes to the one that stays, in one transaction that has both members'
//! locks: [`domain::account`] says by which entries. The history of the name that goes stays under it. What happened once
//! under either has happened: a source that gave points under the one gives none under the other, and what was earned or
//! spent under the one is taken back under the other. The table of subjects tells which names those are, one step away.
//!
//! # Rewards
//!
//! Taking a reward is one transaction of its own, because it is rare beside earning: the member's lock, the points out
//! of their lots, the voucher, the events, and last the piece of the stock, which is the only row that strangers share.
//! It is written by a condition (`taken < stock`) and held for no longer than the commit: 64 callers of one reward with
//! a stock were 0.88 times as fast as of one without, 16 were 0.97 (fsync on, two cores, an unoptimised build). Cutting a
//! stock into slices would let more commit at once, and would have the last pieces searched for in all of them. What a
//! voucher's code is made of and where it is kept, which is nowhere, says [`domain::code`].

pub mod config;
pub mod domain;
pub mod error;
pub mod grpc;
pub mod merging;
pub mod posting;
pub mod rulebook;
mod schema;
pub mod store;
pub mod worker;

pub use config::Config;

use std::collections::HashMap;

use cqm_db::{Coalescer, Conn, Db};
use cqm_proto::loyalty::v1::earning_rule_service_server::{self, EarningRuleServiceServer};
use cqm_proto::loyalty::v1::ledger_service_server::{self, LedgerServiceServer};
use cqm_proto::loyalty::v1::member_service_server::{self, MemberServiceServer};
use cqm_proto::loyalty::v1::programme_service_server::{self, ProgrammeServiceServer};
use cqm_proto::loyalty::v1::report_service_server::{self, ReportServiceServer};
use cqm_proto::loyalty::v1::reward_service_server::{self, RewardServiceServer};
use cqm_proto::loyalty::v1::tier_service_server::{self, TierServiceServer};
use cqm_proto::loyalty::v1::voucher_service_server::{self, VoucherServiceServer};
use cqm_rpc::{BoxError, Call, Error};
use cqm_runtime::figures::Figure;
use cqm_runtime::process::{Base, Service};
use cqm_runtime::server::UNARY_LIMIT;
use cqm_runtime::tasks::Supervisor;
use diesel_migrations::embed_migrations;
use tonic::service::Routes;
use uuid::Uuid;

use posting::{Command, Posting};
use store::Tiers;

/// The tables of this service, over those that every service has.
pub const MIGRATIONS: cqm_db::Migrations = embed_migrations!("migrations");

/// The service on one runtime.
#[derive(Clone)]
pub struct App {
    db: Db,
    /// How the ledger decides.
    posting: Posting,
    /// Where the changes of all connections meet.
    coalescer: Coalescer<Command>,
    config: Config,
}

impl Service for App {
    const NAME: &'static str = "loyalty";
    const SERVICES: &'static [&'static str] = &[
        member_service_server::SERVICE_NAME,
        ledger_service_server::SERVICE_NAME,
        programme_service_server::SERVICE_NAME,
        earning_rule_service_server::SERVICE_NAME,
        tier_service_server::SERVICE_NAME,
        report_service_server::SERVICE_NAME,
        reward_service_server::SERVICE_NAME,
        voucher_service_server::SERVICE_NAME,
    ];
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Config = Config;
    const MIGRATIONS: cqm_db::Migrations = MIGRATIONS;
    /// Names, points and times.
    const ANSWERS_TELL_OF_PERSONS: bool = false;

    fn new(base: Base, config: Config) -> Result<Self, BoxError> {
        let posting = Posting {
            clock: base.clock,
            rules: config.rules(),
            policy: config.policy(),
            book: base.shared.of(),
            tiers: Tiers::new(config.tiers.scheme(), base.shared.of()),
        };
        Ok(Self { db: base.db, posting, coalescer: base.shared.of(), config })
    }

    fn routes(&self) -> Routes {
        Routes::new(MemberServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
            .add_service(LedgerServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
            .add_service(ProgrammeServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
            .add_service(EarningRuleServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
            .add_service(TierServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
            .add_service(ReportServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
            .add_service(RewardServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
            .add_service(VoucherServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
    }

    fn workers(&self, supervisor: &Supervisor) {
        worker::start(self, supervisor);
    }

    fn figures() -> Vec<Figure> {
        store::figures::all()
    }

    async fn blockers(
        &self,
        conn: &mut Conn,
        customers: &[Uuid],
        forfeit_points: bool,
    ) -> Result<HashMap<Uuid, Vec<&'static str>>, Error> {
        if forfeit_points { Ok(HashMap::new()) } else { store::blockers(conn, customers).await }
    }

    /// Who spends points or gives them back holds nothing but the member's lock.
    async fn lock(&self, tx: &mut Conn, customer: Uuid) -> Result<(), Error> {
        store::lock_member(tx, customer).await.map(drop)
    }

    async fn erase(
        &self,
        tx: &mut Conn,
        call: &Call,
        customer: Uuid,
    ) -> Result<Vec<(&'static str, i64)>, Error> {
        let mut receipt = store::kept(tx, customer).await?;
        receipt.push(("vouchers", grpc::voucher::give_up_vouchers(self, tx, call, customer).await?));
        Ok(receipt)
    }

    async fn merge(
        &self,
        tx: &mut Conn,
        call: &Call,
        customer: Uuid,
        survivor: Uuid,
    ) -> Result<Vec<(&'static str, i64)>, Error> {
        merging::merge(self, tx, call, customer, survivor).await
    }
}
