//! The folder of mails.

use cqm_proto::notifications::v1::Channel;
use cqm_proto::notifications::v1::message::State;
use cqm_testkit::SmtpSink;
use tempfile::TempDir;

use crate::desk::*;

async fn with_folder() -> (Desk, TempDir) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("mails");
    let desk = Desk::open_with(SmtpSink::start().await, |config| {
        config.smtp = None;
        config.mailbox = Some(path);
    })
    .await;
    (desk, folder)
}

fn mails(folder: &TempDir) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder.path().join("mails")).unwrap().map(Result::unwrap);
    let mut mails: Vec<_> = entries
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    mails.sort();
    mails
}

#[tokio::test]
async fn a_person_finds_and_reads_the_mail() {
    let (mut desk, folder) = with_folder().await;
    desk.put(li()).await;
    let message = desk.send_on(Channel::Email, LI).await;
    desk.reaches(&message.name, State::Delivered).await;
    desk.delivered(&message).await;
    assert_eq!(desk.way(&message.name).await[3], "1 ACCEPTED: mailbox");
    let (name, text) = mails(&folder).remove(0);
    let id = message.name.strip_prefix("messages/").unwrap();
    assert_eq!(name, format!("20260115-013000_complaint-acknowledged_zh-CN_{id}.eml"));
    assert!(text.contains(&format!("Message-ID: <{id}@localhost>\r\n")), "{text}");
    assert!(text.contains("\r\n\r\n尊敬的李雷：\r\n"), "{text}");
}

#[tokio::test]
async fn a_repeated_mail_takes_the_place_of_the_first() {
    let (mut desk, folder) = with_folder().await;
    desk.put(jane()).await;
    let message = desk.send_on(Channel::Email, JANE).await;
    let message = desk.reaches(&message.name, State::Delivered).await;
    desk.delivered(&message).await;
    let before = mails(&folder);
    // As a process leaves it that dies after the mail and before its outcome was written down.
    let id = message.name.strip_prefix("messages/").unwrap();
    let now = desk.kit.clock.now();
    desk.kit
        .execute(&format!(
            "UPDATE messages SET state = 'SENDING', in_flight = true, finish_time = NULL, due_time = '{now}',
         variables = '{{\"reference\": \"C-20260115-0001\"}}' WHERE id = '{id}'"
        ))
        .await;
    let message = desk.reaches(&message.name, State::Delivered).await;
    assert_eq!(message.attempts, 2);
    desk.delivered(&message).await;
    assert_eq!(mails(&folder), before);
}
