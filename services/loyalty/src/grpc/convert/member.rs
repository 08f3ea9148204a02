//! Members.

use chrono::{DateTime, Utc};
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Error, Etag, PageRequest, ResourceName, Violations, reason};
use uuid::Uuid;

use super::{CUSTOMERS, MEMBERS, timestamp};
use crate::domain::member::{Member, State};

/// A customer is to become a member.
#[derive(Clone, Copy, Debug)]
pub struct Create {
    pub customer: Uuid,
}

impl Create {
    pub fn parse(message: &proto::CreateMemberRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = super::customer(&message.customer, &mut violations);
        violations.finish()?;
        Ok(Self {
            customer: customer.expect("no violations, so there is a customer"),
        })
    }
}

/// Reads whose member is asked for.
pub fn get(message: &proto::GetMemberRequest) -> Result<Uuid, Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(MEMBERS, "name", &message.name, &mut violations);
    violations.finish()?;
    Ok(name.expect("no violations, so there is a name").id())
}

/// A member is to be turned to another state.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub customer: Uuid,
    pub etag: Option<Etag>,
}

impl Turn {
    pub fn freeze(message: &proto::FreezeMemberRequest) -> Result<Self, Error> {
        Self::parse(&message.name, &message.etag)
    }

    pub fn unfreeze(message: &proto::UnfreezeMemberRequest) -> Result<Self, Error> {
        Self::parse(&message.name, &message.etag)
    }

    fn parse(name: &str, etag: &str) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let name = ResourceName::parse(MEMBERS, "name", name, &mut violations);
        let etag = Etag::parse("etag", etag, &mut violations);
        violations.finish()?;
        Ok(Self {
            customer: name.expect("no violations, so there is a name").id(),
            etag,
        })
    }
}

/// A page of members is asked for.
#[derive(Clone, Debug)]
pub struct List {
    pub state: Option<State>,
    pub after: Option<(DateTime<Utc>, Uuid)>,
    pub page: PageRequest,
}

impl List {
    pub fn parse(message: &proto::ListMembersRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let state = violations
            .optional_choice("state", message.state)
            .map(|state| match state {
                proto::member::State::Frozen => State::Frozen,
                // Unspecified is no choice.
                proto::member::State::Active | proto::member::State::Unspecified => State::Active,
            });
        let query = ["members", state.map_or("", State::name)];
        let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
        let after = match page.after.as_deref().map(read_key) {
            Some(None) => {
                violations.add(
                    "page_token",
                    reason::PAGE_TOKEN_INVALID,
                    "is not a token of this list",
                );
                None
            }
            after => after.flatten(),
        };
        violations.finish()?;
        Ok(Self { state, after, page })
    }

    pub fn answer(&self, members: Vec<Member>) -> proto::ListMembersResponse {
        let page = self.page.page(members, key);
        proto::ListMembersResponse {
            members: page.items.iter().map(member).collect(),
            next_page_token: page.next_page_token,
        }
    }
}

/// Microseconds since 1970, then the customer: the order of the list.
fn key(member: &Member) -> Vec<u8> {
    let mut key = member.create_time.timestamp_micros().to_be_bytes().to_vec();
    key.extend_from_slice(member.customer.as_bytes());
    key
}

fn read_key(key: &[u8]) -> Option<(DateTime<Utc>, Uuid)> {
    let (micros, customer) = key.split_first_chunk::<8>()?;
    Some((
        DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?,
        Uuid::from_slice(customer).ok()?,
    ))
}

/// The member of a customer: the same id.
pub const fn name(customer: Uuid) -> ResourceName {
    ResourceName::new(MEMBERS, customer)
}

pub fn member(member: &Member) -> proto::Member {
    let state = match member.state {
        State::Active => proto::member::State::Active,
        State::Frozen => proto::member::State::Frozen,
    };
    proto::Member {
        name: name(member.customer).to_string(),
        customer: ResourceName::new(CUSTOMERS, member.customer).to_string(),
        state: state.into(),
        create_time: Some(timestamp(member.create_time)),
        update_time: Some(timestamp(member.update_time)),
        etag: Etag::of(member.version).to_string(),
    }
}
