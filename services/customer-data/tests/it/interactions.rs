use std::time::Duration;

use cqm_proto::customers::v1::*;
use cqm_proto::events::v1 as events;
use serde_json::json;

use crate::desk::*;

#[tokio::test]
async fn a_contact_is_recorded_and_told_without_its_words() {
    let mut desk = Desk::open().await;
    let customer = desk.created(named("Li Lei")).await.name;
    let subject = "complaints/01890a5d-ac96-774b-bcce-b302099a8057";
    let mut message = contact(&customer, " said\r\nthis ");
    let interaction = message.interaction.as_mut().unwrap();
    interaction.kind = interaction::Kind::Complaint.into();
    interaction.channel = interaction::Channel::OnSite.into();
    interaction.occur_time = seconds(NOW_SECONDS - 3600);
    interaction.subject = subject.into();
    interaction.name = "ignored".into();
    let recorded = answer(desk.interactions.record_interaction(specialist(message)).await).unwrap();
    let expected = Interaction {
        name: recorded.name.clone(),
        kind: interaction::Kind::Complaint.into(),
        channel: interaction::Channel::OnSite.into(),
        occur_time: seconds(NOW_SECONDS - 3600),
        summary: "said\nthis".into(),
        subject: subject.into(),
        create_time: seconds(NOW_SECONDS),
    };
    assert_eq!(recorded, expected);
    assert!(recorded.name.starts_with(&format!("{customer}/interactions/")));

    let (event, payload) = desk.kit.events.only::<events::InteractionRecorded>().await;
    let told = events::InteractionRecorded {
        customer: customer.clone(),
        interaction: recorded.name.clone(),
        kind: "COMPLAINT".into(),
        subject: subject.into(),
    };
    assert_eq!((payload, event.aggregate, event.aggregate_version), (told, recorded.name, 1));
    let row = desk.kit.table("interactions").await.remove(0);
    assert_eq!((&row["kind"], &row["channel"]), (&json!("COMPLAINT"), &json!("ON_SITE")));
}

#[tokio::test]
async fn contacts_are_listed_latest_first_page_by_page() {
    let mut desk = Desk::open().await;
    let customer = desk.created(named("Li Lei")).await.name;
    let other = desk.created(named("Han Meimei")).await.name;
    answer(desk.interactions.record_interaction(specialist(contact(&other, "another's"))).await).unwrap();
    // Recorded out of order, two of them at one moment, one without a time of its own.
    for (summary, occur_time) in [("3", -60), ("1", -3600), ("2b", -120), ("2a", -120)] {
        let mut message = contact(&customer, summary);
        message.interaction.as_mut().unwrap().occur_time = seconds(NOW_SECONDS + occur_time);
        answer(desk.interactions.record_interaction(specialist(message)).await).unwrap();
    }
    desk.kit.clock.advance(Duration::from_secs(1));
    let last =
        answer(desk.interactions.record_interaction(specialist(contact(&customer, "4"))).await).unwrap();
    assert_eq!(last.occur_time, seconds(NOW_SECONDS + 1));

    let mut found = Vec::new();
    let mut message =
        ListInteractionsRequest { customer: customer.clone(), page_size: 2, ..Default::default() };
    loop {
        let page = answer(desk.interactions.list_interactions(specialist(message.clone())).await).unwrap();
        assert!(page.interactions.len() <= 2);
        found.extend(page.interactions.into_iter().map(|interaction| interaction.summary));
        if page.next_page_token.is_empty() {
            break;
        }
        message.page_token = page.next_page_token;
    }
    assert_eq!(found, ["4", "3", "2a", "2b", "1"], "of two at one moment the later id comes first");
    assert_eq!(desk.events().await.len(), 6);
}
