//! What happens to mails while the database is away.

use std::time::Duration;

use cqm_notifications::App;
use cqm_proto::notifications::v1::Channel;
use cqm_proto::notifications::v1::contact_service_client::ContactServiceClient;
use cqm_proto::notifications::v1::message_service_client::MessageServiceClient;
use cqm_runtime::process::{self, Running};
use cqm_testkit::{Door, SmtpSink, settings};
use tokio_util::sync::CancellationToken;

use crate::desk::*;

/// A desk whose service has its database behind one door and its mail server behind another.
struct Shut {
    desk: Desk,
    postgres: Door,
    smtp: Door,
    running: Running,
    stop: CancellationToken,
}

impl Shut {
    async fn open() -> Self {
        let mut desk = Desk::open().await;
        desk.kit.stop().await;
        let (postgres, smtp) = (Door::to_postgres().await, door_to(&desk.sink).await);
        let mut config = config(&desk.sink);
        config.smtp.as_mut().unwrap().port = Some(smtp.address().port());
        let settings = settings::<App>(&desk.kit.database().behind(&postgres), config);
        let stop = CancellationToken::new();
        let mut running =
            process::start::<App>(settings, desk.kit.clock.clone(), stop.clone()).await.unwrap();
        running.ready().await;
        let line = desk.kit.line(running.address()).await;
        desk.contacts = ContactServiceClient::new(line.clone());
        desk.messages = MessageServiceClient::new(line);
        Self { desk, postgres, smtp, running, stop }
    }

    /// The message's row once it is as it should be; asked of the database itself, not through the door.
    async fn row(&self, name: &str, column: &str, value: serde_json::Value) -> serde_json::Value {
        until(&format!("{column} is {value}"), async || {
            Some(self.desk.kit.row("messages", name).await).filter(|row| row[column] == value)
        })
        .await
    }
}

async fn door_to(sink: &SmtpSink) -> Door {
    Door::to_server(([127, 0, 0, 1], sink.port).into()).await
}

#[tokio::test]
async fn a_mail_that_was_taken_during_an_outage_longer_than_its_lease_is_not_sent_again() {
    let mut shut = Shut::open().await;
    shut.desk.put(jane()).await;
    shut.smtp.freeze();
    let message = shut.desk.send_on(Channel::Email, JANE).await;
    shut.row(&message.name, "in_flight", true.into()).await;

    shut.postgres.close();
    // The delivery has found out by now, too.
    shut.postgres.wait_for(4).await;
    shut.smtp.reopen();
    shut.desk.sink.wait_for(1).await;
    shut.desk.kit.clock.advance(LEASE + Duration::from_secs(1));
    shut.postgres.reopen();

    let row = shut.row(&message.name, "state", "DELIVERED".into()).await;
    assert_eq!(row["attempts"], 1);
    let told = shut.desk.events(1).await.remove(0);
    assert_eq!(told.aggregate, message.name);
    shut.stop.cancel();
    shut.running.join().await;
    assert_eq!(shut.desk.sink.mails().len(), 1);
}
