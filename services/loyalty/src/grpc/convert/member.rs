//! Members.

use chrono::{DateTime, Utc};
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Error, Etag, PageRequest, ResourceName, Violations, time};
use uuid::Uuid;

use super::{CUSTOMERS, MEMBERS, tier};
use crate::domain::account::Account;
use crate::domain::member::State;
use crate::domain::referral::ReferralCode;
use crate::domain::standing::Month;

/// A customer is to become a member.
#[derive(Clone, Copy, Debug)]
pub struct Create {
    pub customer: Uuid,
    /// Of whoever brought them in.
    pub referral_code: Option<ReferralCode>,
}

impl Create {
    pub fn parse(message: &proto::CreateMemberRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = super::customer(&message.customer, &mut violations);
        violations.optional_request_id(&message.request_id);
        let referral_code = ReferralCode::find(&message.referral_code);
        if referral_code.is_none() && !message.referral_code.is_empty() {
            violations.format("referral_code", "ten letters and digits, as a member was given them");
        }
        violations.finish()?;
        Ok(Self { customer: customer.expect("no violations, so there is a customer"), referral_code })
    }
}

/// A page of members is asked for.
#[derive(Clone, Debug)]
pub struct List {
    pub state: Option<State>,
    /// By time of joining, the newest first.
    pub page: PageRequest<(DateTime<Utc>, Uuid)>,
}

impl List {
    pub fn parse(message: &proto::ListMembersRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let state = violations.optional_choice("state", message.state).map(|state| match state {
            proto::member::State::Frozen => State::Frozen,
            proto::member::State::Merged => State::Merged,
            // Unspecified is no choice.
            proto::member::State::Active | proto::member::State::Unspecified => State::Active,
        });
        let query = ["members", state.map_or("", State::name)];
        let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
        violations.finish()?;
        Ok(Self { state, page })
    }

    pub fn answer(&self, members: Vec<Account>, now: DateTime<Utc>) -> proto::ListMembersResponse {
        let page = self.page.page(members, |of| (of.member.create_time, of.member.customer));
        proto::ListMembersResponse {
            members: page.items.iter().map(|account| member(account, now)).collect(),
            next_page_token: page.next_page_token,
        }
    }
}

/// The member of a customer: the same id.
pub const fn name(customer: Uuid) -> ResourceName {
    ResourceName::new(MEMBERS, customer)
}

/// The member of an account that time has been written down of.
pub fn member(account: &Account, now: DateTime<Utc>) -> proto::Member {
    let (member, ladder) = (&account.member, account.ladder());
    let standing = &member.standing;
    let counted = ladder.scheme.window.counted(&standing.months, Month::of(now));
    let next = ladder.above(standing.tier);
    let state = match member.state {
        State::Active => proto::member::State::Active,
        State::Frozen => proto::member::State::Frozen,
        State::Merged => proto::member::State::Merged,
    };
    proto::Member {
        name: name(member.customer).to_string(),
        customer: ResourceName::new(CUSTOMERS, member.customer).to_string(),
        state: state.into(),
        create_time: Some(time::wire(member.create_time)),
        update_time: Some(time::wire(member.update_time)),
        etag: Etag::of(member.version).to_string(),
        tier: tier::name(standing.tier),
        tier_start_time: standing.since.map(time::wire),
        tier_end_time: standing.until.map(time::wire),
        qualifying_points: counted,
        next_tier: tier::name(next.map(|rung| rung.id)),
        // A threshold may have been lowered since the member last earned something.
        points_to_next_tier: next.map_or(0, |rung| rung.threshold.saturating_sub(counted).max(0)),
        referral_code: member.referral_code.to_string(),
    }
}
