//! TLS on listeners and channels: who is let in, who is believed, and certificates that change while a process runs.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cqm_proto::customers::v1::GetCustomerRequest;
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_rpc::{Call, Clock, Deadline, Role, TraceContext};
use cqm_runtime::channel::{self, Channel, ChannelConfig};
use cqm_runtime::process::Admin;
use cqm_runtime::server::{Health, LIVENESS, Options, ServerConfig, Shape, bind};
use cqm_runtime::tasks::detached;
use cqm_runtime::telemetry::TelemetryConfig;
use cqm_runtime::tls::{ClientTls, ClientTlsConfig, ServerTlsConfig};
use cqm_testkit::{Authority, eventually, until};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::desk::{NAME, PATIENCE, Served, config, gate, get, refused, serve_desk, staff};

const HOST: &str = "127.0.0.1";

/// Files as a process has them, and the authority that vouches for what is in them.
struct Office {
    authority: Authority,
    folder: TempDir,
}

impl Office {
    fn open() -> Self {
        let office = Self { authority: Authority::new(), folder: TempDir::new().unwrap() };
        fs::write(office.path("ca.crt"), office.authority.pem()).unwrap();
        office.issue(office.folder.path());
        office
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new certificate and its key in this folder.
    fn issue(&self, folder: &Path) -> CertificateDer<'static> {
        let (certificate, key) = self.authority.papers_for(HOST);
        fs::write(folder.join("tls.crt"), &certificate).unwrap();
        fs::write(folder.join("tls.key"), key).unwrap();
        CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
    }

    fn server(&self) -> ServerConfig {
        self.server_in(self.folder.path())
    }

    fn server_in(&self, folder: &Path) -> ServerConfig {
        let tls = ServerTlsConfig {
            certificate: Some(folder.join("tls.crt")),
            key: Some(folder.join("tls.key")),
            client_ca: None,
            reload: Duration::from_millis(20),
        };
        ServerConfig { plaintext: false, tls, ..config(Shape::PerCore) }
    }

    fn mutual(&self) -> ServerConfig {
        let mut server = self.server();
        server.tls.client_ca = Some(self.path("ca.crt"));
        server
    }

    /// Believes the authority and shows nothing.
    fn stranger(&self) -> ClientTlsConfig {
        ClientTlsConfig { ca: Some(self.path("ca.crt")), ..ClientTlsConfig::default() }
    }

    fn colleague(&self) -> ClientTlsConfig {
        ClientTlsConfig {
            certificate: Some(self.path("tls.crt")),
            key: Some(self.path("tls.key")),
            ..self.stranger()
        }
    }
}

fn customers(url: String, tls: impl Into<ClientTls>) -> CustomerServiceClient<Channel> {
    // One try: what is refused is told at once.
    let config = ChannelConfig { tls: tls.into(), tries: 1, ..ChannelConfig::default() };
    let passes = cqm_testkit::mint(Clock::system()).for_service(NAME);
    CustomerServiceClient::new(channel::connect(&url, &config).unwrap().with_passes(passes))
}

/// A service manager's call.
fn asking() -> Request<GetCustomerRequest> {
    let call = Call {
        caller: staff(&[Role::ServiceManager]),
        deadline: Deadline::after(PATIENCE),
        trace: TraceContext::fresh(false),
        path: "/test".into(),
        purpose: None,
    };
    channel::request(&call, get("known"))
}

async fn call(served: &Served, tls: impl Into<ClientTls>) -> Result<(), Status> {
    let mut client = customers(format!("https://{}", served.running.address()), tls);
    client.get_customer(asking()).await.map(|_| ())
}

/// Shakes hands as a client that offers these protocols, and sees the certificate.
async fn shake(office: &Office, address: SocketAddr, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(office.authority.pem().as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let socket = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(HOST).unwrap(), socket).await
}

/// The certificate that a new connection is shown.
async fn shown(office: &Office, served: &Served) -> CertificateDer<'static> {
    let stream = shake(office, served.running.address(), &["h2"]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn a_listener_with_a_certificate_answers_by_tls_and_nothing_in_plaintext() {
    let office = Office::open();
    for shape in [Shape::PerCore, Shape::MultiThread] {
        let served = serve_desk(ServerConfig { shape, ..office.server() }).await;
        call(&served, office.stranger()).await.unwrap();

        let plain = customers(format!("http://{}", served.running.address()), ClientTlsConfig::default());
        let (code, reason) = refused(plain.clone().get_customer(asking()).await);
        assert_eq!((code, reason.as_str()), (Code::Unavailable, "UNREACHABLE"));
    }
}

#[tokio::test]
async fn a_server_is_believed_by_its_authority_and_its_name() {
    let (office, other) = (Office::open(), Office::open());
    let served = serve_desk(office.server()).await;
    call(&served, other.stranger()).await.expect_err("another authority");

    let url = format!("https://localhost:{}", served.running.address().port());
    let mut misled = customers(url, office.stranger());
    misled.get_customer(asking()).await.expect_err("a certificate for another name");
    call(&served, office.stranger()).await.unwrap();
}

#[tokio::test]
async fn with_mutual_tls_only_whom_the_authority_vouches_for_is_let_in() {
    let (office, other) = (Office::open(), Office::open());
    let served = serve_desk(office.mutual()).await;
    call(&served, office.colleague()).await.unwrap();
    call(&served, office.stranger()).await.expect_err("no certificate");
    let impostor = ClientTlsConfig { ca: Some(office.path("ca.crt")), ..other.colleague() };
    call(&served, impostor).await.expect_err("a certificate of another authority");
}

#[tokio::test]
async fn whoever_does_not_ask_for_http_2_is_not_let_in() {
    let office = Office::open();
    let served = serve_desk(office.server()).await;
    let address = served.running.address();
    shake(&office, address, &["http/1.1"]).await.expect_err("the server offers h2 alone");
    shake(&office, address, &["http/1.1", "h2"]).await.unwrap();

    // Who offers nothing shakes hands, and then hears nothing.
    if let Ok(mut stream) = shake(&office, address, &[]).await {
        let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let mut heard = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("it ends");
        assert_eq!(heard, b"");
    }
}

/// As Kubernetes mounts a Secret: the files are links into `..data`, which is a link to the newest version.
#[tokio::test]
async fn a_certificate_that_is_swapped_like_a_mounted_secret_is_shown_without_a_restart() {
    let office = Office::open();
    let mount = office.path("mount");
    fs::create_dir_all(mount.join("version-1")).unwrap();
    fs::create_dir_all(mount.join("version-2")).unwrap();
    let first = office.issue(&mount.join("version-1"));
    let second = office.issue(&mount.join("version-2"));
    symlink("version-1", mount.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), mount.join(file)).unwrap();
    }
    let served = serve_desk(office.server_in(&mount)).await;
    assert_eq!(shown(&office, &served).await, first);
    let mut open = customers(format!("https://{}", served.running.address()), office.stranger());
    open.get_customer(asking()).await.unwrap();

    symlink("version-2", mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    eventually("the second certificate", async || shown(&office, &served).await == second).await;
    open.get_customer(asking()).await.expect("an open connection stays");
}

#[tokio::test]
async fn a_certificate_that_is_written_half_leaves_the_one_before_and_is_logged() {
    let office = Office::open();
    let served = serve_desk(office.server()).await;
    let first = shown(&office, &served).await;
    let good = fs::read(office.path("tls.crt")).unwrap();
    let about = office.folder.path().display().to_string();
    let complaints = || {
        let lines = crate::telemetry::log();
        lines.iter().filter(|line| line.contains("stays in use") && line.contains(&about)).count()
    };

    fs::write(office.path("tls.crt"), &good[..good.len() / 2]).unwrap();
    until("a line about the half", async || (complaints() == 1).then_some(())).await;
    assert_eq!(shown(&office, &served).await, first);

    // A key that is not the certificate's.
    fs::write(office.path("tls.crt"), &good).unwrap();
    fs::write(office.path("tls.key"), office.authority.papers_for(HOST).1).unwrap();
    until("a line about the key", async || (complaints() >= 2).then_some(())).await;
    assert_eq!(shown(&office, &served).await, first);

    // No file at all, and then all is well again.
    fs::remove_file(office.path("tls.key")).unwrap();
    until("a line about the absence", async || (complaints() >= 3).then_some(())).await;
    let second = office.issue(office.folder.path());
    eventually("the second certificate", async || shown(&office, &served).await == second).await;
}

#[tokio::test]
async fn a_callers_own_certificate_is_read_again_too() {
    let office = Office::open();
    let served = serve_desk(office.mutual()).await;
    let (certificate, key) = Authority::new().papers_for(HOST);
    let good = (fs::read(office.path("tls.crt")).unwrap(), fs::read(office.path("tls.key")).unwrap());
    let write = |certificate: &[u8], key: &[u8]| {
        fs::write(office.path("me.crt"), certificate).unwrap();
        fs::write(office.path("me.key"), key).unwrap();
    };
    write(certificate.as_bytes(), key.as_bytes());
    let mut client = customers(
        format!("https://{}", served.running.address()),
        ClientTlsConfig {
            certificate: Some(office.path("me.crt")),
            key: Some(office.path("me.key")),
            reload: Duration::from_millis(20),
            ..office.stranger()
        },
    );
    client.get_customer(asking()).await.expect_err("the authority is another");
    write(&good.0, &good.1);
    eventually("an answer", async || client.get_customer(asking()).await.is_ok()).await;
}

/// Calls over the one connection that `client` has, one after the other; none may fail. Counts them when it is stopped.
fn busy(mut client: CustomerServiceClient<Channel>, stop: &CancellationToken) -> JoinHandle<usize> {
    let stop = stop.clone();
    detached(async move {
        let mut answered = 0;
        while !stop.is_cancelled() {
            client.get_customer(asking()).await.expect("an open connection stays");
            answered += 1;
        }
        answered
    })
}

#[tokio::test]
async fn the_authority_of_callers_is_exchanged_while_calls_go_on() {
    let (office, other) = (Office::open(), Office::open());
    let callers = office.path("callers.crt");
    let believe = |authorities: &[&Office]| {
        let pem: String = authorities.iter().map(|office| office.authority.pem()).collect();
        fs::write(&callers, pem).unwrap();
    };
    believe(&[&office]);
    let mut server = office.server();
    server.tls.client_ca = Some(callers.clone());
    let served = serve_desk(server).await;
    let newcomer = || ClientTlsConfig { ca: Some(office.path("ca.crt")), ..other.colleague() };
    let mut open = customers(format!("https://{}", served.running.address()), office.colleague());
    open.get_customer(asking()).await.unwrap();
    let stop = CancellationToken::new();
    let busy = busy(open, &stop);
    call(&served, newcomer()).await.expect_err("nobody vouches for it yet");

    // Both for a time, as it is done.
    believe(&[&office, &other]);
    eventually("the newcomer is let in", async || call(&served, newcomer()).await.is_ok()).await;
    call(&served, office.colleague()).await.unwrap();

    believe(&[&other]);
    eventually("the old one is kept out", async || call(&served, office.colleague()).await.is_err()).await;
    call(&served, newcomer()).await.unwrap();
    stop.cancel();
    assert!(busy.await.unwrap() > 0);
}

#[tokio::test]
async fn the_authority_that_channels_believe_is_exchanged_while_calls_go_on() {
    let (office, other) = (Office::open(), Office::open());
    let (here, there) = (serve_desk(office.server()).await, serve_desk(other.server()).await);
    let believed = office.path("believed.crt");
    fs::write(&believed, office.authority.pem()).unwrap();
    let tls = ClientTls::from(ClientTlsConfig {
        ca: Some(believed.clone()),
        reload: Duration::from_millis(20),
        ..ClientTlsConfig::default()
    });
    let mut open = customers(format!("https://{}", here.running.address()), tls.clone());
    open.get_customer(asking()).await.unwrap();
    let stop = CancellationToken::new();
    let busy = busy(open, &stop);
    call(&there, tls.clone()).await.expect_err("another authority");

    fs::write(&believed, other.authority.pem()).unwrap();
    eventually("the other is believed", async || call(&there, tls.clone()).await.is_ok()).await;
    call(&here, tls.clone()).await.expect_err("the authority before");
    stop.cancel();
    assert!(busy.await.unwrap() > 0);
}

#[tokio::test]
async fn the_admin_port_speaks_tls_alone_when_it_has_a_certificate() {
    let office = Office::open();
    let config = TelemetryConfig {
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        listen_tls: office.server().tls,
        ..TelemetryConfig::default()
    };
    let admin = Admin::open(&config, &Health::new(&[])).await.unwrap().expect("it is configured");
    for protocols in [&["http/1.1"][..], &[]] {
        let mut stream = shake(&office, admin.address(), protocols).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nhost: cqm\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        assert!(heard.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&heard));
    }
    let by_tls = ChannelConfig { tls: office.stranger().into(), ..ChannelConfig::default() };
    let channel = channel::connect(&format!("https://{}", admin.address()), &by_tls).unwrap();
    let request = HealthCheckRequest { service: LIVENESS.to_owned() };
    let answer = HealthClient::new(channel).check(request).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);

    let mut plain = TcpStream::connect(admin.address()).await.unwrap();
    plain.write_all(b"GET /metrics HTTP/1.1\r\nhost: cqm\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut heard)).await.expect("it ends");
    assert!(!heard.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&heard));
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_ends_in_time_and_keeps_nobody_out() {
    let office = Office::open();
    let config = ServerConfig { handshake_timeout: Duration::from_secs(1), shards: 1, ..office.server() };
    let served = serve_desk(config).await;
    // As a client hello begins; the rest never comes.
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut socket = TcpStream::connect(served.running.address()).await.unwrap();
        socket.write_all(b"\x16\x03\x01").await.unwrap();
        slow.push(socket);
    }
    call(&served, office.stranger()).await.unwrap();
    for mut socket in slow {
        let mut heard = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut heard)).await.expect("it ends");
    }
}

#[tokio::test]
async fn without_a_certificate_and_without_the_word_plaintext_nothing_is_served() {
    let config = ServerConfig { plaintext: false, ..config(Shape::MultiThread) };
    let started = bind(&config)
        .unwrap()
        .serve(Options::new(Health::new(&[])), gate(NAME), |_| Ok(Routes::default()))
        .await;
    assert!(started.unwrap_err().to_string().contains("server.plaintext"));

    let office = Office::open();
    fs::write(office.path("tls.key"), "nothing").unwrap();
    let started = bind(&office.server())
        .unwrap()
        .serve(Options::new(Health::new(&[])), gate(NAME), |_| Ok(Routes::default()))
        .await;
    let told = started.unwrap_err().to_string();
    assert!(told.contains("tls.key") && !told.contains("nothing"), "{told}");
}

#[tokio::test]
async fn the_time_until_a_certificate_ends_is_a_metric() {
    let office = Office::open();
    let _served = serve_desk(office.server()).await;
    // rcgen's certificates hold until the year 4096.
    let left = until("the metric", async || crate::telemetry::gauge("cqm.tls.certificate.expiry")).await;
    assert!(left > 1000.0 * 365.0 * 24.0 * 3600.0, "{left}");
}
