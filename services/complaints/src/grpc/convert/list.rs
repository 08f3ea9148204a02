//! Messages that ask for lists: filters, orders and page tokens.

use cqm_proto::complaints::v1 as wire;
use cqm_rpc::{Error, PageRequest, ResourceName, Violations, reason};
use uuid::Uuid;

use super::command::{COMPLETE, subject};
use crate::domain::{COLLECTION, Severity};
use crate::store::list::{Filter, Key, Order, Query};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    pub query: Query,
    pub page: PageRequest,
}

impl List {
    pub fn parse(message: &wire::ListComplaintsRequest) -> Result<Self, Error> {
        use wire::list_complaints_request::OrderBy;

        let mut violations = Violations::default();
        let customer =
            ResourceName::parse_optional("customers", "customer", &message.customer, &mut violations);
        let filter = Filter {
            customer: customer.map(|customer| customer.id()),
            state: violations.optional_choice("state", message.state),
            category: violations.optional_choice("category", message.category),
            severity: violations.optional_choice("severity", message.severity),
            assignee: Some(subject("assignee", &message.assignee, &mut violations))
                .filter(|assignee| !assignee.is_empty()),
        };
        let order = match violations.optional_choice("order_by", message.order_by) {
            None | Some(OrderBy::Unspecified | OrderBy::CreateTimeDesc) => Order::Newest,
            Some(OrderBy::CreateTimeAsc) => Order::Oldest,
            Some(OrderBy::SeverityDesc) => Order::MostSevere,
        };
        let shape = [
            "complaints".to_owned(),
            message.customer.clone(),
            message.state.to_string(),
            message.category.to_string(),
            message.severity.to_string(),
            message.assignee.clone(),
            format!("{order:?}"),
        ];
        let page = PageRequest::parse(
            message.page_size,
            &message.page_token,
            &shape.each_ref().map(String::as_str),
            &mut violations,
        );
        let after = page
            .after
            .as_deref()
            .and_then(|bytes| open_key(bytes, &mut violations));
        violations.finish()?;
        Ok(Self {
            query: Query {
                filter,
                order,
                after,
                limit: page.limit(),
            },
            page,
        })
    }

    /// The key of a row in a page token; the inverse of what `parse` reads.
    pub fn key(severity: Severity, id: Uuid) -> Vec<u8> {
        let mut bytes = severity.code().to_be_bytes().to_vec();
        bytes.extend_from_slice(id.as_bytes());
        bytes
    }
}

fn open_key(bytes: &[u8], violations: &mut Violations) -> Option<Key> {
    let key = bytes.split_first_chunk::<2>().and_then(|(severity, id)| {
        let severity = i32::from(i16::from_be_bytes(*severity)).try_into().ok()?;
        Some(Key {
            severity,
            id: Uuid::from_slice(id).ok()?,
        })
    });
    if key.is_none() {
        violations.add(
            "page_token",
            reason::PAGE_TOKEN_INVALID,
            "is not a token of this list",
        );
    }
    key
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTimeline {
    pub complaint: ResourceName,
    /// The version of the last entry of the page before; 0 = from the start.
    pub after: i64,
    pub page: PageRequest,
}

impl ListTimeline {
    pub fn parse(message: &wire::ListTimelineRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let complaint = ResourceName::parse(COLLECTION, "complaint", &message.complaint, &mut violations);
        let page = PageRequest::parse(
            message.page_size,
            &message.page_token,
            &["timeline", &message.complaint],
            &mut violations,
        );
        violations.finish()?;
        let after = page.after_number()?.unwrap_or(0);
        Ok(Self {
            complaint: complaint.expect(COMPLETE),
            after,
            page,
        })
    }
}

#[cfg(test)]
mod tests {
    use cqm_rpc::reason::{ENUM_UNKNOWN, FIELD_FORMAT, FIELD_RANGE, PAGE_TOKEN_INVALID};

    use super::super::command::tests::{CUSTOMER, NAME, expected, violations};
    use super::*;

    #[test]
    fn a_list_says_everything_that_is_wrong_with_its_filters() {
        let message = wire::ListComplaintsRequest {
            page_size: -1,
            page_token: "made up".to_owned(),
            customer: NAME.to_owned(),
            state: 9,
            category: 9,
            severity: 9,
            assignee: "Li Lei".to_owned(),
            order_by: 9,
        };
        assert_eq!(
            violations(List::parse(&message)),
            expected(&[
                ("customer", FIELD_FORMAT),
                ("state", ENUM_UNKNOWN),
                ("category", ENUM_UNKNOWN),
                ("severity", ENUM_UNKNOWN),
                ("assignee", FIELD_FORMAT),
                ("order_by", ENUM_UNKNOWN),
                ("page_size", FIELD_RANGE),
                ("page_token", PAGE_TOKEN_INVALID),
            ])
        );
    }

    #[test]
    fn a_page_token_leads_on_in_its_own_list_only() {
        let first = wire::ListComplaintsRequest {
            page_size: 1,
            ..Default::default()
        };
        let rows = [
            (Severity::High, Uuid::from_u128(9)),
            (Severity::Low, Uuid::from_u128(8)),
        ];
        let page = List::parse(&first)
            .unwrap()
            .page
            .page(rows.to_vec(), |(severity, id)| List::key(*severity, *id));
        let next = wire::ListComplaintsRequest {
            page_token: page.next_page_token,
            ..first
        };
        let query = List::parse(&next).unwrap().query;
        assert_eq!(
            query.after,
            Some(Key {
                severity: Severity::High,
                id: Uuid::from_u128(9)
            })
        );
        assert_eq!((query.limit, query.order), (2, Order::Newest));

        for other in [
            wire::ListComplaintsRequest {
                customer: CUSTOMER.to_owned(),
                ..next.clone()
            },
            wire::ListComplaintsRequest {
                state: 1,
                ..next.clone()
            },
            wire::ListComplaintsRequest {
                category: 1,
                ..next.clone()
            },
            wire::ListComplaintsRequest {
                severity: 1,
                ..next.clone()
            },
            wire::ListComplaintsRequest {
                assignee: "agent".to_owned(),
                ..next.clone()
            },
            wire::ListComplaintsRequest {
                order_by: 2,
                ..next.clone()
            },
        ] {
            assert_eq!(
                violations(List::parse(&other)),
                expected(&[("page_token", PAGE_TOKEN_INVALID)])
            );
        }
    }

    #[test]
    fn a_page_token_of_a_timeline_belongs_to_its_complaint() {
        let first = wire::ListTimelineRequest {
            complaint: NAME.to_owned(),
            page_size: 1,
            ..Default::default()
        };
        let page = ListTimeline::parse(&first)
            .unwrap()
            .page
            .page(vec![1_i64, 2], |version| version.to_be_bytes().to_vec());
        let next = wire::ListTimelineRequest {
            page_token: page.next_page_token,
            ..first
        };
        assert_eq!(ListTimeline::parse(&next).unwrap().after, 1);
        let other = wire::ListTimelineRequest {
            complaint: NAME.replace("8057", "8058"),
            ..next
        };
        assert_eq!(
            violations(ListTimeline::parse(&other)),
            expected(&[("page_token", PAGE_TOKEN_INVALID)])
        );
    }
}
