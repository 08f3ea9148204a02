//! Several processes deliver from one database.

use std::collections::BTreeSet;

use cqm_notifications::App;
use cqm_proto::notifications::v1::message::State;
use cqm_proto::notifications::v1::{Channel, SendMessageRequest};
use cqm_runtime::process;
use cqm_testkit::{SmtpSink, settings};
use tokio_util::sync::CancellationToken;

use crate::desk::*;

#[tokio::test]
async fn every_mail_goes_out_once_however_many_deliver() {
    let mut desk = Desk::open().await;
    let stop = CancellationToken::new();
    let mut others = Vec::new();
    for _ in 0..2 {
        let settings = settings::<App>(desk.kit.database(), config(&desk.sink));
        let mut running =
            process::start::<App>(settings, desk.kit.clock.clone(), stop.clone()).await.unwrap();
        running.ready().await;
        others.push(running);
    }
    let mut names = Vec::new();
    for _ in 0..15 {
        let call = SendMessageRequest {
            channels: vec![Channel::Email.into(), Channel::InApp.into()],
            ..acknowledgement(JANE)
        };
        names.extend(desk.send(call).await.into_iter().map(|message| message.name));
    }
    desk.put(jane()).await;
    for name in &names {
        let message = desk.reaches(name, State::Delivered).await;
        assert_eq!(message.attempts, 1);
    }
    let mails = desk.sink.mails();
    let ids: BTreeSet<_> = mails.iter().map(|mail| mail.header("Message-ID").unwrap()).collect();
    assert_eq!((mails.len(), ids.len(), desk.items(JANE).await.len()), (15, 15, 15));
    let told: BTreeSet<_> = desk.events(30).await.into_iter().map(|event| event.aggregate).collect();
    assert_eq!(told, names.into_iter().collect());
    stop.cancel();
    for running in others {
        running.join().await;
    }
}

#[tokio::test]
async fn a_process_that_stops_tells_the_outcome_of_what_it_has_in_hand() {
    let mut desk = Desk::open_with(SmtpSink::start().await, |_| ()).await;
    desk.put(jane()).await;
    let mut names = Vec::new();
    for _ in 0..10 {
        names.push(desk.send_on(Channel::Email, JANE).await.name);
    }
    desk.kit.stop().await;
    let sent = desk.sink.mails().len();
    let delivered =
        desk.kit.rows("SELECT count(*)::text AS row FROM messages WHERE state = 'DELIVERED'").await;
    assert_eq!(delivered[0].as_u64().unwrap(), sent as u64);
    let flying = desk.kit.rows("SELECT count(*)::text AS row FROM messages WHERE in_flight").await;
    assert_eq!(flying[0], 0);
    desk.events(sent).await;
    assert_eq!(names.len(), 10);
}
