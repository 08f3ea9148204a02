//! The way to a gateway, with a token on every call.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use cqm_rpc::{Role, role_name};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

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
    /// Connects when the first call is made, so that a suite which is starting is waited for there.
    pub fn new(address: &str, key: &Path, role: Role) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .with_context(|| format!("{address} is no address"))?
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true);
        Ok(Self { channel: endpoint.connect_lazy(), signer: Signer::read(key)?, role })
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
