//! One customer's closed loop, from the complaint to the points.

mod customer;
mod promise;
mod staff;

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use cqm_proto::complaints::v1::complaint::State;
use cqm_proto::complaints::v1::{Category, Severity};
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::{CreateCustomerRequest, Customer, Email, Phone, SourceChannel};
use cqm_proto::loyalty::v1::entry::Reason;
use uuid::Uuid;

use super::{LOOK_EVERY, PATIENCE, again};
use crate::connect::{Client, Target};
use customer::Mood;
pub use promise::promise;

/// A customer whose story has been told.
pub struct Told {
    pub customer: String,
    pub address: String,
}

/// A complaint is resolved badly, the customer says so, it opens again and is put right.
pub async fn dissatisfied(target: &Target) -> Result<Told> {
    let story = Story::begin(target, "王芳", "wang.fang", "zh-CN", "13800138000").await?;
    let complaint = story
        .register(
            "CD 光盘播放时跳音",
            "第三首歌无法正常播放，已经换过播放机。",
            Category::ProductQuality,
            Severity::High,
        )
        .await?;
    story.mail(&complaint, 1, "the acknowledgement").await?;
    let complaint = story.handle(&complaint, "压片批次有气泡", "production").await?;
    let complaint = story.resolve(&complaint, "寄出一张新光盘。", 0).await?;
    story.mail(&complaint, 2, "the outcome").await?;
    let token = story.invitation(1).await?;
    story.answer(&token, Mood::Dissatisfied).await?;
    story.points(Reason::SurveyAnswered, 1).await?;
    let complaint = story.state(&complaint, State::Investigating).await?;
    story.say(&format!(
        "the bad answer has opened the complaint again (reopened {} time)",
        complaint.reopen_count
    ));
    ensure!(complaint.reopen_count == 1, "it is reopened once, whatever was delivered twice");

    let complaint = story.resolve(&complaint, "换货并退还运费，补偿 500 积分。", 500).await?;
    story.points(Reason::Compensation, 1).await?;
    story.say("500 points of compensation are in the account");
    let token = story.invitation(2).await?;
    story.answer(&token, Mood::Satisfied).await?;
    story.points(Reason::SurveyAnswered, 2).await?;
    story.close(&complaint).await?;
    Ok(story.told())
}

/// A complaint is resolved to the customer's satisfaction at once.
pub async fn satisfied(target: &Target) -> Result<Told> {
    let story = Story::begin(target, "Emma Clark", "emma.clark", "en", "+44 20 7946 0958").await?;
    let complaint = story
        .register(
            "Parcel arrived a week late",
            "It was promised for Monday.",
            Category::Logistics,
            Severity::Low,
        )
        .await?;
    story.mail(&complaint, 1, "the acknowledgement").await?;
    let complaint = story.handle(&complaint, "The carrier's depot was closed.", "logistics").await?;
    let complaint = story.resolve(&complaint, "Shipping refunded.", 100).await?;
    story.mail(&complaint, 2, "the outcome").await?;
    let token = story.invitation(1).await?;
    story.answer(&token, Mood::Satisfied).await?;
    story.points(Reason::SurveyAnswered, 1).await?;
    story.points(Reason::Compensation, 1).await?;
    story.close(&complaint).await?;
    Ok(story.told())
}

struct Story {
    client: Client,
    /// What the customer has: a link, and no account.
    stranger: tonic::transport::Channel,
    customer: Customer,
    address: String,
}

impl Story {
    async fn begin(target: &Target, name: &str, mailbox: &str, locale: &str, phone: &str) -> Result<Self> {
        let client = target.client()?;
        let request_id = Uuid::now_v7();
        // Every run of the demo tells of somebody new, whose address is nobody's.
        let address = format!("{mailbox}.{}@example.com", &request_id.simple().to_string()[20..]);
        let request = CreateCustomerRequest {
            customer: Some(Customer {
                display_name: name.to_owned(),
                emails: vec![Email { address: address.clone(), primary: true }],
                phones: vec![Phone { number: phone.to_owned(), primary: true, ..Phone::default() }],
                locale: locale.to_owned(),
                source_channel: SourceChannel::OnlineRegistration.into(),
                ..Customer::default()
            }),
            default_region: String::new(),
            request_id: request_id.to_string(),
        };
        let service = CustomerServiceClient::new(client.clone());
        let customer = again(|| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.create_customer(request).await }
        })
        .await?;
        let story = Self { client, stranger: target.anonymous(), customer, address };
        story.say(&format!("a new customer, {}", story.customer.name));
        Ok(story)
    }

    fn told(self) -> Told {
        Told { customer: self.customer.name, address: self.address }
    }

    fn say(&self, text: &str) {
        println!("   {text}");
    }

    async fn wait_for<T>(&self, what: &str, look: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
        let started = Instant::now();
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if started.elapsed() > PATIENCE {
                bail!("{what} has not come within {PATIENCE:?}: is the coordinator running?");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn fresh() -> String {
    Uuid::now_v7().to_string()
}
