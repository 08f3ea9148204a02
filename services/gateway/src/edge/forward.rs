//! Passing calls on: bytes and trailers in both directions, as they come, never decoded.

use std::sync::Arc;
use std::time::Duration;

use cqm_proto::policy;
use cqm_rpc::{BoxError, Call, Deadline, Error, metadata};
use cqm_runtime::channel::{Channel, ChannelConfig};
use cqm_runtime::pass::{Mint, Passes};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use tonic::body::Body;

use super::attempt::{Tried, attempt};
use super::discover::Whereabouts;
use super::metrics::Metrics;
use super::pods::Pods;
use super::quota::FORWARDED_FOR;
use super::repeat::{Budget, Repeater};
use crate::backend::{Backend, Channels};
use crate::config::TrafficConfig;

/// Every hop gives the next one a little less, so that the innermost deadline passes first and its answer still finds
/// somebody who waits.
const HOP: Duration = Duration::from_millis(10);

/// What the shards of a process share of forwarding.
#[derive(Clone)]
pub(super) struct Routes {
    whereabouts: Vec<Whereabouts>,
    budgets: Vec<Budget>,
    config: Arc<TrafficConfig>,
    mint: Mint,
    metrics: Metrics,
}

impl Routes {
    /// `whereabouts` in the order of [`Backend::ALL`].
    pub fn new(whereabouts: Vec<Whereabouts>, config: TrafficConfig, mint: Mint, metrics: Metrics) -> Self {
        let budgets = whereabouts.iter().map(|_| Budget::new(&config)).collect();
        Self { whereabouts, budgets, config: Arc::new(config), mint, metrics }
    }
}

/// The way of one shard to all services.
#[derive(Clone)]
pub(super) struct Forwarder {
    ways: [(Repeater, Passes); Backend::ALL.len()],
}

impl Forwarder {
    pub fn new(routes: &Routes) -> Result<Self, BoxError> {
        let mut ways = Vec::new();
        for (whereabouts, budget) in routes.whereabouts.iter().zip(&routes.budgets) {
            let pods = Pods::new(whereabouts.clone(), Arc::clone(&routes.config), routes.metrics.clone());
            let passes = routes.mint.for_service(pods.backend().name());
            ways.push((Repeater::new(pods, budget.clone(), routes.metrics.clone()), passes));
        }
        let ways = ways.try_into().map_err(|_| "a way to every service")?;
        Ok(Self { ways })
    }

    /// The same ways for what the gateway itself has to ask.
    pub fn channels(&self) -> Channels {
        let tries = ChannelConfig::default().tries;
        Channels::new(|backend| {
            let (way, passes) = &self.ways[backend as usize];
            Channel::over(way.pods().clone(), tries).with_passes(passes.clone())
        })
    }

    /// Sends the call to its service. The headers come as the gate left them.
    pub async fn forward(
        &self,
        backend: Backend,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        let call = request
            .extensions_mut()
            .remove::<Call>()
            .ok_or_else(|| Error::internal("the server stack put no call into the request"))?;
        // What the server's layers left there means nothing to the next hop.
        request.extensions_mut().clear();
        // Whom a proxy calls for is told to nobody behind the edge.
        request.headers_mut().remove(FORWARDED_FOR);
        stamp(request.headers_mut(), &call)?;
        let (way, passes) = &self.ways[backend as usize];
        passes.stamp(request.headers_mut(), &call.path, &call.caller).await?;
        let response = match policy::find(&call.path).filter(|policy| policy.retry_safe && !policy.streams) {
            Some(policy) => way.send(policy, &call, passes, request).await?,
            None => {
                let due = Some(call.deadline);
                attempt(way.pods(), request, &mut Tried::default(), due, false).await.into_answer()?
            }
        };
        passes.taken(response.headers())?;
        Ok(response)
    }
}

/// Writes in which trace the call is and how long its caller waits, over whatever stands there.
fn stamp(headers: &mut HeaderMap, call: &Call) -> Result<(), Error> {
    headers.insert(HeaderName::from_static(metadata::TRACEPARENT), once(&call.trace.to_string())?);
    // gRPC asks for it, and it may not be copied from hop to hop.
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    set_timeout(headers, call.deadline)
}

/// Writes how long the caller still waits; every try has less.
pub(super) fn set_timeout(headers: &mut HeaderMap, deadline: Deadline) -> Result<(), Error> {
    let value = once(&timeout(deadline.remaining().saturating_sub(HOP))?)?;
    headers.insert(HeaderName::from_static(metadata::TIMEOUT), value);
    Ok(())
}

/// A value that no other call has. "Sensitive" is how h2 is told to keep it out of the connection's table of headers,
/// where it would push out the pass and what else every call sends again.
fn once(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text).map_err(Error::internal)?;
    value.set_sensitive(true);
    Ok(value)
}

/// `grpc-timeout`: at most eight digits and a unit.
fn timeout(left: Duration) -> Result<String, Error> {
    match left.as_millis() {
        0 => Err(Error::DeadlinePassed),
        millis @ 1..=99_999_999 => Ok(format!("{millis}m")),
        millis => Ok(format!("{}S", (millis / 1000).min(99_999_999))),
    }
}

#[cfg(test)]
mod tests {
    use cqm_rpc::{Caller, Deadline, Role, TraceContext};

    use super::*;

    #[test]
    fn the_suites_word_stands_over_what_was_there() {
        let trace = TraceContext::fresh(true);
        let call = Call {
            caller: Caller { subject: "staff-7".into(), roles: vec![Role::Supervisor, Role::AfterSales] },
            deadline: Deadline::after(Duration::from_secs(2)),
            trace,
            path: "/x".into(),
            purpose: None,
        };
        let mut headers = HeaderMap::new();
        for name in [metadata::TRACEPARENT, metadata::TIMEOUT] {
            headers.append(name, HeaderValue::from_static("forged"));
            headers.append(name, HeaderValue::from_static("forged"));
        }
        stamp(&mut headers, &call).unwrap();
        let values =
            |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(values(metadata::TRACEPARENT), [trace.to_string()]);
        let millis: u64 = values(metadata::TIMEOUT)[0].trim_end_matches('m').parse().unwrap();
        assert!((1_000..=1_990).contains(&millis), "{millis}");
    }

    #[test]
    fn a_call_without_time_is_not_sent() {
        assert!(matches!(timeout(Duration::from_micros(999)), Err(Error::DeadlinePassed)));
        assert_eq!(timeout(Duration::from_secs(20)).unwrap(), "20000m");
        assert_eq!(timeout(Duration::from_secs(200_000)).unwrap(), "200000S");
    }

    #[test]
    fn every_service_has_its_own_way() {
        for (index, backend) in Backend::ALL.into_iter().enumerate() {
            assert_eq!(backend as usize, index);
        }
    }
}
