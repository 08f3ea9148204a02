//! Mails over a real line: what goes out, what is tried again, what is given up.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cqm_proto::notifications::v1::message::State;
use cqm_proto::notifications::v1::{Channel, Contact, FailureReason, SendMessageRequest};
use cqm_testkit::{Answer, SmtpSink};

use crate::desk::*;
use crate::mail::{body, header};

#[tokio::test]
async fn a_mail_goes_out_once_in_the_customers_language() {
    let mut desk = Desk::open().await;
    desk.put(li()).await;
    let message = desk.send_on(Channel::Email, LI).await;
    assert_eq!((message.state(), message.attempts), (State::Queued, 0));
    let mail = desk.sink.wait_for(1).await.remove(0);
    assert_eq!(
        (mail.from.as_str(), mail.to.as_slice()),
        ("care@example.com", &["li.lei@example.com".to_owned()][..])
    );
    assert_eq!(header(&mail, "From"), "\"Customer Care\" <care@example.com>");
    assert_eq!(header(&mail, "To"), "李雷<li.lei@example.com>");
    assert_eq!(header(&mail, "Subject"), "投诉受理通知（编号 C-20260115-0001）");
    let id = message.name.strip_prefix("messages/").unwrap();
    assert_eq!(header(&mail, "Message-ID"), format!("<{id}@example.com>"));
    assert_eq!(header(&mail, "Date"), "Thu, 15 Jan 2026 01:30:00 +0000");
    assert_eq!(header(&mail, "Auto-Submitted"), "auto-generated");
    let text = body(&mail);
    assert!(text.starts_with("尊敬的李雷：\n\n") && text.contains("C-20260115-0001"), "{text}");

    let message = desk.reaches(&message.name, State::Delivered).await;
    assert_eq!((message.locale.as_str(), message.attempts), ("zh-CN", 1));
    assert!(message.finish_time.is_some());
    let way = [
        "ACCEPTED EMAIL",
        "LOCALE_CHOSEN zh-CN",
        "ATTEMPT_STARTED attempt 1",
        "1 ACCEPTED: smtp 250",
        "DELIVERED",
    ];
    assert_eq!(desk.way(&message.name).await, way);
    let row = desk.kit.row("messages", &message.name).await;
    assert_eq!((&row["state"], &row["variables"]), (&"DELIVERED".into(), &serde_json::Value::Null));
    desk.delivered(&message).await;
    assert_eq!(desk.sink.mails().len(), 1);
}

#[tokio::test]
async fn every_template_of_the_suite_is_written_in_both_languages() {
    let mut desk = Desk::open().await;
    desk.put(li()).await;
    desk.put(jane()).await;
    let link = [("link", "https://example.com/s#token"), ("expire_date", "2026-01-29")];
    let reference = [("reference", "C-7")];
    let mut sent = 0;
    for (key, variables, subjects) in [
        ("complaint-acknowledged", &reference[..], ["投诉受理通知", "We have received your complaint"]),
        ("complaint-resolved", &reference[..], ["投诉处理结果通知", "The outcome of your complaint"]),
        ("survey-invitation", &link[..], ["诚邀您参与满意度调查", "How did we do?"]),
    ] {
        for (to, name, subject) in [(LI, "尊敬的李雷：", subjects[0]), (JANE, "Dear Jane Doe,", subjects[1])]
        {
            let message = SendMessageRequest {
                template: format!("templates/{key}"),
                variables: values(variables),
                channels: vec![Channel::Email.into()],
                ..acknowledgement(to)
            };
            let message = desk.send(message).await.remove(0);
            desk.reaches(&message.name, State::Delivered).await;
            desk.delivered(&message).await;
            sent += 1;
            let mail = desk.sink.wait_for(sent).await.remove(sent - 1);
            assert!(header(&mail, "Subject").starts_with(subject), "{}", header(&mail, "Subject"));
            let text = body(&mail);
            assert!(text.starts_with(name) && text.ends_with('\n') && !text.contains("{{"), "{text}");
            for (_, value) in variables {
                assert!(text.contains(value), "{value} in {text}");
            }
        }
    }
}

#[tokio::test]
async fn a_mail_that_is_put_off_is_tried_again_later_and_delivered_once() {
    let mut desk = Desk::open().await;
    desk.sink.script([Answer::TryLater]);
    desk.put(jane()).await;
    let message = desk.send_on(Channel::Email, JANE).await;
    until("a retry is planned", async || {
        desk.way(&message.name).await.contains(&"RETRY".to_owned()).then_some(())
    })
    .await;
    assert!(desk.sink.mails().is_empty());
    let retry = desk.steps(&message.name).await.pop().unwrap();
    // 30 s ± 20 %.
    let wait = retry.next_attempt_time.unwrap().seconds - retry.time.unwrap().seconds;
    assert!((24..=36).contains(&wait), "{wait}");
    desk.kit.clock.advance(std::time::Duration::from_secs(37));
    let message = desk.reaches(&message.name, State::Delivered).await;
    assert_eq!(message.attempts, 2);
    let way = [
        "ACCEPTED EMAIL",
        "LOCALE_CHOSEN en",
        "ATTEMPT_STARTED attempt 1",
        "1 TRANSIENT_FAILURE: smtp 451",
        "RETRY",
        "ATTEMPT_STARTED attempt 2",
        "2 ACCEPTED: smtp 250",
        "DELIVERED",
    ];
    assert_eq!(desk.way(&message.name).await, way);
    assert_eq!(desk.sink.mails().len(), 1);
    desk.delivered(&message).await;
}

#[tokio::test]
async fn a_refused_mail_is_given_up_at_once() {
    let mut desk = Desk::open().await;
    desk.sink.script([Answer::Refuse]);
    desk.put(jane()).await;
    let message = desk.send_on(Channel::Email, JANE).await;
    let message = desk.reaches(&message.name, State::Failed).await;
    assert_eq!((message.failure_reason(), message.attempts), (FailureReason::Rejected, 1));
    let way = desk.way(&message.name).await;
    assert_eq!(way[3..], ["1 PERMANENT_FAILURE: smtp 550", "GIVE_UP REJECTED"]);
    assert_eq!(desk.kit.row("messages", &message.name).await["variables"], serde_json::Value::Null);
    desk.failed(&message, FailureReason::Rejected).await;
}

#[tokio::test]
async fn attempts_have_an_end() {
    let mut desk = Desk::open().await;
    desk.sink.script([Answer::TryLater; 3]);
    desk.put(jane()).await;
    let message = desk.send_on(Channel::Email, JANE).await;
    for attempt in 1..=2 {
        let told = format!("{attempt} TRANSIENT_FAILURE: smtp 451");
        until(&told, async || desk.way(&message.name).await.contains(&told).then_some(())).await;
        desk.kit.clock.advance(std::time::Duration::from_secs(300));
    }
    let message = desk.reaches(&message.name, State::Failed).await;
    assert_eq!((message.failure_reason(), message.attempts), (FailureReason::AttemptsExhausted, 3));
    desk.failed(&message, FailureReason::AttemptsExhausted).await;
    assert!(desk.sink.mails().is_empty());
}

#[tokio::test]
async fn a_mail_whose_outcome_is_unknown_is_repeated_under_the_same_message_id() {
    let mut desk = Desk::open().await;
    desk.sink.script([Answer::AcceptAndHangUp]);
    desk.put(jane()).await;
    let message = desk.send_on(Channel::Email, JANE).await;
    let told = "1 TRANSIENT_FAILURE: no answer, or none that is understood";
    until(told, async || desk.way(&message.name).await.iter().any(|step| step == told).then_some(())).await;
    desk.kit.clock.advance(std::time::Duration::from_secs(37));
    let message = desk.reaches(&message.name, State::Delivered).await;
    let mails = desk.sink.wait_for(2).await;
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].header("Message-ID"), mails[1].header("Message-ID"));
    assert_eq!(body(&mails[0]), body(&mails[1]));
    desk.delivered(&message).await;
}

#[tokio::test]
async fn what_a_killed_process_had_in_hand_is_sent_when_its_lease_runs_out() {
    let mut desk = Desk::open().await;
    let message = desk.send_on(Channel::Email, JANE).await;
    let id = message.name.strip_prefix("messages/").unwrap();
    // As a process leaves it that dies between the attempt's row and its outcome.
    let due = desk.kit.clock.now() + LEASE;
    desk.kit
        .execute(&format!(
        "UPDATE messages SET state = 'SENDING', in_flight = true, attempts = 1, version = 2, locale = 'en',
         due_time = '{due}' WHERE id = '{id}'"
    ))
        .await;
    desk.put(jane()).await;
    assert_eq!(desk.get(&message.name).await.state(), State::Sending);
    desk.kit.clock.advance(LEASE);
    let message = desk.reaches(&message.name, State::Delivered).await;
    assert_eq!(message.attempts, 2);
    let way = desk.way(&message.name).await;
    let lost = "1 TRANSIENT_FAILURE: the sender ended before it told the outcome";
    assert_eq!(way[2..], [lost, "ATTEMPT_STARTED attempt 2", "2 ACCEPTED: smtp 250", "DELIVERED"]);
    assert_eq!(desk.sink.wait_for(1).await.len(), 1);
    desk.delivered(&message).await;
}

#[tokio::test]
async fn values_from_outside_become_no_header() {
    let mut desk = Desk::open().await;
    desk.put(Contact { display_name: "\"Jane\" <x@example.com>, Doe".to_owned(), ..jane() }).await;
    let message = SendMessageRequest {
        variables: values(&[("reference", "C-1\r\nBcc: victim@example.com\r\n\r\nBuy now")]),
        channels: vec![Channel::Email.into()],
        ..acknowledgement(JANE)
    };
    let message = desk.send(message).await.remove(0);
    desk.reaches(&message.name, State::Delivered).await;
    let mail = desk.sink.wait_for(1).await.remove(0);
    assert_eq!(mail.to, ["jane.doe@example.com"]);
    assert_eq!(mail.header("Bcc"), None);
    let subject = header(&mail, "Subject");
    assert!(subject.contains("C-1 Bcc: victim@example.com  Buy now"), "{subject}");
    desk.delivered(&message).await;
}

#[tokio::test]
async fn a_server_that_asks_for_credentials_gets_them() {
    let sink = SmtpSink::start_with_auth(STANDARD.encode("\0cqm\0hunter2")).await;
    let mut desk = Desk::open_with(sink, |config| {
        let smtp = config.smtp.as_mut().unwrap();
        smtp.username = Some("cqm".to_owned());
        smtp.password = Some("hunter2".to_owned().into());
    })
    .await;
    desk.put(jane()).await;
    let message = desk.send_on(Channel::Email, JANE).await;
    desk.reaches(&message.name, State::Delivered).await;
    assert_eq!(desk.sink.mails().len(), 1);
    desk.delivered(&message).await;
}

#[tokio::test]
async fn wrong_credentials_cost_no_message() {
    for (credentials, told) in
        [(Some("wrong"), "1 TRANSIENT_FAILURE: smtp 535"), (None, "1 TRANSIENT_FAILURE: smtp 530")]
    {
        let sink = SmtpSink::start_with_auth(STANDARD.encode("\0cqm\0hunter2")).await;
        let mut desk = Desk::open_with(sink, |config| {
            let smtp = config.smtp.as_mut().unwrap();
            smtp.username = credentials.map(|_| "cqm".to_owned());
            smtp.password = credentials.map(|password| password.to_owned().into());
        })
        .await;
        desk.put(jane()).await;
        let message = desk.send_on(Channel::Email, JANE).await;
        let way = until("the first attempt ends", async || {
            Some(desk.way(&message.name).await).filter(|way| way.len() >= 5)
        })
        .await;
        assert_eq!(way[3..], [told, "RETRY"]);
        assert!(desk.sink.mails().is_empty());
    }
}

#[tokio::test]
async fn a_mail_server_that_is_away_delays_mails_and_nothing_else() {
    let mut desk = Desk::open_with(SmtpSink::start().await, |config| {
        // Nobody listens there.
        config.smtp.as_mut().unwrap().port = Some(1);
    })
    .await;
    desk.put(jane()).await;
    let messages = desk.send(acknowledgement(JANE)).await;
    desk.reaches(&messages[1].name, State::Delivered).await;
    desk.delivered(&messages[1]).await;
    let told = "1 TRANSIENT_FAILURE: connection";
    until(told, async || desk.way(&messages[0].name).await.iter().any(|step| step == told).then_some(()))
        .await;
}
