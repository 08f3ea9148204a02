//! One person under two names: what becomes of the records, who is told what afterwards, and the receipts.

use cqm_proto::customers::v1::erasure::Ground;
use cqm_proto::customers::v1::erasure_service_client::ErasureServiceClient;
use cqm_proto::customers::v1::import_customers_response::Outcome as Imported;
use cqm_proto::customers::v1::merge::{State, step};
use cqm_proto::customers::v1::merge_service_client::MergeServiceClient;
use cqm_proto::customers::v1::record_purchases_response::Outcome as Recorded;
use cqm_proto::customers::v1::*;
use cqm_proto::events::v1 as events;
use cqm_proto::subjects::v1::subject_service_client::SubjectServiceClient;
use cqm_proto::subjects::v1::{EraseSubjectRequest, MergeSubjectRequest, RestrictSubjectRequest};
use cqm_rpc::Failure;
use cqm_testkit::{Line, coordinator, eventually, manager, specialist};
use prost::Message;
use serde_json::json;
use tonic::Code;

use crate::desk::*;

struct Registry {
    desk: Desk,
    merges: MergeServiceClient<Line>,
    erasures: ErasureServiceClient<Line>,
    subjects: SubjectServiceClient<Line>,
}

impl Registry {
    async fn open() -> Self {
        let desk = Desk::open().await;
        let line = &desk.kit.channel;
        Self {
            merges: MergeServiceClient::new(line.clone()),
            erasures: ErasureServiceClient::new(line.clone()),
            subjects: SubjectServiceClient::new(line.clone()),
            desk,
        }
    }

    async fn customer(&mut self) -> String {
        self.desk.created(named("Li Lei")).await.name
    }

    async fn merge(&self, customer: &str, survivor: &str) -> Result<Merge, Failure> {
        self.merge_as(merge(customer, survivor)).await
    }

    async fn merge_as(&self, message: MergeCustomersRequest) -> Result<Merge, Failure> {
        answer(self.merges.clone().merge_customers(manager(message)).await)
    }

    /// Merged, and nothing else is looked at.
    async fn merged(&mut self, customer: &str, survivor: &str) {
        self.merge(customer, survivor).await.unwrap();
        assert_eq!(self.types().await, ["CustomerUpdated", "SubjectMerged", "CustomerMerged"]);
    }

    async fn step(&mut self, customer: &str, service: &str) -> Result<Merge, Failure> {
        let message = RecordMergeStepRequest {
            customer: customer.to_owned(),
            service: service.to_owned(),
            receipt: [("records".to_owned(), 2)].into(),
            ..Default::default()
        };
        answer(self.merges.record_merge_step(coordinator(message)).await)
    }

    async fn restrict(&self, customer: &str) -> Vec<String> {
        let message = RestrictSubjectRequest { customer: customer.to_owned(), ..Default::default() };
        answer(self.subjects.clone().restrict_subject(coordinator(message)).await).unwrap().blockers
    }

    async fn erase(&mut self, customer: &str) -> Result<Erasure, Failure> {
        let message = EraseCustomerRequest {
            customer: customer.to_owned(),
            ground: Ground::Request.into(),
            ..Default::default()
        };
        answer(self.erasures.erase_customer(manager(message)).await)
    }

    async fn types(&mut self) -> Vec<String> {
        self.desk.events().await.into_iter().map(|(kind, ..)| kind).collect()
    }

    async fn purchases(&self, customer: &str) -> Result<Vec<Purchase>, Failure> {
        let message =
            ListPurchasesRequest { customer: customer.to_owned(), page_size: 200, ..Default::default() };
        answer(self.desk.purchases.clone().list_purchases(specialist(message)).await)
            .map(|page| page.purchases)
    }

    async fn interactions(&self, customer: &str) -> Result<Vec<Interaction>, Failure> {
        let message = ListInteractionsRequest { customer: customer.to_owned(), ..Default::default() };
        answer(self.desk.interactions.clone().list_interactions(specialist(message)).await)
            .map(|page| page.interactions)
    }

    async fn listed(&self, filter: ListCustomersRequest) -> Vec<String> {
        let page = answer(self.desk.customers.clone().list_customers(specialist(filter)).await).unwrap();
        page.customers.into_iter().map(|customer| customer.name).collect()
    }

    async fn by_reference(&self, reference: &str) -> Vec<String> {
        self.listed(ListCustomersRequest { external_reference: reference.to_owned(), ..Default::default() })
            .await
    }
}

fn merge(customer: &str, survivor: &str) -> MergeCustomersRequest {
    MergeCustomersRequest {
        customer: customer.to_owned(),
        survivor: survivor.to_owned(),
        ..Default::default()
    }
}

#[track_caller]
fn names_the_survivor(failure: &Failure, customer: &str, survivor: &str) {
    assert_eq!(
        (failure.code, failure.reason.as_str(), failure.domain.as_str()),
        (Code::FailedPrecondition, "CUSTOMER_MERGED", "cqm")
    );
    assert_eq!(
        (failure.facts["customer"].as_str(), failure.facts["survivor"].as_str()),
        (customer, survivor)
    );
}

#[tokio::test]
async fn two_names_become_one_person_with_what_was_under_either() {
    let mut registry = Registry::open().await;
    let old = registry.desk.created(typed()).await;
    let wang = Customer {
        emails: vec![Email { address: "lei@example.com".into(), primary: true }],
        tags: vec!["new".into()],
        ..referenced("crm/8")
    };
    let new = registry.desk.created(wang).await;
    let rows = vec![purchase(1, &old.name, "p1"), purchase(2, &old.name, "p2"), purchase(3, &new.name, "p1")];
    let recorded = registry.desk.record(rows).await;
    let noted = contact(&old.name, "Li Lei asked");
    answer(registry.desk.interactions.record_interaction(specialist(noted)).await).unwrap();
    registry.types().await;

    let merged = registry.merge(&old.name, &new.name).await.unwrap();
    assert_eq!(merged.name, old.name.replace("customers/", "merges/"));
    assert_eq!((&merged.customer, &merged.survivor, merged.state()), (&old.name, &new.name, State::Merging));
    assert!(merged.steps.len() == 5 && merged.steps.iter().all(|it| it.state() == step::State::Pending));

    // What the survivor says stays, what they do not say is taken over; see `domain/merge.rs`.
    let person = registry.desk.get(&new.name).await.unwrap();
    let expected = Customer {
        phones: old.phones.clone(),
        emails: vec![
            Email { address: "lei@example.com".into(), primary: true },
            Email { address: "Li.Lei@example.com".into(), primary: false },
        ],
        addresses: old.addresses.clone(),
        birthday: old.birthday,
        gender: old.gender,
        source_channel: old.source_channel,
        tags: vec!["b2c".into(), "new".into(), "vip".into()],
        etag: "v2".into(),
        ..new.clone()
    };
    assert_eq!(person, expected);

    let mut references: Vec<(String, String)> = registry
        .purchases(&new.name)
        .await
        .unwrap()
        .into_iter()
        .map(|purchase| (purchase.purchase_reference, purchase.name))
        .collect();
    references.sort();
    let id = |row: usize| recorded[row].purchase.rsplit('/').next().unwrap();
    let expected = [
        ("p1".to_owned(), recorded[2].purchase.clone()),
        // The survivor has a purchase of that reference.
        (format!("p1/{}", id(0)), format!("{}/purchases/{}", new.name, id(0))),
        ("p2".to_owned(), format!("{}/purchases/{}", new.name, id(1))),
    ];
    assert_eq!(references, expected);
    assert_eq!(registry.interactions(&new.name).await.unwrap()[0].summary, "Li Lei asked");

    let told = registry.desk.kit.events.next().await;
    let updated = events::CustomerUpdated::decode(told[0].payload.as_slice()).unwrap();
    assert_eq!(updated, events::CustomerUpdated { customer: new.name.clone(), version: 2 });
    let receipt = events::SubjectMerged::decode(told[1].payload.as_slice()).unwrap();
    let counts = [("customers", 1), ("interactions", 1), ("purchases", 2)];
    assert_eq!(receipt.moved, counts.map(|(what, count)| (what.to_owned(), count)).into());
    let begun = events::CustomerMerged::decode(told[2].payload.as_slice()).unwrap();
    let expected = events::CustomerMerged { customer: old.name.clone(), survivor: new.name.clone() };
    assert_eq!((begun, told[2].aggregate.as_str(), told.len()), (expected, merged.name.as_str(), 3));

    // Nothing of the person is left under the old name.
    let rows = registry.desk.kit.table("customers").await;
    let row =
        rows.iter().find(|row| row["version"] == json!(2) && row["delete_time"] != json!(null)).unwrap();
    assert_eq!((&row["display_name"], &row["emails"], &row["tags"]), (&json!(""), &json!([]), &json!([])));
    let tagged = ListCustomersRequest { tag: "vip".into(), ..Default::default() };
    assert_eq!(registry.listed(tagged).await, [new.name]);
}

#[tokio::test]
async fn whoever_comes_with_the_old_name_is_told_the_survivors() {
    let mut registry = Registry::open().await;
    let (old, new) = (registry.customer().await, registry.customer().await);
    registry.desk.get(&old).await.expect("now the caches know it");
    registry.merged(&old, &new).await;

    let get = registry.desk.get(&old).await.unwrap_err();
    names_the_survivor(&get, &old, &new);
    names_the_survivor(&registry.purchases(&old).await.unwrap_err(), &old, &new);
    names_the_survivor(&registry.interactions(&old).await.unwrap_err(), &old, &new);
    let renamed = Customer { name: old.clone(), ..named("Lei Li") };
    let updated = registry.desk.customers.update_customer(specialist(update(renamed, &["*"]))).await;
    names_the_survivor(&answer(updated).unwrap_err(), &old, &new);
    let deleted = registry.desk.customers.delete_customer(specialist(delete(&old))).await;
    names_the_survivor(&answer(deleted).unwrap_err(), &old, &new);
    let noted = registry.desk.interactions.record_interaction(specialist(contact(&old, "again"))).await;
    names_the_survivor(&answer(noted).unwrap_err(), &old, &new);
    names_the_survivor(&registry.erase(&old).await.unwrap_err(), &old, &new);
    let hold = PlaceLegalHoldRequest {
        customer: old.clone(),
        reference: "court/7".to_owned(),
        ..Default::default()
    };
    let held = registry.erasures.place_legal_hold(manager(hold)).await;
    names_the_survivor(&answer(held).unwrap_err(), &old, &new);
    // A row says so, and does not stop its neighbours.
    let rows = vec![purchase(1, &old, "p1"), purchase(2, &new, "p2"), purchase(3, NOBODY, "p3")];
    let answers = registry.desk.record(rows).await;
    names_the_survivor(&row_failure(answers[0].error.as_ref()), &old, &new);
    assert_eq!(answers[1].outcome(), Recorded::Recorded);
    assert_eq!(row_failure(answers[2].error.as_ref()).reason, "CUSTOMER_NOT_FOUND");
    assert_eq!(registry.types().await, ["PurchaseRecorded"]);
}

#[tokio::test]
async fn an_old_external_reference_leads_to_the_survivor() {
    let mut registry = Registry::open().await;
    let first = registry.desk.created(referenced("crm/1")).await.name;
    let second = registry.desk.created(referenced("crm/2")).await.name;
    let third = registry.customer().await;
    registry.merged(&first, &second).await;
    // Who has none takes it over; who has one keeps it, and the other one leads there all the same.
    registry.merged(&second, &third).await;
    assert_eq!(registry.desk.get(&third).await.unwrap().external_reference, "crm/2");

    for (row, reference) in [(1, "crm/1"), (2, "crm/2")] {
        assert_eq!(registry.by_reference(reference).await, [third.as_str()], "{reference}");
        let recorded = registry.desk.record(vec![purchase_of(row, reference, &format!("p{row}"))]).await;
        assert_eq!(recorded[0].outcome(), Recorded::Recorded, "{reference}");
        assert!(recorded[0].purchase.starts_with(&third), "{reference}");
        let imported = registry.desk.import(vec![import(row, referenced(reference))]).await.remove(0);
        assert_eq!((imported.outcome(), imported.name), (Imported::AlreadyPresent, third.clone()));
    }
    let other_tag = ListCustomersRequest {
        external_reference: "crm/1".into(),
        tag: "nobody-s".into(),
        ..Default::default()
    };
    assert!(registry.listed(other_tag).await.is_empty(), "filters that are set must all hold");
    let taken =
        answer(registry.desk.customers.create_customer(specialist(create(referenced("crm/1")))).await);
    assert_eq!(taken.unwrap_err().reason, "EXTERNAL_REFERENCE_TAKEN");
    assert_eq!(registry.types().await, ["PurchaseRecorded", "PurchaseRecorded"]);
    names_the_survivor(&registry.desk.get(&first).await.unwrap_err(), &first, &third);

    // When the person is gone, neither reference brings them back.
    answer(registry.desk.customers.delete_customer(manager(delete(&third))).await).unwrap();
    for reference in ["crm/1", "crm/2"] {
        assert!(registry.by_reference(reference).await.is_empty(), "{reference}");
        let row = registry.desk.record(vec![purchase_of(1, reference, "p9")]).await.remove(0);
        assert_eq!(row_failure(row.error.as_ref()).reason, "CUSTOMER_NOT_FOUND", "{reference}");
        let row = registry.desk.import(vec![import(1, referenced(reference))]).await.remove(0);
        assert_eq!(row_failure(row.error.as_ref()).reason, "EXTERNAL_REFERENCE_TAKEN", "{reference}");
    }
    assert_eq!(registry.types().await, ["CustomerDeleted"]);
}

#[tokio::test]
async fn a_merge_is_asked_for_once_and_only_of_two_who_are_there() {
    let mut registry = Registry::open().await;
    let [a, b, c, gone] = [
        registry.customer().await,
        registry.customer().await,
        registry.customer().await,
        registry.customer().await,
    ];
    answer(registry.desk.customers.delete_customer(manager(delete(&gone))).await).unwrap();
    registry.types().await;
    let fields = violations(registry.merge(&a, &a).await);
    assert_eq!(fields, ["survivor FIELD_FORMAT"]);
    let wrong = MergeCustomersRequest { etag: "7".into(), survivor_etag: "x".into(), ..merge("a", "") };
    let fields = violations(registry.merge_as(wrong).await);
    assert_eq!(
        fields,
        [
            "customer FIELD_FORMAT",
            "survivor FIELD_REQUIRED",
            "etag FIELD_FORMAT",
            "survivor_etag FIELD_FORMAT"
        ]
    );
    for (customer, survivor) in [(&a[..], NOBODY), (NOBODY, &a[..]), (&a[..], &gone[..]), (&gone[..], &a[..])]
    {
        let nobody = registry.merge(customer, survivor).await.unwrap_err();
        assert_eq!((nobody.code, nobody.reason.as_str()), (Code::NotFound, "CUSTOMER_NOT_FOUND"));
    }
    for stale in [
        MergeCustomersRequest { etag: "v2".into(), ..merge(&a, &b) },
        MergeCustomersRequest { survivor_etag: "v2".into(), ..merge(&a, &b) },
    ] {
        assert_eq!(registry.merge_as(stale).await.unwrap_err().reason, "ETAG_MISMATCH");
    }
    assert!(registry.types().await.is_empty(), "nothing has happened");

    let seen = MergeCustomersRequest { etag: "v1".into(), survivor_etag: "v1".into(), ..merge(&a, &b) };
    let first = registry.merge_as(seen).await.unwrap();
    assert_eq!(registry.merge(&a, &b).await.unwrap(), first, "asking twice is asking once");
    names_the_survivor(&registry.merge(&a, &c).await.unwrap_err(), &a, &b);
    names_the_survivor(&registry.merge(&b, &a).await.unwrap_err(), &a, &b);
    names_the_survivor(&registry.merge(&c, &a).await.unwrap_err(), &a, &b);
    // Merged on: both old names lead to the last one.
    registry.merge(&b, &c).await.unwrap();
    names_the_survivor(&registry.desk.get(&a).await.unwrap_err(), &a, &c);
    names_the_survivor(&registry.desk.get(&b).await.unwrap_err(), &b, &c);
    assert_eq!(registry.merge(&a, &b).await.unwrap(), first, "as it was asked for");
    let once = ["CustomerUpdated", "SubjectMerged", "CustomerMerged"];
    assert_eq!(registry.types().await, [once, once].concat());
}

#[tokio::test]
async fn nobody_who_is_to_be_forgotten_is_merged() {
    let mut registry = Registry::open().await;
    let (old, new) = (registry.customer().await, registry.customer().await);
    let both_ways = [(old.clone(), new.clone()), (new.clone(), old.clone())];
    // Asked for, and no service has been told yet.
    let asked = registry.erase(&old).await.unwrap();
    for (customer, survivor) in &both_ways {
        assert_eq!(registry.merge(customer, survivor).await.unwrap_err().reason, "CUSTOMER_RESTRICTED");
    }
    registry.restrict(&old).await;
    let cancel = CancelErasureRequest { name: asked.name, ..Default::default() };
    answer(registry.erasures.cancel_erasure(manager(cancel)).await).unwrap();
    // Called off, and this service has not been told yet.
    for (customer, survivor) in &both_ways {
        assert_eq!(registry.merge(customer, survivor).await.unwrap_err().reason, "CUSTOMER_RESTRICTED");
    }
    let erase = EraseSubjectRequest { customer: old.clone(), ..Default::default() };
    answer(registry.subjects.erase_subject(coordinator(erase)).await).unwrap();
    for (customer, survivor) in &both_ways {
        assert_eq!(registry.merge(customer, survivor).await.unwrap_err().reason, "CUSTOMER_ERASED");
    }
    registry.types().await;
}

#[tokio::test]
async fn a_merge_is_finished_with_the_last_receipt_and_the_survivors_erasure_waits_for_it() {
    let mut registry = Registry::open().await;
    let (old, new) = (registry.customer().await, registry.customer().await);
    let noted = contact(&old, "Li Lei called");
    answer(registry.desk.interactions.record_interaction(manager(noted)).await).unwrap();
    registry.types().await;
    registry.merged(&old, &new).await;
    let get = GetMergeRequest { name: old.replace("customers/", "merges/") };
    let nobody = GetMergeRequest { name: new.replace("customers/", "merges/") };
    let none = answer(registry.merges.get_merge(manager(nobody)).await).unwrap_err();
    assert_eq!((none.code, none.reason.as_str()), (Code::NotFound, "MERGE_NOT_FOUND"));
    assert_eq!(registry.step(&new, "loyalty").await.unwrap_err().reason, "MERGE_NOT_FOUND");
    assert_eq!(violations(registry.step(&old, "gateway").await), ["service FIELD_FORMAT"]);

    assert_eq!(registry.restrict(&new).await, ["MERGE_UNFINISHED"]);
    for service in ["complaints", "customer-data", "loyalty", "notifications"] {
        assert_eq!(registry.step(&old, service).await.unwrap().state(), State::Merging);
    }
    let before = answer(registry.merges.get_merge(manager(get.clone())).await).unwrap();
    assert_eq!(registry.step(&old, "loyalty").await.unwrap(), before, "a second receipt changes nothing");
    let done = registry.step(&old, "surveys").await.unwrap();
    assert_eq!((done.state(), done.finish_time.is_some()), (State::Merged, true));
    assert!(done.steps.iter().all(|it| it.state() == step::State::Merged && it.moved["records"] == 2));
    assert_eq!(answer(registry.merges.get_merge(manager(get)).await).unwrap(), done);

    // The service looks again by itself; then everything that came with the merge is erased with the rest.
    eventually("nothing is in the way", async || registry.restrict(&new).await.is_empty()).await;
    let erase = EraseSubjectRequest { customer: new.clone(), ..Default::default() };
    answer(registry.subjects.erase_subject(coordinator(erase)).await).unwrap();
    assert_eq!(registry.desk.kit.table("interactions").await[0]["summary"], "");
    assert_eq!(registry.desk.get(&new).await.unwrap_err().reason, "CUSTOMER_NOT_FOUND");
    assert_eq!(
        registry.types().await,
        [
            "SubjectRestricted",
            "CustomerMergeFinished",
            "SubjectRestricted",
            "CustomerDeleted",
            "SubjectErased"
        ]
    );
}

#[tokio::test]
async fn who_is_held_under_one_name_is_held_under_the_other() {
    let mut registry = Registry::open().await;
    let (old, new) = (registry.customer().await, registry.customer().await);
    for (customer, reference) in [(&old, "court/7"), (&new, "court/8")] {
        let hold = PlaceLegalHoldRequest {
            customer: customer.clone(),
            reference: reference.to_owned(),
            ..Default::default()
        };
        answer(registry.erasures.place_legal_hold(manager(hold)).await).unwrap();
    }
    registry.merged(&old, &new).await;
    for reference in ["court/8", "court/7"] {
        let refused = answer(registry.desk.customers.delete_customer(manager(delete(&new))).await);
        assert_eq!(refused.unwrap_err().reason, "LEGAL_HOLD");
        let lift = LiftLegalHoldRequest { customer: new.clone(), ..Default::default() };
        let lifted = answer(registry.erasures.lift_legal_hold(manager(lift)).await).unwrap();
        assert_eq!(lifted.reference, reference);
    }
    answer(registry.desk.customers.delete_customer(manager(delete(&new))).await).unwrap();
    assert_eq!(registry.types().await, ["CustomerDeleted"]);
}

/// The way of the other services, which may hear of the survivor's erasure before they hear of the merge.
#[tokio::test]
async fn what_comes_with_a_merge_stands_in_the_way_of_an_erasure_that_waits() {
    let mut registry = Registry::open().await;
    let (old, new) = (registry.customer().await, registry.customer().await);
    let hold = PlaceLegalHoldRequest {
        customer: old.clone(),
        reference: "court/7".to_owned(),
        ..Default::default()
    };
    answer(registry.erasures.place_legal_hold(manager(hold)).await).unwrap();
    assert!(registry.restrict(&new).await.is_empty());
    let message = MergeSubjectRequest { customer: old.clone(), survivor: new.clone(), ..Default::default() };
    let merged = answer(registry.subjects.merge_subject(coordinator(message.clone())).await).unwrap();
    assert_eq!(merged.survivor, new);
    assert_eq!(registry.restrict(&new).await, ["LEGAL_HOLD"]);
    let again = answer(registry.subjects.merge_subject(coordinator(message)).await).unwrap();
    assert_eq!(again, merged, "merged once");
    assert_eq!(
        registry.types().await,
        ["SubjectRestricted", "CustomerUpdated", "SubjectRestricted", "SubjectMerged"]
    );
}

#[tokio::test]
async fn what_is_recorded_meanwhile_is_the_survivors_or_refused_and_of_two_ways_one_is_gone() {
    let mut registry = Registry::open().await;
    let (old, new) = (registry.customer().await, registry.customer().await);
    let rows: Vec<_> = (0..500).map(|row| purchase(row, &old, &format!("p{row}"))).collect();
    let (forth, back, answers) =
        tokio::join!(registry.merge(&old, &new), registry.merge(&new, &old), registry.desk.record(rows));
    let (gone, stays) = if forth.is_ok() { (&old, &new) } else { (&new, &old) };
    assert!(forth.is_ok() != back.is_ok(), "{forth:?} {back:?}");
    names_the_survivor(&forth.and(back).unwrap_err(), gone, stays);
    let recorded = answers.iter().filter(|answer| answer.outcome() == Recorded::Recorded).count();
    for refused in answers.iter().filter(|answer| answer.outcome() == Recorded::Rejected) {
        names_the_survivor(&row_failure(refused.error.as_ref()), &old, &new);
    }
    let rows = registry.desk.kit.table("purchases").await;
    assert_eq!(rows.len(), recorded);
    let id = stays.trim_start_matches("customers/");
    assert!(rows.iter().all(|row| row["customer_id"] == id), "nothing is left under the old name");
    registry.types().await;
}
