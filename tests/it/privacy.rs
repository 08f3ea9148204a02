//! A planted person: name, phone and e-mail stand in the databases' own tables and in the messages to that
//! person, and nowhere else in clear.

use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::{CreateCustomerRequest, Customer, Email, GetCustomerRequest, Phone};
use cqm_tests::customer::{Callers, Person, live};
use cqm_tests::{Bearer, Cluster, Collector, SERVICES, channel, settled};

/// Everything that Redis holds, as raw bytes seen as text.
pub(crate) async fn redis_content(url: &str) -> String {
    let client = redis::Client::open(url).unwrap();
    let mut line = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut line).await.unwrap();
    let mut content = String::new();
    for key in &keys {
        let value: Option<Vec<u8>> = redis::cmd("GET").arg(key).query_async(&mut line).await.unwrap();
        content.push_str(&format!("{key} {}\n", String::from_utf8_lossy(&value.unwrap_or_default())));
    }
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_person_is_found_nowhere_in_clear() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let telemetry = format!(
        "[telemetry]\nfilter = \"debug,h2=info,hyper=info\"\nsample = 1.0\nmetrics_interval = \"1s\"\notlp_endpoint = \"{endpoint}\"\n"
    );
    let cluster = Cluster::start_with(&telemetry);
    let callers = Callers {
        staff: Bearer::caller(cluster.address(), &cluster.token("service_manager")),
        internal: Bearer::caller(cluster.address(), &cluster.token("internal_service")),
        stranger: channel(cluster.address()),
    };
    let person = Person {
        name: "Quirinius Plantagenet".to_owned(),
        email: "quirinius.planted@example.com".to_owned(),
        phone: "+8613911122233".to_owned(),
    };
    let planted = ["Quirinius", "Plantagenet", "quirinius.planted", "13911122233"];
    let life = live(&callers, &person, true).await;
    settled(&callers.staff).await;

    // Read until Redis has it: a shard connects at its first read, and what was read before stays in the process
    // for a while. And refused with every datum in a wrong place.
    let mut customers = CustomerServiceClient::new(callers.staff.clone());
    let mut shown = String::new();
    let customer_id = life.customer.trim_start_matches("customers/");
    let started = std::time::Instant::now();
    let mut redis = loop {
        let request = GetCustomerRequest { name: life.customer.clone(), ..Default::default() };
        let customer = customers.get_customer(request).await.unwrap().into_inner();
        assert_eq!(customer.display_name, person.name);
        shown.push_str(&format!("{customer:?}"));
        let content = redis_content(&cluster.redis.url()).await;
        if content.lines().any(|line| line.contains(customer_id) && !line.contains("TOMBSTONE")) {
            break content;
        }
        assert!(
            started.elapsed() < std::time::Duration::from_secs(30),
            "the customer is not cached in Redis"
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let wrong = [
        Customer { display_name: person.name.clone(), locale: person.email.clone(), ..Customer::default() },
        Customer {
            display_name: person.name.clone(),
            phones: vec![Phone { number: format!("{}x", person.phone), ..Phone::default() }],
            emails: vec![Email { address: format!("{}@", person.email), ..Email::default() }],
            ..Customer::default()
        },
        Customer {
            display_name: format!("{}\0", person.name),
            external_reference: person.email.repeat(40),
            ..Customer::default()
        },
    ];
    for customer in wrong {
        let request = CreateCustomerRequest { customer: Some(customer), ..Default::default() };
        let status = customers.create_customer(request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
        shown.push_str(&format!("{} {}", status.message(), String::from_utf8_lossy(status.details())));
    }
    let request = GetCustomerRequest { name: person.email.clone(), ..Default::default() };
    let status = customers.get_customer(request).await.unwrap_err();
    shown.push_str(&format!("{} {}", status.message(), String::from_utf8_lossy(status.details())));

    // The collector gets spans and metrics a moment later.
    let started = std::time::Instant::now();
    let spans =
        ["CreateCustomer", "GetCustomer", "RegisterComplaint", "SendMessage", "PutContact", "SubmitResponse"];
    let told = |collector: &Collector| {
        let (traces, metrics) = (collector.traces(), collector.metrics());
        // How far the coordinator is behind, of every source.
        let lag =
            SERVICES.iter().all(|(service, _)| metrics.contains(&format!("StringValue(\"{service}\")")))
                && metrics.contains("cqm.coordinator.lag");
        lag && metrics.contains("rpc.server") && spans.iter().all(|span| traces.contains(span))
    };
    while !told(&collector) {
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "not every call is traced");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let mut events = String::new();
    for (_, database) in SERVICES {
        for table in ["event_log", "event_pending", "event_parked"] {
            let sql = format!(
                "SELECT t::text, convert_from(decode(regexp_replace(encode(coalesce(payload, ''), 'hex'), '00', '20', 'g'), 'hex'), 'LATIN1') FROM {table} t"
            );
            let sql = if table == "event_parked" { format!("SELECT t::text FROM {table} t") } else { sql };
            events.push_str(&cluster.postgres.sql(database, &sql));
        }
    }
    assert!(
        events.contains("ComplaintRegistered") && events.contains("CustomerCreated"),
        "the events were read"
    );
    redis.push_str(&redis_content(&cluster.redis.url()).await);
    let logs = cluster.logs();
    assert!(logs.contains("complaint"), "the logs were read");
    // The planted person is where it belongs: the search itself works.
    let mails: String = std::fs::read_dir(cluster.mailbox())
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default())
        .collect();
    assert!(mails.contains("quirinius.planted"), "the mail has its recipient");

    let traces = collector.traces();
    let metrics = collector.metrics();
    for (place, content) in [
        ("a log", &logs),
        ("a trace", &traces),
        ("a metric", &metrics),
        ("an event", &events),
        ("Redis", &redis),
        ("an error or a printed message", &shown),
    ] {
        for datum in planted {
            if let Some(at) = content.find(datum) {
                let from = content.floor_char_boundary(at.saturating_sub(200));
                let to = content.ceil_char_boundary((at + 100).min(content.len()));
                panic!("{datum} stands in {place}: …{}…", &content[from..to]);
            }
        }
    }
}
