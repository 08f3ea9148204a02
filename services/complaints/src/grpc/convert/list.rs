//! Messages that ask for lists: filters, orders and page tokens.

use cqm_proto::complaints::v1 as wire;
use cqm_rpc::{Error, PageRequest, ResourceName, Violations, time};

use super::command::{COMPLETE, subject};
use crate::domain::COLLECTION;
use crate::store::list::{Filter, Key, Order, Query};
use crate::store::timeline::Step;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    pub query: Query,
    pub page: PageRequest<Key>,
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
            open_only: message.open_only,
            due_before: time::optional("due_before", message.due_before.as_ref(), &mut violations),
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
            message.open_only.to_string(),
            filter.due_before.map(|time| time.timestamp_micros().to_string()).unwrap_or_default(),
            format!("{order:?}"),
        ];
        let page = PageRequest::parse(
            message.page_size,
            &message.page_token,
            &shape.each_ref().map(String::as_str),
            &mut violations,
        );
        violations.finish()?;
        Ok(Self { query: Query { filter, order, after: page.after, limit: page.limit() }, page })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTimeline {
    pub complaint: ResourceName,
    /// After the version of the page before's last entry.
    pub page: PageRequest<i64>,
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
        Ok(Self { complaint: complaint.expect(COMPLETE), page })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListCustomerTimeline {
    pub customer: ResourceName,
    pub page: PageRequest<Step>,
}

impl ListCustomerTimeline {
    pub fn parse(message: &wire::ListCustomerTimelineRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = ResourceName::parse("customers", "customer", &message.customer, &mut violations);
        let page = PageRequest::parse(
            message.page_size,
            &message.page_token,
            &["customer_timeline", &message.customer],
            &mut violations,
        );
        violations.finish()?;
        Ok(Self { customer: customer.expect(COMPLETE), page })
    }
}

#[cfg(test)]
mod tests {
    use cqm_rpc::reason::{ENUM_UNKNOWN, FIELD_FORMAT, FIELD_RANGE, PAGE_TOKEN_INVALID};

    use super::super::command::tests::{CUSTOMER, NAME, expected, violations};
    use uuid::Uuid;

    use super::*;
    use crate::domain::Severity;

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
            open_only: true,
            due_before: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
        };
        assert_eq!(
            violations(List::parse(&message)),
            expected(&[
                ("customer", FIELD_FORMAT),
                ("state", ENUM_UNKNOWN),
                ("category", ENUM_UNKNOWN),
                ("severity", ENUM_UNKNOWN),
                ("assignee", FIELD_FORMAT),
                ("due_before", FIELD_RANGE),
                ("order_by", ENUM_UNKNOWN),
                ("page_size", FIELD_RANGE),
                ("page_token", PAGE_TOKEN_INVALID),
            ])
        );
    }

    #[test]
    fn a_page_token_leads_on_in_its_own_list_only() {
        let first = wire::ListComplaintsRequest { page_size: 1, ..Default::default() };
        let rows = [(Severity::High, Uuid::from_u128(9)), (Severity::Low, Uuid::from_u128(8))];
        let page = List::parse(&first)
            .unwrap()
            .page
            .page(rows.to_vec(), |(severity, id)| Key { severity: *severity, id: *id });
        let next = wire::ListComplaintsRequest { page_token: page.next_page_token, ..first };
        let query = List::parse(&next).unwrap().query;
        assert_eq!(query.after, Some(Key { severity: Severity::High, id: Uuid::from_u128(9) }));
        assert_eq!((query.limit, query.order), (2, Order::Newest));

        for other in [
            wire::ListComplaintsRequest { customer: CUSTOMER.to_owned(), ..next.clone() },
            wire::ListComplaintsRequest { state: 1, ..next.clone() },
            wire::ListComplaintsRequest { category: 1, ..next.clone() },
            wire::ListComplaintsRequest { severity: 1, ..next.clone() },
            wire::ListComplaintsRequest { assignee: "agent".to_owned(), ..next.clone() },
            wire::ListComplaintsRequest { order_by: 2, ..next.clone() },
            wire::ListComplaintsRequest { open_only: true, ..next.clone() },
            wire::ListComplaintsRequest {
                due_before: Some(prost_types::Timestamp::default()),
                ..next.clone()
            },
        ] {
            assert_eq!(violations(List::parse(&other)), expected(&[("page_token", PAGE_TOKEN_INVALID)]));
        }
    }

    #[test]
    fn a_page_token_of_a_timeline_belongs_to_its_complaint() {
        let first =
            wire::ListTimelineRequest { complaint: NAME.to_owned(), page_size: 1, ..Default::default() };
        let page = ListTimeline::parse(&first).unwrap().page.page(vec![1, 2], |version| *version);
        let next = wire::ListTimelineRequest { page_token: page.next_page_token, ..first };
        assert_eq!(ListTimeline::parse(&next).unwrap().page.after, Some(1));
        let other = wire::ListTimelineRequest { complaint: NAME.replace("8057", "8058"), ..next };
        assert_eq!(violations(ListTimeline::parse(&other)), expected(&[("page_token", PAGE_TOKEN_INVALID)]));
    }
}
