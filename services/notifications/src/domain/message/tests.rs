use std::time::Duration;

use super::super::delivery::Event;
use super::super::template::Content;
use super::*;

const POLICY: Policy = Policy {
    patience: Duration::from_secs(3600),
    lease: Duration::from_secs(60),
    attempts: 3,
    first: Duration::from_secs(10),
    longest: Duration::from_secs(100),
};

fn start() -> DateTime<Utc> {
    "2026-01-15T01:30:00Z".parse().unwrap()
}

fn after(seconds: u64) -> DateTime<Utc> {
    start() + Duration::from_secs(seconds)
}

fn contents() -> Contents {
    let content = |greeting: &str| Content {
        subject: format!("{greeting} {{{{ reference }}}}"),
        body: format!("{greeting} {{{{ customer_name }}}}"),
    };
    Contents::from([("zh-CN".to_owned(), content("您好")), ("en".to_owned(), content("Hello"))])
}

fn contact(email: Option<&str>) -> Contact {
    Contact {
        customer_id: Uuid::nil(),
        customer_version: 1,
        deleted: false,
        display_name: Personal::new("Li".to_owned()),
        email: email.map(|email| Personal::new(email.to_owned())),
        phone: None,
        locale: "en-GB".to_owned(),
        update_time: start(),
    }
}

fn deleted() -> Contact {
    Contact { deleted: true, ..contact(None) }
}

fn accepted(channel: Channel, contact_known: bool) -> (Message, Vec<Step>) {
    let order = Order {
        customer_id: Uuid::nil(),
        template: TemplateKey::find("t").unwrap(),
        template_version: 1,
        variables: Variables::from([("reference".to_owned(), Personal::new("C-1".to_owned()))]),
        about: String::new(),
        trace: TraceContext::fresh(false),
    };
    Message::accept(Uuid::now_v7(), &order, channel, contact_known, &POLICY, start())
}

/// A mail whose first attempt is in flight.
fn in_flight() -> Message {
    let (mut message, _) = accepted(Channel::Email, true);
    message.work(Some(&contact(Some("li@example.com"))), &contents(), &POLICY, start());
    assert!(message.in_flight);
    message
}

fn words(steps: &[Step]) -> Vec<String> {
    let word = |step: &Step| match step.event {
        Event::Decided(decision) => format!("{} {}", decision.name(), step.detail).trim().to_owned(),
        Event::Attempted(attempt, outcome) => format!("{attempt} {}", outcome.name()),
    };
    steps.iter().map(word).collect()
}

#[test]
fn an_accepted_message_is_due_now_or_waits_for_the_contact() {
    let (message, steps) = accepted(Channel::InApp, true);
    assert_eq!((message.state, message.due_time, message.version), (State::Queued, Some(start()), 1));
    assert_eq!(words(&steps), ["ACCEPTED IN_APP"]);
    let (message, steps) = accepted(Channel::Email, false);
    assert_eq!((message.state, message.due_time), (State::WaitingForContact, Some(after(3600))));
    assert_eq!(words(&steps), ["ACCEPTED EMAIL", "WAIT_FOR_CONTACT"]);
    assert_eq!(steps[1].next_attempt_time, Some(after(3600)));
}

#[test]
fn a_contact_that_arrives_makes_a_waiting_message_due_and_no_other() {
    let (mut message, _) = accepted(Channel::Email, false);
    assert_eq!(words(&message.contact_found(after(5))), ["CONTACT_FOUND"]);
    assert_eq!((message.state, message.due_time, message.version), (State::Queued, Some(after(5)), 2));
    assert!(message.contact_found(after(6)).is_empty());
    assert_eq!(message.version, 2);
}

#[test]
fn a_due_message_is_worked_on_by_what_is_known() {
    type Case =
        (&'static str, Channel, Option<Contact>, u64, State, Option<FailureReason>, &'static [&'static str]);
    let with_email = contact(Some("li@example.com"));
    let cases: [Case; 7] = [
        ("unknown, early", Channel::Email, None, 10, State::WaitingForContact, None, &["WAIT_FOR_CONTACT"]),
        (
            "unknown, late",
            Channel::Email,
            None,
            3600,
            State::Failed,
            Some(FailureReason::ContactUnknown),
            &["GIVE_UP CONTACT_UNKNOWN"],
        ),
        (
            "deleted",
            Channel::InApp,
            Some(deleted()),
            0,
            State::Failed,
            Some(FailureReason::ContactDeleted),
            &["GIVE_UP CONTACT_DELETED"],
        ),
        (
            "no address",
            Channel::Email,
            Some(contact(None)),
            0,
            State::Failed,
            Some(FailureReason::AddressMissing),
            &["CHANNEL_SKIPPED no e-mail address", "GIVE_UP ADDRESS_MISSING"],
        ),
        (
            "inbox",
            Channel::InApp,
            Some(contact(None)),
            0,
            State::Delivered,
            None,
            &["LOCALE_CHOSEN en", "1 ACCEPTED", "DELIVERED"],
        ),
        (
            "mail",
            Channel::Email,
            Some(with_email.clone()),
            0,
            State::Sending,
            None,
            &["LOCALE_CHOSEN en", "ATTEMPT_STARTED attempt 1"],
        ),
        (
            "mail, late",
            Channel::Email,
            Some(with_email),
            9999,
            State::Sending,
            None,
            &["LOCALE_CHOSEN en", "ATTEMPT_STARTED attempt 1"],
        ),
    ];
    for (case, channel, contact, seconds, state, failure, expected) in cases {
        let (mut message, _) = accepted(channel, true);
        let (steps, todo) = message.work(contact.as_ref(), &contents(), &POLICY, after(seconds));
        assert_eq!((message.state, message.failure), (state, failure), "{case}");
        assert_eq!(words(&steps), expected, "{case}");
        assert_eq!(message.due_time.is_none(), state.is_final(), "{case}");
        assert_eq!(message.variables.is_none(), state.is_final(), "{case}: values outlive the message");
        assert_eq!(message.finish_time.is_some(), state.is_final(), "{case}");
        assert_eq!(matches!(todo, Todo::Send { .. }), state == State::Sending, "{case}");
        assert_eq!(matches!(todo, Todo::Shelve(_)), state == State::Delivered, "{case}");
        assert_eq!(message.version, 2, "{case}");
        if state.is_final() {
            assert_eq!(
                message.work(None, &contents(), &POLICY, after(99999)),
                (vec![], Todo::Nothing),
                "{case}"
            );
            assert!(message.contact_deleted(after(99999)).is_empty(), "{case}");
        }
    }
}

#[test]
fn a_text_that_cannot_be_filled_in_ends_the_message() {
    let (mut message, _) = accepted(Channel::InApp, true);
    let broken = Content { subject: "{{ unknown }}".to_owned(), body: String::new() };
    let contents = Contents::from([("zh-CN".to_owned(), broken)]);
    let (steps, todo) = message.work(Some(&contact(None)), &contents, &POLICY, start());
    assert_eq!((message.failure, todo), (Some(FailureReason::Rendering), Todo::Nothing));
    assert_eq!(words(&steps), ["GIVE_UP RENDERING"]);
}

#[test]
fn an_attempt_ends_in_delivery_a_retry_or_the_end() {
    for (outcome, state, failure, expected) in [
        (Outcome::Accepted, State::Delivered, None, ["1 ACCEPTED", "DELIVERED"]),
        (Outcome::TransientFailure, State::Sending, None, ["1 TRANSIENT_FAILURE", "RETRY"]),
        (
            Outcome::PermanentFailure,
            State::Failed,
            Some(FailureReason::Rejected),
            ["1 PERMANENT_FAILURE", "GIVE_UP REJECTED"],
        ),
    ] {
        let mut message = in_flight();
        let steps = message.attempted(1, (outcome, "smtp 250"), &POLICY, 1.0, after(1)).unwrap();
        assert_eq!(words(&steps), expected);
        assert_eq!(steps[0].detail, "smtp 250");
        assert_eq!((message.state, message.failure, message.in_flight), (state, failure, false));
    }
}

#[test]
fn attempts_end_with_the_last_one_and_keep_their_language() {
    let mut message = in_flight();
    let mut now = start();
    for (attempt, pause) in [(1, 10), (2, 40)] {
        message.attempted(attempt, (Outcome::TransientFailure, ""), &POLICY, 1.0, now).unwrap();
        assert_eq!(message.due_time, Some(now + Duration::from_secs(pause)));
        now += Duration::from_secs(pause);
        let moved = Contact { locale: "zh-CN".to_owned(), ..contact(Some("li@example.com")) };
        let (steps, todo) = message.work(Some(&moved), &contents(), &POLICY, now);
        assert_eq!(words(&steps), [format!("ATTEMPT_STARTED attempt {}", attempt + 1)]);
        let Todo::Send { text, .. } = todo else { panic!("a mail is sent: {todo:?}") };
        assert_eq!(text.locale, "en");
        assert_eq!(text.body.expose(), "Hello Li");
    }
    let steps = message.attempted(3, (Outcome::TransientFailure, ""), &POLICY, 1.0, now).unwrap();
    assert_eq!(words(&steps), ["3 TRANSIENT_FAILURE", "GIVE_UP ATTEMPTS_EXHAUSTED"]);
}

#[test]
fn a_lost_attempt_is_followed_by_another_until_there_are_none_left() {
    let mut message = in_flight();
    let known = contact(Some("li@example.com"));
    for attempt in [2, 3] {
        assert_eq!(message.due_time, Some(after(60 * (attempt - 2) + 60)));
        let (steps, todo) = message.work(Some(&known), &contents(), &POLICY, after(60 * (attempt - 1)));
        let lost = format!("{} TRANSIENT_FAILURE", attempt - 1);
        assert_eq!(words(&steps), [lost, format!("ATTEMPT_STARTED attempt {attempt}")]);
        assert!(matches!(todo, Todo::Send { .. }));
    }
    let (steps, _) = message.work(Some(&known), &contents(), &POLICY, after(180));
    assert_eq!(words(&steps), ["3 TRANSIENT_FAILURE", "GIVE_UP ATTEMPTS_EXHAUSTED"]);
}

#[test]
fn the_outcome_of_an_attempt_that_was_taken_for_lost_changes_nothing() {
    let mut message = in_flight();
    message.work(Some(&contact(Some("li@example.com"))), &contents(), &POLICY, after(60));
    let before = message.clone();
    assert_eq!(message.attempted(1, (Outcome::Accepted, ""), &POLICY, 1.0, after(61)), None);
    assert_eq!(message, before);
    message.attempted(2, (Outcome::Accepted, ""), &POLICY, 1.0, after(62)).unwrap();
    assert_eq!(message.attempted(2, (Outcome::Accepted, ""), &POLICY, 1.0, after(63)), None);
}

#[test]
fn a_deleted_contact_ends_what_waits_and_lets_an_attempt_in_flight_be_told() {
    let (mut waiting, _) = accepted(Channel::Email, false);
    assert_eq!(words(&waiting.contact_deleted(after(1))), ["GIVE_UP CONTACT_DELETED"]);
    assert_eq!((waiting.state, waiting.variables), (State::Failed, None));

    let mut flying = in_flight();
    assert!(flying.contact_deleted(after(1)).is_empty());
    flying.attempted(1, (Outcome::TransientFailure, ""), &POLICY, 1.0, after(2)).unwrap();
    let (steps, _) = flying.work(Some(&deleted()), &contents(), &POLICY, after(12));
    assert_eq!(words(&steps), ["GIVE_UP CONTACT_DELETED"]);
}

#[test]
fn a_message_goes_where_the_survivor_is_reached() {
    type Case = (&'static str, bool, Option<Contact>, State, &'static [&'static str]);
    let known = || Some(contact(Some("li@example.com")));
    let cases: [Case; 5] = [
        ("both known", true, known(), State::Queued, &["RECIPIENT_MERGED"]),
        ("the survivor known", false, known(), State::Queued, &["RECIPIENT_MERGED", "CONTACT_FOUND"]),
        ("nobody known", false, None, State::WaitingForContact, &["RECIPIENT_MERGED"]),
        ("the survivor unknown", true, None, State::Queued, &["RECIPIENT_MERGED"]),
        (
            "the survivor gone",
            true,
            Some(deleted()),
            State::Failed,
            &["RECIPIENT_MERGED", "GIVE_UP CONTACT_DELETED"],
        ),
    ];
    for (case, waits_for_nothing, contact, state, expected) in cases {
        let (mut message, _) = accepted(Channel::Email, waits_for_nothing);
        let steps = message.give(Uuid::max(), contact.as_ref(), after(5));
        assert_eq!((message.customer_id, message.state), (Uuid::max(), state), "{case}");
        assert_eq!(words(&steps), expected, "{case}");
        assert!(message.version > 1 && message.update_time == after(5), "{case}");
    }
}

#[test]
fn an_attempt_that_is_in_flight_when_its_customer_is_merged_is_told_and_the_next_one_goes_to_the_survivor() {
    let survivor = contact(Some("survivor@example.com"));
    let mut flying = in_flight();
    assert_eq!(words(&flying.give(Uuid::max(), Some(&survivor), after(1))), ["RECIPIENT_MERGED"]);
    assert!(flying.in_flight);
    flying.attempted(1, (Outcome::TransientFailure, ""), &POLICY, 1.0, after(2)).unwrap();
    let (_, todo) = flying.work(Some(&survivor), &contents(), &POLICY, after(12));
    let Todo::Send { address, text, .. } = todo else { panic!("a mail is sent: {todo:?}") };
    assert_eq!((address.expose().as_str(), text.locale.as_str()), ("survivor@example.com", "en"));
}
