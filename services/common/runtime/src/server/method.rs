//! The methods that a process answers, with what the contract says about each.

use std::collections::HashMap;

use cqm_proto::policy::{self, MethodPolicy};
use cqm_rpc::BoxError;
use prost::Message;
use prost_types::FileDescriptorSet;

/// One method of the contract.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    pub policy: &'static MethodPolicy,
    /// `cqm.complaints.v1.ComplaintService`
    pub service: &'static str,
    /// `ResolveComplaint`
    pub name: &'static str,
    /// Either side sends more than one message.
    pub streams: bool,
    /// The answer is a stream, so that its status comes at its end.
    pub answers_in_stream: bool,
}

impl Method {
    /// `cqm.complaints.v1.ComplaintService/ResolveComplaint`
    pub fn permission(&self) -> &'static str {
        self.policy.path.trim_start_matches('/')
    }
}

/// Paths to methods.
#[derive(Debug)]
pub(super) struct Methods(HashMap<&'static str, Method>);

impl Methods {
    /// The methods of the named services. A service that the contract does not know has none.
    pub fn of(services: &[&'static str]) -> Result<Self, BoxError> {
        let set = FileDescriptorSet::decode(cqm_proto::FILE_DESCRIPTOR_SET)?;
        let mut streams = HashMap::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    streams.insert(path, (method.client_streaming(), method.server_streaming()));
                }
            }
        }
        let mut methods = HashMap::new();
        for policy in policy::all() {
            let (service, name) = split(policy.path).ok_or("a policy's path is no method's path")?;
            if !services.contains(&service) {
                continue;
            }
            let (asks, answers) =
                *streams.get(policy.path).ok_or("a policy without a method in the descriptors")?;
            methods.insert(
                policy.path,
                Method { policy, service, name, streams: asks || answers, answers_in_stream: answers },
            );
        }
        Ok(Self(methods))
    }

    pub fn find(&self, path: &str) -> Option<&Method> {
        self.0.get(path)
    }
}

/// Every service of the contract: what the edge answers for.
pub fn all_services() -> Vec<&'static str> {
    let mut services: Vec<_> =
        policy::all().iter().filter_map(|policy| split(policy.path)).map(|(service, _)| service).collect();
    services.sort_unstable();
    services.dedup();
    services
}

fn split(path: &'static str) -> Option<(&'static str, &'static str)> {
    path.strip_prefix('/')?.split_once('/')
}
