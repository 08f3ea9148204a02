//! The edge and its services by TLS: what is forwarded, what the edge reads itself, and what the coordinator sends.

use std::fs;
use std::path::PathBuf;

use cqm_gateway::backend::{Backend, Backends};
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::{Customer, GetCustomerRequest};
use cqm_proto::events::v1::ComplaintResolved;
use cqm_proto::gateway::v1::ListSourcesRequest;
use cqm_proto::gateway::v1::coordinator_service_client::CoordinatorServiceClient;
use cqm_rpc::Role;
use cqm_runtime::channel::{self, ChannelConfig};
use cqm_runtime::server::ServerConfig;
use cqm_runtime::tls::{ClientTlsConfig, ServerTlsConfig};
use cqm_testkit::Authority;
use tempfile::TempDir;
use tonic::Code;

use crate::coordinator::Scene;
use crate::desk::{self, Desk};
use crate::wire::{Edge, refused};

const HOST: &str = "127.0.0.1";

/// An authority, and one certificate for whoever is at this address.
struct Office(TempDir);

impl Office {
    fn open() -> Self {
        let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
        let (certificate, key) = authority.papers_for(HOST);
        for (name, text) in [("ca.crt", authority.pem()), ("tls.crt", certificate), ("tls.key", key)] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.0.path().join(name))
    }

    fn mutual(&self) -> ServerConfig {
        let tls = ServerTlsConfig {
            certificate: self.path("tls.crt"),
            key: self.path("tls.key"),
            client_ca: self.path("ca.crt"),
            ..ServerTlsConfig::default()
        };
        ServerConfig { plaintext: false, tls, ..desk::config() }
    }

    /// Believes the authority and shows nothing.
    fn stranger(&self) -> ClientTlsConfig {
        ClientTlsConfig { ca: self.path("ca.crt"), ..ClientTlsConfig::default() }
    }

    fn colleague(&self) -> ClientTlsConfig {
        ClientTlsConfig {
            ca: self.path("ca.crt"),
            certificate: self.path("tls.crt"),
            key: self.path("tls.key"),
            ..ClientTlsConfig::default()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_called_by_mutual_tls_when_their_addresses_say_https() {
    let (office, desk) = (Office::open(), Desk::default());
    let served = desk::serve(office.mutual(), desk.clone()).await;
    desk.on("GetCustomer", |_| Ok(Customer { name: "customers/1".into(), ..Default::default() }));
    let url = format!("https://{}", served.running.address());
    let at =
        |url: &str, tls: ClientTlsConfig| Backends { tls: tls.into(), ..Backends::at(|_| url.to_owned()) };
    let get = GetCustomerRequest { name: "customers/1".into(), ..Default::default() };

    let edge = Edge::before(at(&url, office.colleague())).await;
    let mut customers = CustomerServiceClient::new(edge.channel().await);
    customers.get_customer(edge.request(Role::Supervisor, get.clone())).await.unwrap();
    // What the gateway asks by its own channels, too: the desk knows no such method, which is an answer.
    let mut sources = CoordinatorServiceClient::new(edge.channel().await);
    let asked = edge.request(Role::Supervisor, ListSourcesRequest::default());
    let answer = sources.list_sources(asked).await.unwrap().into_inner();
    let unreachable = |reason: &str| reason == "UNREACHABLE" || reason == "UNAVAILABLE";
    assert!(
        answer.sources.iter().all(|source| source.status.as_ref().is_some_and(|it| !unreachable(&it.reason))),
        "{answer:?}"
    );

    for tls in [Office::open().colleague(), office.stranger()] {
        let edge = Edge::before(at(&url, tls)).await;
        let mut customers = CustomerServiceClient::new(edge.channel().await);
        let (code, reason) =
            refused(customers.get_customer(edge.request(Role::Supervisor, get.clone())).await);
        assert_eq!((code, reason.as_str()), (Code::Unavailable, "UNREACHABLE"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_reads_events_and_commands_services_by_mutual_tls() {
    let office = Office::open();
    let scene = Scene::secured(Backend::Complaints, &office.mutual(), office.colleague()).await;
    // Whoever shows nothing is not let in there.
    let config = ChannelConfig { tls: office.stranger().into(), tries: 1, ..ChannelConfig::default() };
    let stranger = channel::connect(&scene.url(Backend::Complaints), &config).unwrap();
    let asked = CustomerServiceClient::new(stranger).get_customer(GetCustomerRequest::default()).await;
    assert_eq!(refused(asked), (Code::Unavailable, "UNREACHABLE".to_owned()));

    let coordinator = scene.coordinator();
    let resolved = ComplaintResolved {
        complaint: "complaints/1".into(),
        reference: "C-1".into(),
        customer: "customers/1".into(),
        resolution_version: 2,
        compensation_points: 100,
    };
    scene.source.happened("complaints/1", 7, &resolved).await;
    scene.through().await;
    coordinator.stop().await;
    let methods: Vec<String> = scene.desk.all().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["SendMessage", "CreateInvitation", "EarnPoints"]);
}
