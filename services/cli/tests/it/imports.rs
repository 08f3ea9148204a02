use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::purchase_service_client::PurchaseServiceClient;
use cqm_proto::customers::v1::{
    Customer, ListCustomersRequest, ListPurchasesRequest, Purchase, SourceChannel,
};
use cqm_testkit::specialist;

use crate::counter::{Counter, complained, said};

const CUSTOMERS: &str = "\
external_reference,display_name,phone,email,locale,source_channel,tags
crm/1,Li Na,+8613800138000,li.na@example.com,zh-CN,interview,vip;b2c
crm/2,Jean Dupont,,,fr,,
crm/3,Ann Lee,,,en,pigeon,
crm/4,\"Smith, \"\"Jo\"\"\",,jo@example.com,en,,
";

const PURCHASES: &str = "\
customer_external_reference,purchase_reference,purchase_time,amount,currency,quantity,product
crm/1,till/1,2026-01-14T10:00:00+08:00,29.33,USD,2,CD
crm/9,till/2,2026-01-14T10:00:00Z,5,USD,1,CD
crm/1,till/3,yesterday,5,USD,1,CD
crm/1,till/4,2026-01-14T11:00:00Z,12,CNY,1,\"a \"\"Best of\"\", signed\"
";

async fn customers(counter: &Counter) -> Vec<Customer> {
    let mut client = CustomerServiceClient::new(counter.kit.channel.clone());
    let all = client.list_customers(specialist(ListCustomersRequest::default())).await.unwrap().into_inner();
    let mut customers = all.customers;
    customers.sort_by(|a, b| a.external_reference.cmp(&b.external_reference));
    customers
}

async fn purchases(counter: &Counter, customer: &str) -> Vec<Purchase> {
    let mut client = PurchaseServiceClient::new(counter.kit.channel.clone());
    let all = ListPurchasesRequest { customer: customer.to_owned(), ..Default::default() };
    let mut purchases = client.list_purchases(specialist(all)).await.unwrap().into_inner().purchases;
    purchases.sort_by(|a, b| a.purchase_reference.cmp(&b.purchase_reference));
    purchases
}

#[tokio::test]
async fn an_import_by_tls_believes_the_authority_that_it_is_given_and_no_other() {
    let mut counter = Counter::open_secured().await;
    counter.write("customers.csv", "external_reference,display_name\ncrm/1,Li Na\n");
    let ca = counter.path("ca.crt").display().to_string();
    let outcome = counter.import_with("customers", "customers.csv", &["--ca", &ca]).await;
    assert_eq!(outcome.status.code(), Some(0), "{}", complained(&outcome));
    assert_eq!(counter.kit.events.next_types().await, ["CustomerCreated"]);

    let other = counter.path("other.crt");
    std::fs::write(&other, cqm_testkit::Authority::new().pem()).unwrap();
    let refused =
        counter.import_with("customers", "customers.csv", &["--ca", &other.display().to_string()]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
}

#[tokio::test]
async fn customers_come_in_and_the_rejected_rows_lie_beside_the_file_with_their_reasons() {
    let mut counter = Counter::open().await;
    counter.write("customers.csv", CUSTOMERS);
    let rejected = counter.path("customers.csv.rejected.csv");
    let outcome = counter.import("customers", "customers.csv").await;
    assert_eq!(outcome.status.code(), Some(1), "a file that did not come in whole is no success");
    let told = |new, present| {
        format!(
            "{new} new, {present} already there, 2 rejected; the rejected rows and why: {}",
            rejected.display()
        )
    };
    assert_eq!(said(&outcome), told(2, 0));
    assert!(complained(&outcome).ends_with("cqm: 2 rows were rejected"), "{}", complained(&outcome));

    assert_eq!(counter.kit.events.next_types().await, ["CustomerCreated", "CustomerCreated"]);
    let known = customers(&counter).await;
    assert_eq!(known.len(), 2);
    let (li, smith) = (&known[0], &known[1]);
    assert_eq!((li.external_reference.as_str(), li.display_name.as_str()), ("crm/1", "Li Na"));
    assert_eq!((li.phones[0].number.as_str(), li.phones[0].primary), ("+8613800138000", true));
    assert_eq!((li.emails[0].address.as_str(), li.locale.as_str()), ("li.na@example.com", "zh-CN"));
    assert_eq!(
        (li.source_channel(), li.tags.as_slice()),
        (SourceChannel::Interview, &["b2c", "vip"].map(str::to_owned)[..])
    );
    assert_eq!(
        (smith.display_name.as_str(), smith.source_channel()),
        ("Smith, \"Jo\"", SourceChannel::Import)
    );

    let rows = counter.rows("customers.csv.rejected.csv");
    assert_eq!(
        rows[0],
        [
            "row",
            "reason",
            "display_name",
            "email",
            "external_reference",
            "locale",
            "phone",
            "source_channel",
            "tags"
        ]
    );
    assert_eq!(
        (rows[1][0].as_str(), &rows[1][2..]),
        ("2", &["Jean Dupont", "", "crm/2", "fr", "", "", ""].map(str::to_owned)[..])
    );
    assert!(rows[1][1].ends_with("[customer.locale FIELD_FORMAT]"), "the service's reason: {}", rows[1][1]);
    assert_eq!(
        (rows[2][0].as_str(), &rows[2][2..]),
        ("3", &["Ann Lee", "", "crm/3", "en", "", "pigeon", ""].map(str::to_owned)[..])
    );
    assert_eq!(rows[2][1], "source_channel pigeon is not known");
    assert_eq!(rows.len(), 3);

    // What is in is found again; nothing happens twice.
    assert_eq!(said(&counter.import("customers", "customers.csv").await), told(0, 2));
    assert_eq!(customers(&counter).await, known);
}

#[tokio::test]
async fn rejected_rows_are_corrected_where_they_lie_and_brought_in() {
    let mut counter = Counter::open().await;
    counter.write("customers.csv", CUSTOMERS);
    counter.import("customers", "customers.csv").await;
    counter.kit.events.next().await;

    let rejected = std::fs::read_to_string(counter.path("customers.csv.rejected.csv")).unwrap();
    counter.write("corrected.csv", &rejected.replace(",fr,", ",en,").replace(",pigeon,", ",interview,"));
    let outcome = counter.import("customers", "corrected.csv").await;
    assert!(outcome.status.success(), "{}", complained(&outcome));
    assert_eq!(said(&outcome), "2 new, 0 already there, 0 rejected");
    assert!(!counter.path("corrected.csv.rejected.csv").exists());
    assert_eq!(counter.kit.events.next().await.len(), 2);
    assert_eq!(customers(&counter).await.len(), 4);
}

#[tokio::test]
async fn purchases_come_in_to_the_cent_and_say_why_they_do_not() {
    let mut counter = Counter::open().await;
    counter.write("customers.csv", CUSTOMERS);
    counter.import("customers", "customers.csv").await;
    counter.kit.events.next().await;
    let li = customers(&counter).await.remove(0).name;

    counter.write("purchases.csv", PURCHASES);
    let outcome = counter.import("purchases", "purchases.csv").await;
    assert_eq!(outcome.status.code(), Some(1));
    assert!(said(&outcome).starts_with("2 new, 0 already there, 2 rejected; "), "{}", said(&outcome));

    assert_eq!(counter.kit.events.next_types().await, ["PurchaseRecorded", "PurchaseRecorded"]);
    let recorded = purchases(&counter, &li).await;
    let facts: Vec<_> = recorded
        .iter()
        .map(|purchase| {
            let amount = purchase.amount.clone().unwrap();
            let money = (amount.currency_code, amount.units, amount.nanos);
            let seconds = purchase.purchase_time.unwrap().seconds;
            (
                purchase.purchase_reference.as_str(),
                seconds,
                money,
                purchase.quantity,
                purchase.product.as_str(),
            )
        })
        .collect();
    assert_eq!(
        facts,
        [
            ("till/1", 1_768_356_000, ("USD".to_owned(), 29, 330_000_000), 2, "CD"),
            ("till/4", 1_768_388_400, ("CNY".to_owned(), 12, 0), 1, "a \"Best of\", signed"),
        ]
    );

    let rows = counter.rows("purchases.csv.rejected.csv");
    let reasons: Vec<_> = rows[1..].iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    assert_eq!(reasons.len(), 2);
    assert_eq!(reasons[0].0, "2");
    assert!(reasons[0].1.starts_with("NotFound CUSTOMER_NOT_FOUND"), "{}", reasons[0].1);
    assert_eq!(reasons[1].0, "3");
    assert!(reasons[1].1.starts_with("purchase_time is no RFC 3339 time"), "{}", reasons[1].1);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_said_plainly_and_changes_nothing() {
    let counter = Counter::open().await;
    let outcome = counter.import("customers", "nowhere.csv").await;
    assert_eq!(outcome.status.code(), Some(1));
    assert!(complained(&outcome).starts_with("cqm: cannot read "), "{}", complained(&outcome));

    counter.write("uneven.csv", "external_reference,display_name\ncrm/1,Li Na,and more\n");
    let outcome = counter.import("customers", "uneven.csv").await;
    assert_eq!(outcome.status.code(), Some(1));
    assert!(complained(&outcome).contains("uneven.csv is no CSV"), "{}", complained(&outcome));
    assert_eq!(counter.kit.count("customers").await, 0);
}
