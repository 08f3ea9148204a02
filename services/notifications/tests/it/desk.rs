//! A served notifications service and the people who work with it.

use std::collections::BTreeMap;
use std::time::Duration;

use cqm_db::log::LoggedEvent;
use cqm_notifications::{App, Config, RetryConfig, SmtpConfig, TlsMode};
use cqm_proto::events::v1 as events;
use cqm_proto::notifications::v1::contact_service_client::ContactServiceClient;
use cqm_proto::notifications::v1::inbox_service_client::InboxServiceClient;
use cqm_proto::notifications::v1::message_service_client::MessageServiceClient;
use cqm_proto::notifications::v1::template_service_client::TemplateServiceClient;
use cqm_proto::notifications::v1::*;
use cqm_testkit::{Kit, Line, SmtpSink};
pub use cqm_testkit::{coordinator, manager, refused, representative, request_id, until, violations};
use prost::Name;

/// Li Lei reads Chinese, Jane Doe English.
pub const LI: &str = "customers/01890a5d-ac96-774b-bcce-b302099a8058";
pub const JANE: &str = "customers/01890a5d-ac96-774b-bcce-b302099a8059";
/// Well formed, and nobody's.
pub const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
pub const COMPLAINT: &str = "complaints/01890a5d-ac96-774b-bcce-b302099a8001";
pub const LEASE: Duration = Duration::from_secs(60);
pub const PATIENCE: Duration = Duration::from_secs(3600);

pub struct Desk {
    pub kit: Kit,
    pub sink: SmtpSink,
    pub templates: TemplateServiceClient<Line>,
    pub contacts: ContactServiceClient<Line>,
    pub messages: MessageServiceClient<Line>,
    pub inbox: InboxServiceClient<Line>,
}

impl Desk {
    pub async fn open() -> Self {
        Self::open_with(SmtpSink::start().await, |_| ()).await
    }

    pub async fn open_with(sink: SmtpSink, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(&sink);
        change(&mut config);
        let kit = Kit::start::<App>(config).await;
        let line = || kit.channel.clone();
        Self {
            templates: TemplateServiceClient::new(line()),
            contacts: ContactServiceClient::new(line()),
            messages: MessageServiceClient::new(line()),
            inbox: InboxServiceClient::new(line()),
            sink,
            kit,
        }
    }

    pub async fn put(&mut self, contact: Contact) -> Contact {
        let message = PutContactRequest { contact: Some(contact) };
        self.contacts.put_contact(coordinator(message)).await.unwrap().into_inner()
    }

    pub async fn send(&mut self, message: SendMessageRequest) -> Vec<Message> {
        self.messages.send_message(coordinator(message)).await.unwrap().into_inner().messages
    }

    /// Sends on one channel and returns the message.
    pub async fn send_on(&mut self, channel: Channel, to: &str) -> Message {
        let message = SendMessageRequest { channels: vec![channel.into()], ..acknowledgement(to) };
        let mut messages = self.send(message).await;
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }

    pub async fn get(&self, name: &str) -> Message {
        let message = GetMessageRequest { name: name.to_owned() };
        self.messages.clone().get_message(representative(message)).await.unwrap().into_inner()
    }

    /// The message once it is in this state.
    pub async fn reaches(&self, name: &str, state: message::State) -> Message {
        let wanted = format!("{name} reaches {}", state.as_str_name());
        until(&wanted, async || Some(self.get(name).await).filter(|message| message.state() == state)).await
    }

    /// The steps of a message's way, a word and a detail each.
    pub async fn way(&self, name: &str) -> Vec<String> {
        let steps = self.steps(name).await;
        let word = |step: &DeliveryStep| match step.kind() {
            delivery_step::Kind::Attempt => {
                let outcome = step.outcome().as_str_name().trim_start_matches("OUTCOME_");
                format!("{} {outcome}: {}", step.attempt, step.detail)
            }
            _ => format!("{} {}", step.decision, step.detail).trim().to_owned(),
        };
        steps.iter().map(word).collect()
    }

    pub async fn steps(&self, name: &str) -> Vec<DeliveryStep> {
        let message = ExplainDeliveryRequest { name: name.to_owned() };
        self.messages.clone().explain_delivery(representative(message)).await.unwrap().into_inner().steps
    }

    pub async fn items(&self, customer: &str) -> Vec<InboxItem> {
        let message = ListInboxItemsRequest { customer: customer.to_owned(), ..Default::default() };
        self.inbox.clone().list_inbox_items(representative(message)).await.unwrap().into_inner().inbox_items
    }

    /// The next `count` events; more or fewer fail.
    pub async fn events(&mut self, count: usize) -> Vec<LoggedEvent> {
        let mut events = Vec::new();
        until(&format!("{count} events"), async || {
            events.extend(self.kit.events.next().await);
            (events.len() >= count).then_some(())
        })
        .await;
        assert_eq!(events.len(), count);
        events
    }

    /// The one event that tells of this message's delivery.
    pub async fn delivered(&mut self, message: &Message) {
        let told: events::MessageDelivered = self.told(message).await;
        assert_eq!((told.message.as_str(), told.recipient.as_str()), (&*message.name, &*message.recipient));
        assert_eq!((told.template.as_str(), told.about.as_str()), (&*message.template, &*message.about));
        assert_eq!(format!("CHANNEL_{}", told.channel), message.channel().as_str_name());
    }

    /// The one event that tells that this message was given up.
    pub async fn failed(&mut self, message: &Message, reason: FailureReason) {
        let told: events::MessageFailed = self.told(message).await;
        assert_eq!((told.message.as_str(), told.recipient.as_str()), (&*message.name, &*message.recipient));
        assert_eq!((told.template.as_str(), told.about.as_str()), (&*message.template, &*message.about));
        assert_eq!(format!("CHANNEL_{}", told.channel), message.channel().as_str_name());
        assert_eq!(format!("FAILURE_REASON_{}", told.failure_reason), reason.as_str_name());
    }

    async fn told<P: prost::Message + Name + Default>(&mut self, message: &Message) -> P {
        let event = self.events(1).await.remove(0);
        assert_eq!((event.event_type.as_str(), event.aggregate.as_str()), (&*P::full_name(), &*message.name));
        assert_eq!(format!("v{}", event.aggregate_version), self.get(&message.name).await.etag);
        P::decode(event.payload.as_slice()).unwrap()
    }
}

/// Delivers fast and to the sink; the clock stands still, so waiting is moving it.
pub fn config(sink: &SmtpSink) -> Config {
    Config {
        smtp: Some(smtp(sink)),
        mailbox: None,
        poll: Duration::from_millis(20),
        concurrency: 4,
        lease: LEASE,
        contact_patience: PATIENCE,
        retry: RetryConfig { attempts: 3, first: Duration::from_secs(30), longest: Duration::from_secs(300) },
        wake: Default::default(),
    }
}

pub fn smtp(sink: &SmtpSink) -> SmtpConfig {
    SmtpConfig {
        host: "127.0.0.1".to_owned(),
        port: Some(sink.port),
        tls: TlsMode::None,
        ca_certificates: None,
        username: None,
        password: None,
        from: "Customer Care <care@example.com>".to_owned(),
        timeout: Duration::from_secs(10),
    }
}

pub fn li() -> Contact {
    Contact {
        customer: LI.to_owned(),
        customer_version: 1,
        display_name: "李雷".to_owned(),
        email: "li.lei@example.com".to_owned(),
        phone: "+8613800138000".to_owned(),
        locale: "zh-CN".to_owned(),
        ..Default::default()
    }
}

pub fn jane() -> Contact {
    Contact {
        customer: JANE.to_owned(),
        display_name: "Jane Doe".to_owned(),
        email: "jane.doe@example.com".to_owned(),
        locale: "en-GB".to_owned(),
        ..li()
    }
}

pub fn deleted(contact: Contact) -> Contact {
    Contact {
        customer: contact.customer,
        customer_version: contact.customer_version + 1,
        deleted: true,
        ..Default::default()
    }
}

/// On both channels, as the template says.
pub fn acknowledgement(to: &str) -> SendMessageRequest {
    SendMessageRequest {
        recipient: to.to_owned(),
        template: "templates/complaint-acknowledged".to_owned(),
        variables: values(&[("reference", "C-20260115-0001")]),
        about: COMPLAINT.to_owned(),
        ..Default::default()
    }
}

pub fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The bytes of an answer.
pub fn bytes(answer: &impl prost::Message) -> Vec<u8> {
    answer.encode_to_vec()
}
