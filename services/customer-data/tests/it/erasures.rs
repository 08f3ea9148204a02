//! Erasures as customer-data sees them through: the two rounds, the receipts, the report, and what is held.

use cqm_customer_data::Config;
use cqm_proto::customers::v1::erasure::{Ground, State, step};
use cqm_proto::customers::v1::erasure_service_client::ErasureServiceClient;
use cqm_proto::customers::v1::*;
use cqm_proto::events::v1::{CustomerErasureRequested, SubjectRestricted};
use cqm_proto::subjects::v1::subject_service_client::SubjectServiceClient;
use cqm_proto::subjects::v1::{EraseSubjectRequest, RestrictSubjectRequest};
use cqm_testkit::{Line, coordinator, manager, specialist};
use prost::Message;
use tonic::Code;

use crate::desk::{
    CONFIG, Desk, NOBODY, answer, contact, delete, named, purchase, row_failure, update, violations,
};

const SERVICES: [&str; 5] = ["complaints", "customer-data", "loyalty", "notifications", "surveys"];

struct Office {
    desk: Desk,
    erasures: ErasureServiceClient<Line>,
    subjects: SubjectServiceClient<Line>,
}

impl Office {
    async fn open() -> Self {
        Self::with(CONFIG).await
    }

    async fn with(config: Config) -> Self {
        let desk = Desk::with(config).await;
        let erasures = ErasureServiceClient::new(desk.kit.channel.clone());
        let subjects = SubjectServiceClient::new(desk.kit.channel.clone());
        Self { desk, erasures, subjects }
    }

    async fn customer(&mut self) -> String {
        self.desk.created(named("Li Lei")).await.name
    }

    async fn erase(&mut self, customer: &str) -> Result<Erasure, cqm_rpc::Failure> {
        let message = EraseCustomerRequest {
            customer: customer.to_owned(),
            ground: Ground::Request.into(),
            ..Default::default()
        };
        answer(self.erasures.erase_customer(manager(message)).await)
    }

    async fn step(&mut self, message: RecordErasureStepRequest) -> Result<Erasure, cqm_rpc::Failure> {
        answer(self.erasures.record_erasure_step(coordinator(message)).await)
    }

    async fn restrict(&mut self, customer: &str) -> cqm_proto::subjects::v1::Subject {
        let message = RestrictSubjectRequest { customer: customer.to_owned(), ..Default::default() };
        answer(self.subjects.restrict_subject(coordinator(message)).await).unwrap()
    }

    async fn hold(&mut self, customer: &str) -> Result<LegalHold, cqm_rpc::Failure> {
        let message = PlaceLegalHoldRequest {
            customer: customer.to_owned(),
            reference: "court/7".to_owned(),
            ..Default::default()
        };
        answer(self.erasures.place_legal_hold(manager(message)).await)
    }

    async fn lift(&mut self, customer: &str) {
        let message = LiftLegalHoldRequest { customer: customer.to_owned(), ..Default::default() };
        answer(self.erasures.lift_legal_hold(manager(message)).await).unwrap();
    }

    /// What the service has told of persons who are to be erased: what stands in the way, and of which round.
    async fn told(&mut self) -> Vec<(Vec<String>, i64)> {
        let logged = self.desk.kit.events.next().await;
        let restricted = logged.iter().filter(|event| event.event_type.ends_with(".SubjectRestricted"));
        restricted
            .map(|event| SubjectRestricted::decode(event.payload.as_slice()).unwrap())
            .map(|event| (event.blockers, event.round))
            .collect()
    }

    fn types(events: &[(String, String, i64)]) -> Vec<&str> {
        events.iter().map(|(kind, ..)| kind.as_str()).collect()
    }
}

fn restricted(customer: &str, service: &str) -> RecordErasureStepRequest {
    RecordErasureStepRequest {
        customer: customer.to_owned(),
        service: service.to_owned(),
        version: 1,
        ..Default::default()
    }
}

fn erased(customer: &str, service: &str) -> RecordErasureStepRequest {
    let receipt = [("records".to_owned(), 2)].into();
    RecordErasureStepRequest { version: 2, erased: true, receipt, ..restricted(customer, service) }
}

#[tokio::test]
async fn an_erasure_goes_through_both_rounds_and_is_reported_with_every_receipt() {
    let config =
        Config { report_keys: vec!["a-key-of-the-tests-and-of-nobody-else".to_owned().into()], ..CONFIG };
    let mut office = Office::with(config).await;
    let customer = office.customer().await;
    let name = customer.replace("customers/", "erasures/");
    let asked = office.erase(&customer).await.unwrap();
    assert_eq!((asked.name.as_str(), asked.state()), (name.as_str(), State::Requested));
    assert!(asked.steps.iter().all(|it| it.state() == step::State::Pending));
    assert_eq!(office.erase(&customer).await.unwrap(), asked, "asking twice is asking once");
    for service in SERVICES {
        office.step(restricted(&customer, service)).await.unwrap();
    }
    let get = GetErasureRequest { name: name.clone() };
    let cleared = answer(office.erasures.get_erasure(manager(get)).await).unwrap();
    assert_eq!(cleared.state(), State::Erasing);
    let report = GetErasureReportRequest { name: name.clone() };
    let early = answer(office.erasures.get_erasure_report(manager(report.clone())).await).unwrap_err();
    assert_eq!((early.code, early.reason.as_str()), (Code::FailedPrecondition, "ERASURE_UNFINISHED"));
    for service in SERVICES {
        office.step(erased(&customer, service)).await.unwrap();
    }
    // An answer that comes once more, or late, changes nothing.
    let done = office.step(erased(&customer, "loyalty")).await.unwrap();
    assert_eq!(office.step(restricted(&customer, "loyalty")).await.unwrap(), done);
    assert_eq!((done.state(), done.finish_time.is_some()), (State::Erased, true));
    let events = office.desk.events().await;
    let expected = ["CustomerErasureRequested", "CustomerErasureCleared", "CustomerErased"];
    assert_eq!(Office::types(&events), expected);

    let first = answer(office.erasures.get_erasure_report(manager(report.clone())).await).unwrap().report;
    let again = answer(office.erasures.get_erasure_report(manager(report)).await).unwrap().report;
    assert_eq!(first, again);
    assert_eq!(first.split('.').count(), 3);
}

#[tokio::test]
async fn who_is_to_be_forgotten_is_not_written_to_and_then_is_gone_with_the_remembered_answers() {
    let mut office = Office::open().await;
    let customer = office.customer().await;
    let noted = contact(&customer, "Li Lei called");
    answer(office.desk.interactions.record_interaction(manager(noted)).await).unwrap();
    office.desk.events().await;
    assert!(office.restrict(&customer).await.blockers.is_empty());

    let renamed = Customer { name: customer.clone(), ..named("Li Lei Two") };
    let refused = answer(office.desk.customers.update_customer(specialist(update(renamed, &["*"]))).await);
    assert_eq!(refused.unwrap_err().reason, "CUSTOMER_RESTRICTED");
    let refused = answer(office.desk.customers.delete_customer(manager(delete(&customer))).await);
    assert_eq!(refused.unwrap_err().reason, "CUSTOMER_RESTRICTED");
    let more = contact(&customer, "and again");
    let refused = answer(office.desk.interactions.record_interaction(manager(more)).await);
    assert_eq!(refused.unwrap_err().reason, "CUSTOMER_RESTRICTED");
    let row = office.desk.record(vec![purchase(1, &customer, "p1")]).await.remove(0);
    assert_eq!(row_failure(row.error.as_ref()).reason, "CUSTOMER_RESTRICTED");

    let message = EraseSubjectRequest { customer: customer.clone(), ..Default::default() };
    answer(office.subjects.erase_subject(coordinator(message.clone())).await).unwrap();
    let events = office.desk.events().await;
    assert_eq!(Office::types(&events), ["SubjectRestricted", "CustomerDeleted", "SubjectErased"]);
    let again = answer(office.subjects.erase_subject(coordinator(message)).await).unwrap();
    assert_eq!(again.version, 2, "erased once");
    assert!(office.desk.events().await.is_empty());
    assert_eq!(office.desk.get(&customer).await.unwrap_err().reason, "CUSTOMER_NOT_FOUND");
    assert_eq!(office.desk.kit.table("interactions").await[0]["summary"], "");
}

#[tokio::test]
async fn what_is_held_is_neither_deleted_nor_erased() {
    let mut office = Office::open().await;
    let customer = office.customer().await;
    let hold = PlaceLegalHoldRequest {
        customer: customer.clone(),
        reference: "court/7".to_owned(),
        ..Default::default()
    };
    answer(office.erasures.place_legal_hold(manager(hold.clone())).await).unwrap();
    let refused =
        answer(office.desk.customers.delete_customer(manager(delete(&customer))).await).unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (Code::FailedPrecondition, "LEGAL_HOLD"));
    assert_eq!(office.restrict(&customer).await.blockers, ["LEGAL_HOLD"]);
    let message = EraseSubjectRequest { customer: customer.clone(), ..Default::default() };
    let refused = answer(office.subjects.erase_subject(coordinator(message)).await).unwrap_err();
    assert_eq!(
        (refused.reason.as_str(), refused.facts["blockers"].as_str()),
        ("SUBJECT_BLOCKED", "LEGAL_HOLD")
    );

    let lift = LiftLegalHoldRequest { customer: customer.clone(), ..Default::default() };
    answer(office.erasures.lift_legal_hold(manager(lift.clone())).await).unwrap();
    let none = answer(office.erasures.lift_legal_hold(manager(lift)).await).unwrap_err();
    assert_eq!((none.code, none.reason.as_str()), (Code::NotFound, "LEGAL_HOLD_NOT_FOUND"));
    // The service looks again by itself, and tells.
    let mut told = Vec::new();
    cqm_testkit::eventually("the service says that nothing is in the way", async || {
        office
            .subjects
            .clone()
            .restrict_subject(coordinator(RestrictSubjectRequest {
                customer: customer.clone(),
                ..Default::default()
            }))
            .await
            .unwrap()
            .into_inner()
            .blockers
            .is_empty()
    })
    .await;
    told.extend(office.desk.events().await);
    assert_eq!(Office::types(&told), ["SubjectRestricted", "SubjectRestricted"]);
}

#[tokio::test]
async fn a_hold_that_comes_after_a_clean_answer_is_told_in_its_own_transaction() {
    let mut office = Office::open().await;
    let customer = office.customer().await;
    assert!(office.restrict(&customer).await.blockers.is_empty());
    office.hold(&customer).await.unwrap();
    let told = office.told().await;
    assert_eq!(told, [(vec![], 0), (vec!["LEGAL_HOLD".to_owned()], 0)]);
    assert_eq!(office.restrict(&customer).await.blockers, ["LEGAL_HOLD"]);
}

#[tokio::test]
async fn a_hold_whose_own_answer_is_late_keeps_the_others_from_erasing() {
    let mut office = Office::open().await;
    let customer = office.customer().await;
    office.erase(&customer).await.unwrap();
    let blocked = RecordErasureStepRequest {
        blockers: vec!["OPEN_COMPLAINT".to_owned()],
        ..restricted(&customer, "complaints")
    };
    office.step(blocked).await.unwrap();
    for service in &SERVICES[1..] {
        office.step(restricted(&customer, service)).await.unwrap();
    }
    office.hold(&customer).await.unwrap();
    let closed = RecordErasureStepRequest { version: 2, ..restricted(&customer, "complaints") };
    assert_eq!(office.step(closed).await.unwrap().state(), State::Restricted);
    office.lift(&customer).await;
    let lifted = RecordErasureStepRequest { version: 3, ..restricted(&customer, "customer-data") };
    assert_eq!(office.step(lifted).await.unwrap().state(), State::Erasing);

    let late = office.hold(&customer).await.unwrap_err();
    assert_eq!((late.code, late.reason.as_str()), (Code::FailedPrecondition, "ERASURE_BEGUN"));
    assert_eq!(late.facts["state"], "ERASING");
    let events = office.desk.events().await;
    assert_eq!(Office::types(&events), ["CustomerErasureRequested", "CustomerErasureCleared"]);
}

/// What comes into the way by whomever, such as a service of the version before, which tells of it nowhere.
#[tokio::test]
async fn of_everybody_who_is_to_be_erased_is_told_what_comes_into_the_way_though_one_of_them_fails() {
    let mut office = Office::open().await;
    let (first, second) = (office.customer().await, office.customer().await);
    assert!(first < second, "looked at in this order");
    for customer in [&first, &second] {
        assert!(office.restrict(customer).await.blockers.is_empty());
    }
    let id = |customer: &str| customer.trim_start_matches("customers/").to_owned();
    for statement in [
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END'"
            .into(),
        format!(
            "CREATE TRIGGER fails BEFORE UPDATE ON subject FOR EACH ROW
             WHEN (NEW.customer_id = '{}') EXECUTE FUNCTION fail()",
            id(&first)
        ),
        format!(
            "INSERT INTO legal_holds (customer_id, reference, actor, create_time)
             VALUES ('{}', 'court/7', 'manager', now()), ('{}', 'court/8', 'manager', now())",
            id(&first),
            id(&second)
        ),
    ] {
        office.desk.kit.execute(&statement).await;
    }
    cqm_testkit::eventually("the other one's hold is told", async || {
        let held = office
            .desk
            .kit
            .rows("SELECT to_jsonb(customer_id)::text AS row FROM subject WHERE blockers <> '{}'");
        held.await == [id(&second)]
    })
    .await;
    let told = office.told().await;
    assert_eq!(told, [(vec![], 0), (vec![], 0), (vec!["LEGAL_HOLD".to_owned()], 0)]);
}

#[tokio::test]
async fn an_answer_to_a_request_that_was_called_off_does_not_count_for_the_next() {
    let mut office = Office::open().await;
    let customer = office.customer().await;
    let name = customer.replace("customers/", "erasures/");
    office.erase(&customer).await.unwrap();
    let cancel = CancelErasureRequest { name, ..Default::default() };
    answer(office.erasures.cancel_erasure(manager(cancel)).await).unwrap();
    office.erase(&customer).await.unwrap();
    let requested: Vec<i64> = office
        .desk
        .kit
        .events
        .next()
        .await
        .iter()
        .filter(|event| event.event_type.ends_with(".CustomerErasureRequested"))
        .map(|event| CustomerErasureRequested::decode(event.payload.as_slice()).unwrap().round)
        .collect();
    let [first, second] = requested[..] else { panic!("two requests: {requested:?}") };
    assert!(0 < first && first < second);

    let of = |round, service| RecordErasureStepRequest { round, ..restricted(&customer, service) };
    for service in &SERVICES[1..] {
        office.step(of(second, service)).await.unwrap();
    }
    // It has waited in the log of the service since the first request.
    let late = office.step(of(first, "complaints")).await.unwrap();
    assert_eq!((late.state(), late.steps[0].state()), (State::Requested, step::State::Pending));
    let real = RecordErasureStepRequest {
        version: 3,
        blockers: vec!["OPEN_COMPLAINT".to_owned()],
        ..of(second, "complaints")
    };
    assert_eq!(office.step(real).await.unwrap().state(), State::Restricted);
    // A service of the version before knows no rounds.
    let old = RecordErasureStepRequest { version: 4, ..of(0, "complaints") };
    assert_eq!(office.step(old).await.unwrap().state(), State::Erasing);
    office.desk.events().await;
}

#[tokio::test]
async fn a_service_tells_of_which_round_its_answers_are_and_looks_anew_for_a_greater_one() {
    let mut office = Office::open().await;
    let customer = office.customer().await;
    let ask = |round| RestrictSubjectRequest { customer: customer.clone(), round, ..Default::default() };
    for round in [2, 5, 5, 2, 0] {
        answer(office.subjects.restrict_subject(coordinator(ask(round))).await).unwrap();
    }
    office.hold(&customer).await.unwrap();
    let told = office.told().await;
    assert_eq!(told, [(vec![], 2), (vec![], 5), (vec!["LEGAL_HOLD".to_owned()], 5)]);
    let wrong = answer(office.subjects.restrict_subject(coordinator(ask(-1))).await);
    assert_eq!(violations(wrong), ["round FIELD_RANGE"]);
}

#[tokio::test]
async fn what_is_wrong_with_an_erasure_is_said() {
    let mut office = Office::open().await;
    let nobody = office.erase(NOBODY).await.unwrap_err();
    assert_eq!((nobody.code, nobody.reason.as_str()), (Code::NotFound, "CUSTOMER_NOT_FOUND"));
    let get = GetErasureRequest { name: NOBODY.replace("customers/", "erasures/") };
    let none = answer(office.erasures.get_erasure(manager(get)).await).unwrap_err();
    assert_eq!((none.code, none.reason.as_str()), (Code::NotFound, "ERASURE_NOT_FOUND"));
    let wrong = EraseCustomerRequest { customer: "customers/1".into(), ..Default::default() };
    let fields = violations(answer(office.erasures.erase_customer(manager(wrong)).await));
    assert_eq!(fields, ["customer FIELD_FORMAT", "ground ENUM_UNKNOWN"]);
    let wrong = RecordErasureStepRequest {
        customer: NOBODY.into(),
        service: "gateway".into(),
        blockers: vec!["a sentence about Li Lei".into()],
        round: -1,
        ..Default::default()
    };
    let fields = violations(office.step(wrong).await);
    assert_eq!(
        fields,
        ["service FIELD_FORMAT", "version FIELD_RANGE", "round FIELD_RANGE", "blockers FIELD_FORMAT"]
    );
    let keys = answer(office.erasures.get_report_keys(manager(GetReportKeysRequest {})).await).unwrap();
    assert_eq!(keys.jwks, r#"{"keys":[]}"#);
}
