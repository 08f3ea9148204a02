//! The way to a gateway, with a token on every call.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use cqm_rpc::{Role, role_name};
use cqm_runtime::channel;
use cqm_runtime::tls::ClientTls;
use http::Uri;
use hyper_util::rt::TokioIo;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tower::service_fn;

use crate::token::Signer;

/// Longer than any command here runs, shorter than a leaked token should live.
const TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);

/// A channel whose calls carry a token.
pub type Client = InterceptedService<Channel, Bearer>;

/// One gateway, and the key for tokens that it accepts.
pub struct Target {
    channel: Channel,
    signer: Signer,
    role: Role,
}

#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl Target {
    /// Connects when the first call is made, so that a suite which is starting is waited for there. `address` is
    /// `host:port` or a URL; with `https`, or with `tls`, the connection is secured.
    pub fn new(address: &str, tls: Option<ClientTls>, key: &Path, role: Role) -> Result<Self> {
        let no_address = || format!("{address} is no address: host:port or https://host:port");
        let (secured, host) = match address.split_once("://") {
            Some(("https", host)) => (true, host),
            Some(("http", host)) => (false, host),
            Some(_) => return Err(anyhow!(no_address())),
            None => (tls.is_some(), address),
        };
        let tls = secured.then(|| tls.unwrap_or_default());
        if let Some(tls) = &tls {
            tls.open().map_err(|error| anyhow!("TLS: {error}"))?;
        }
        let scheme = if secured { "https" } else { "http" };
        let origin: Uri = format!("{scheme}://{host}").parse().with_context(no_address)?;
        let authority = origin.authority().filter(|it| it.port().is_some()).with_context(no_address)?.clone();
        // tonic's own TLS is another one; what it is told is where we connect to, and who we say that we call.
        let endpoint = Endpoint::from_shared(format!("http://{host}"))
            .with_context(no_address)?
            .origin(origin)
            .connect_timeout(Duration::from_secs(2));
        let dial = service_fn(move |_: Uri| {
            let (authority, tls) = (authority.clone(), tls.clone());
            async move { channel::dial(&authority, tls.as_ref()).await.map(TokioIo::new) }
        });
        Ok(Self { channel: endpoint.connect_with_connector_lazy(dial), signer: Signer::read(key)?, role })
    }

    /// A client in the role of the command line.
    pub fn client(&self) -> Result<Client> {
        self.client_as(self.role)
    }

    pub fn client_as(&self, role: Role) -> Result<Client> {
        let token = self.signer.sign(role_name(role), &[role], TOKEN_LIFE)?;
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {token}").parse().context("a token is ASCII")?;
        value.set_sensitive(true);
        Ok(InterceptedService::new(self.channel.clone(), Bearer(value)))
    }

    /// A client without credentials: what a customer with a link has.
    pub fn anonymous(&self) -> Channel {
        self.channel.clone()
    }
}
