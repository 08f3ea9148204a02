//! Vouchers.

use chrono::{DateTime, Utc};
use cqm_db::log::NewEvent;
use cqm_proto::events::v1 as events;
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Error, Etag, PageRequest, ResourceName, Violations, time};
use prost::{Message, Name};
use uuid::Uuid;

use super::ledger::{account, entries};
use super::{CUSTOMERS, TRANSACTIONS, VOUCHERS, child, member, parse_child, resource, reward};
use crate::domain::account::Account;
use crate::domain::code::{Code, Digest, Keys, Seed};
use crate::domain::entry::Entry;
use crate::domain::voucher::{Event, Fact, State, Voucher};

/// Reads a code. What can be none is a violation, which says nothing that its reader does not know already.
fn code(text: &str, violations: &mut Violations) -> Option<Code> {
    if text.is_empty() {
        violations.required("code");
        return None;
    }
    let code = Code::read(text);
    if code.is_none() {
        violations.format("code", "a code as it was told, 25 symbols of which the last checks the others");
    }
    code
}

/// Reads which code is asked about.
pub fn validate(message: &proto::ValidateVoucherRequest) -> Result<Code, Error> {
    let mut violations = Violations::default();
    let code = code(&message.code, &mut violations);
    violations.finish()?;
    Ok(code.expect("no violations, so there is a code"))
}

/// A voucher is to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consume {
    pub code: Code,
    pub order: String,
    pub etag: Option<Etag>,
}

impl Consume {
    pub fn parse(message: &proto::ConsumeVoucherRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let code = code(&message.code, &mut violations);
        let order = resource("order", &message.order, &mut violations);
        violations.request_id(&message.request_id);
        let etag = Etag::parse("etag", &message.etag, &mut violations);
        violations.finish()?;
        Ok(Self { code: code.expect("no violations, so there is a code"), order, etag })
    }
}

/// A voucher is to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    pub customer: Uuid,
    pub id: Uuid,
    pub request_id: Uuid,
    pub etag: Option<Etag>,
}

impl Cancel {
    pub fn parse(message: &proto::CancelVoucherRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let name = parse_child(VOUCHERS, "name", &message.name, &mut violations);
        let request_id = violations.request_id(&message.request_id);
        let etag = Etag::parse("etag", &message.etag, &mut violations);
        violations.finish()?;
        let (customer, id) = name.expect("no violations, so there is a name");
        let request_id = request_id.expect("no violations, so there is a request id");
        Ok(Self { customer, id, request_id, etag })
    }
}

/// Reads which voucher is asked for: whose, and its id.
pub fn get(message: &proto::GetVoucherRequest) -> Result<(Uuid, Uuid), Error> {
    let mut violations = Violations::default();
    let name = parse_child(VOUCHERS, "name", &message.name, &mut violations);
    violations.finish()?;
    Ok(name.expect("no violations, so there is a name"))
}

/// A page of vouchers is asked for.
#[derive(Clone, Debug)]
pub struct List {
    pub customer: Uuid,
    /// By id, the newest first.
    pub page: PageRequest<Uuid>,
}

impl List {
    pub fn parse(message: &proto::ListVouchersRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = super::customer(&message.customer, &mut violations);
        let query = ["vouchers", &message.customer];
        let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
        violations.finish()?;
        Ok(Self { customer: customer.expect("no violations, so there is a customer"), page })
    }

    pub fn answer(&self, vouchers: Vec<Voucher>, now: DateTime<Utc>) -> proto::ListVouchersResponse {
        let page = self.page.page(vouchers, |voucher| voucher.id);
        proto::ListVouchersResponse {
            vouchers: page.items.iter().map(|item| voucher(item, now)).collect(),
            next_page_token: page.next_page_token,
        }
    }
}

/// What is remembered of a reward that was taken: the answer without the code, and what the code is made of.
#[derive(Clone, PartialEq, Message)]
pub struct Remembered {
    #[prost(message, optional, tag = "1")]
    answer: Option<proto::RedeemRewardResponse>,
    /// The seed's two ids, one behind the other.
    #[prost(bytes = "vec", tag = "2")]
    seed: Vec<u8>,
    /// By it is known which of the keys made the code.
    #[prost(bytes = "vec", tag = "3")]
    digest: Vec<u8>,
}

impl Remembered {
    pub fn new(answer: proto::RedeemRewardResponse, seed: &Seed, digest: &Digest) -> Self {
        let seed = [seed.voucher.as_bytes().as_slice(), seed.drawn.as_bytes()].concat();
        Self { answer: Some(answer), seed, digest: digest.to_vec() }
    }

    /// The answer with its code, the same each time.
    pub fn answer(self, keys: Keys) -> Result<proto::RedeemRewardResponse, Error> {
        let (voucher, drawn) = self.seed.split_at_checked(16).unwrap_or_default();
        let seed = Seed {
            voucher: Uuid::from_slice(voucher).map_err(Error::internal)?,
            drawn: Uuid::from_slice(drawn).map_err(Error::internal)?,
        };
        let digest = self.digest.try_into().ok();
        let code = digest.and_then(|digest| keys.again(&seed, &digest));
        let code = code.ok_or_else(|| Error::internal("the key that made a voucher's code is gone"))?;
        Ok(proto::RedeemRewardResponse { code: code.text(), ..self.answer.unwrap_or_default() })
    }
}

pub fn voucher(voucher: &Voucher, now: DateTime<Utc>) -> proto::Voucher {
    let state = match voucher.state_at(now) {
        State::Issued => proto::voucher::State::Issued,
        State::Consumed => proto::voucher::State::Consumed,
        State::Cancelled => proto::voucher::State::Cancelled,
        State::Expired => proto::voucher::State::Expired,
    };
    let transaction = |id| child(voucher.customer, TRANSACTIONS, id);
    proto::Voucher {
        name: child(voucher.customer, VOUCHERS, voucher.id),
        reward: reward::name(voucher.reward).to_string(),
        state: state.into(),
        points: voucher.points,
        transaction: voucher.transaction.map(transaction).unwrap_or_default(),
        order: voucher.order.clone(),
        expire_time: voucher.expires_at.map(time::wire),
        create_time: Some(time::wire(voucher.create_time)),
        update_time: Some(time::wire(voucher.update_time)),
        etag: Etag::of(voucher.version).to_string(),
    }
}

/// The answer to who took a reward, without the code.
pub fn redeemed(
    issued: &Voucher,
    made: &[Entry],
    of: &Account,
    now: DateTime<Utc>,
) -> proto::RedeemRewardResponse {
    proto::RedeemRewardResponse {
        voucher: Some(voucher(issued, now)),
        code: String::new(),
        entries: entries(made),
        account: Some(account(of)),
    }
}

pub fn cancelled(
    cancelled: &Voucher,
    made: &[Entry],
    of: &Account,
    now: DateTime<Utc>,
) -> proto::CancelVoucherResponse {
    proto::CancelVoucherResponse {
        voucher: Some(voucher(cancelled, now)),
        entries: entries(made),
        account: Some(account(of)),
    }
}

/// The event as the log keeps it. Its aggregate is the voucher, so that whoever uses one waits for nobody but those who
/// have to do with the same.
pub fn logged(event: &Event) -> NewEvent {
    let voucher = child(event.customer, VOUCHERS, event.voucher);
    let member = member::name(event.customer).to_string();
    let customer = ResourceName::new(CUSTOMERS, event.customer).to_string();
    let reward = reward::name(event.reward).to_string();
    match event.fact.clone() {
        Fact::Issued { points, expires_at } => {
            let expire_time = expires_at.map(time::wire);
            new(event, &events::VoucherIssued { voucher, member, customer, reward, points, expire_time })
        }
        Fact::Consumed { order } => {
            new(event, &events::VoucherConsumed { voucher, member, customer, reward, order })
        }
        Fact::Cancelled { points } => {
            new(event, &events::VoucherCancelled { voucher, member, customer, reward, points })
        }
        Fact::Expired => new(event, &events::VoucherExpired { voucher, member, customer, reward }),
    }
}

fn new<P: Message + Name>(event: &Event, payload: &P) -> NewEvent {
    NewEvent::new(child(event.customer, VOUCHERS, event.voucher), event.version, event.time, payload)
}
