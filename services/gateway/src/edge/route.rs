//! Which service answers a call: the package in its path decides, and for what every service has the metadata.

use cqm_proto::audit::v1::audit_service_server::SERVICE_NAME as AUDIT;
use cqm_proto::events::v1::event_feed_server::SERVICE_NAME as EVENT_FEED;
use cqm_proto::subjects::v1::subject_service_server::SERVICE_NAME as SUBJECTS;
use cqm_rpc::{Error, Refusal, metadata};
use http::HeaderMap;

use crate::backend::Backend;
use crate::error::SOURCE_UNKNOWN;

const GATEWAY: &str = "cqm.gateway.v1";

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The gateway answers it itself.
    Here,
    To(Backend),
}

/// `path` is `/package.Service/Method`.
pub(super) fn route(path: &str, headers: &HeaderMap) -> Result<Route, Error> {
    let service = path.strip_prefix('/').and_then(|rest| rest.split_once('/')).map(|(service, _)| service);
    let service = service.ok_or(Error::Unimplemented)?;
    if [EVENT_FEED, AUDIT, SUBJECTS].contains(&service) {
        return source(headers).map(Route::To);
    }
    let (package, _) = service.rsplit_once('.').ok_or(Error::Unimplemented)?;
    if package == GATEWAY {
        return Ok(Route::Here);
    }
    Backend::from_package(package).map(Route::To).ok_or(Error::Unimplemented)
}

/// Every service has a feed and a log of releases of its own, and forgets persons, under the same name.
fn source(headers: &HeaderMap) -> Result<Backend, Error> {
    let name = headers.get(metadata::SOURCE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Backend::from_name(name)
        .ok_or_else(|| Error::Malformed(Refusal::new(SOURCE_UNKNOWN).fact("source", name)))
}

#[cfg(test)]
mod tests {
    use cqm_proto::policy;
    use http::HeaderValue;

    use super::*;

    #[test]
    fn every_method_of_the_contract_has_a_route() {
        let mut headers = HeaderMap::new();
        headers.insert(metadata::SOURCE, HeaderValue::from_static("loyalty"));
        for policy in policy::all() {
            let expected = match policy.path.trim_start_matches("/cqm.").split('.').next() {
                Some("complaints") => Route::To(Backend::Complaints),
                Some("customers") => Route::To(Backend::CustomerData),
                Some("audit" | "events" | "loyalty" | "subjects") => Route::To(Backend::Loyalty),
                Some("notifications") => Route::To(Backend::Notifications),
                Some("surveys") => Route::To(Backend::Surveys),
                _ => Route::Here,
            };
            assert_eq!(route(policy.path, &headers).unwrap(), expected, "{}", policy.path);
        }
    }

    #[test]
    fn a_feed_without_a_known_source_is_refused() {
        for name in ["", "customers", "Loyalty", "gateway"] {
            let mut headers = HeaderMap::new();
            headers.insert(metadata::SOURCE, HeaderValue::from_str(name).unwrap());
            for path in ["/cqm.events.v1.EventFeed/Read", "/cqm.audit.v1.AuditService/ListReleases"] {
                let error = route(path, &headers).unwrap_err();
                assert_eq!(error.reason(), SOURCE_UNKNOWN, "{name} {path}");
            }
        }
    }

    #[test]
    fn what_is_no_method_goes_nowhere() {
        for path in ["", "/", "/x", "/cqm.complaints.v2.ComplaintService/Get", "/complaints/Get", "//Get"] {
            assert!(matches!(route(path, &HeaderMap::new()), Err(Error::Unimplemented)), "{path}");
        }
    }
}
