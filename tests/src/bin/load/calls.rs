//! What is called: requests as bytes, and what a good answer looks like.

use bytes::{BufMut, Bytes, BytesMut};
use cqm_proto::complaints::v1::complaint::Channel;
use cqm_proto::complaints::v1::{Category, Complaint, RegisterComplaintRequest, Severity};
use cqm_proto::customers::v1::{
    Customer, GetCustomerRequest, ImportCustomersRequest, ImportCustomersResponse,
};
use cqm_proto::google::r#type::Money;
use cqm_proto::loyalty::v1::earn_points_request::Basis;
use cqm_proto::loyalty::v1::{EarnPointsRequest, EarnPointsResponse, PurchaseBasis};
use cqm_rpc::{BoxError, Clock};
use prost::Message;
use prost_types::Timestamp;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use uuid::Uuid;

use crate::{Call, Spread, echo};

/// gRPC puts a flag and a length of four bytes before a message.
const PREFIX: usize = 5;

impl Call {
    pub fn path(self) -> &'static str {
        match self {
            Self::Echo => echo::PATH,
            Self::GetCustomer => "/cqm.customers.v1.CustomerService/GetCustomer",
            Self::ImportCustomers => "/cqm.customers.v1.CustomerService/ImportCustomers",
            Self::EarnPoints => "/cqm.loyalty.v1.LedgerService/EarnPoints",
            Self::RegisterComplaint => "/cqm.complaints.v1.ComplaintService/RegisterComplaint",
        }
    }

    /// The service that answers it, as its process is called.
    pub fn service(self) -> Option<&'static str> {
        match self {
            Self::Echo => None,
            Self::GetCustomer | Self::ImportCustomers => Some("customer-data"),
            Self::EarnPoints => Some("loyalty"),
            Self::RegisterComplaint => Some("complaints"),
        }
    }
}

/// An endless supply of requests of one kind, about customers chosen at random.
pub struct Work {
    call: Call,
    names: Vec<String>,
    choice: WeightedIndex<f64>,
    /// For reads, which may repeat to the byte: made once, so that the generator costs as little as it can.
    ready: Vec<Bytes>,
}

impl Work {
    pub fn new(call: Call, spread: Spread, names: Vec<String>) -> Result<Self, BoxError> {
        let weight = |rank: u32| match spread {
            Spread::Even => 1.0,
            Spread::Zipf => 1.0 / f64::from(rank),
            Spread::One => f64::from(u8::from(rank == 1)),
        };
        let choice = WeightedIndex::new((1..).take(names.len()).map(weight))
            .map_err(|error| format!("there are no names to call about: {error}"))?;
        let ready = match call {
            Call::Echo => names.iter().map(framed).collect(),
            Call::GetCustomer => names.iter().map(|name| framed(&get_customer(name))).collect(),
            Call::ImportCustomers => vec![framed(&import_customers()); names.len()],
            Call::EarnPoints | Call::RegisterComplaint => Vec::new(),
        };
        Ok(Self { call, names, choice, ready })
    }

    /// The next request, ready for the wire, and whom it is about.
    pub fn next(&self) -> (Bytes, &str) {
        let chosen = self.choice.sample(&mut rand::rng());
        let name = &self.names[chosen];
        let request = match self.call {
            Call::Echo | Call::GetCustomer | Call::ImportCustomers => self.ready[chosen].clone(),
            Call::EarnPoints => framed(&earn_points(name)),
            Call::RegisterComplaint => framed(&register_complaint(name)),
        };
        (request, name)
    }

    /// Whether an answer, its prefix included, is what was asked for.
    pub fn check(&self, name: &str, answer: &[u8]) -> Result<(), BoxError> {
        let message = answer.get(PREFIX..).ok_or("the answer is empty")?;
        let good = match self.call {
            Call::Echo => String::decode(message)? == name,
            Call::GetCustomer => Customer::decode(message)?.name == name,
            Call::ImportCustomers => ImportCustomersResponse::decode(message)?.row > 0,
            Call::EarnPoints => EarnPointsResponse::decode(message)?.points > 0,
            Call::RegisterComplaint => Complaint::decode(message)?.name.starts_with("complaints/"),
        };
        if good { Ok(()) } else { Err("the answer is not what was asked for".into()) }
    }
}

fn get_customer(name: &str) -> GetCustomerRequest {
    GetCustomerRequest { name: name.to_owned(), ..Default::default() }
}

/// What the echo in place of customer-data sends back as it is.
fn import_customers() -> ImportCustomersRequest {
    ImportCustomersRequest { row: 4711, default_region: "CN".to_owned(), ..Default::default() }
}

/// Points for a purchase of its own: no two requests are the same thing told twice.
pub fn earn_points(customer: &str) -> EarnPointsRequest {
    let now = Clock::system().now();
    let purchase = PurchaseBasis {
        amount: Some(Money { currency_code: "CNY".to_owned(), units: 10, nanos: 0 }),
        purchase_time: Some(Timestamp { seconds: now.timestamp(), nanos: 0 }),
    };
    EarnPointsRequest {
        customer: customer.to_owned(),
        basis: Some(Basis::Purchase(purchase)),
        source: format!("purchases/{}", Uuid::now_v7()),
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    }
}

fn register_complaint(customer: &str) -> RegisterComplaintRequest {
    let complaint = Complaint {
        customer: customer.to_owned(),
        channel: Channel::Phone.into(),
        category: Category::ProductQuality.into(),
        severity: Severity::High.into(),
        subject: "The kettle leaks".to_owned(),
        description: "It was bought two weeks ago and leaks at the spout as soon as the water boils."
            .to_owned(),
        ..Default::default()
    };
    RegisterComplaintRequest { complaint: Some(complaint), request_id: Uuid::now_v7().to_string() }
}

fn framed<M: Message>(message: &M) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("a request is small"));
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}
