//! All that happened with a customer, page by page: the lists of all services, merged by time.
//!
//! Nothing is kept between two pages: a page token holds, for each list, the page of it that the next item stands on and
//! the last item that was told of that page. Every service pages by key, so that what is written while somebody reads
//! neither hides an item nor tells one twice.

mod source;
mod strand;

use cqm_proto::gateway::v1::{
    ListCustomerTimelineRequest, ListCustomerTimelineResponse, TimelineItem, TimelineSource,
};
use cqm_rpc::{Call, Error, PageKey, PageRequest, ResourceName, Violations};
use futures::future::join_all;
use prost::Message;

use super::read::Readers;
use super::section;
use crate::error::{CUSTOMER_NOT_FOUND, SOURCE_UNAVAILABLE, merged};
use source::{Lists, Source};
use strand::{Gone, Place, Strand};

/// Where the next page begins, in each list.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Places {
    #[prost(message, repeated, tag = "1")]
    places: Vec<Place>,
}

impl Places {
    fn start() -> Self {
        Self { places: vec![Place::default(); Source::ALL.len()] }
    }
}

impl PageKey for Places {
    fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// A token of a version that merges other lists is none of this one.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes).ok().filter(|places| places.places.len() == Source::ALL.len())
    }
}

/// What is asked for.
#[derive(Debug)]
pub(super) struct Query {
    pub customer: ResourceName,
    page: PageRequest<Places>,
}

impl Query {
    pub fn parse(message: &ListCustomerTimelineRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = ResourceName::parse("customers", "customer", &message.customer, &mut violations);
        let query = ["timeline", &message.customer];
        let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
        violations.finish()?;
        let customer = customer.ok_or_else(|| Error::internal("a name without a violation is a name"))?;
        Ok(Self { customer, page })
    }
}

/// Reads one page, within the call's time.
pub(super) async fn page(
    readers: &Readers,
    call: &Call,
    query: &Query,
) -> Result<ListCustomerTimelineResponse, Error> {
    let customer = query.customer.to_string();
    let size = query.page.size;
    let lists = Lists { readers, call, customer: &customer, size };
    let places = query.page.after.clone().unwrap_or_else(Places::start);
    let opened =
        Source::ALL.into_iter().zip(places.places).map(|(source, place)| Strand::open(source, place, &lists));
    let mut strands: Vec<Strand> = join_all(opened).await;

    let mut items: Vec<TimelineItem> = Vec::new();
    while items.len() < size {
        for strand in strands.iter_mut().filter(|strand| strand.is_hungry()) {
            strand.feed(&lists).await;
        }
        // The latest; of those at the same time that of the first list.
        let ready = strands.iter_mut().rev().filter(|strand| strand.time().is_some());
        match ready.max_by_key(|strand| strand.time()).and_then(Strand::take) {
            Some(item) => items.push(item),
            None => break,
        }
    }

    if strands.iter().any(|strand| matches!(strand.gone(), Some(Gone::NoCustomer))) {
        return Err(Error::NotFound { reason: CUSTOMER_NOT_FOUND, name: customer });
    }
    if let Some(error) = strands.iter().find_map(|strand| match strand.gone() {
        Some(Gone::Merged(failure)) => merged(failure),
        _ => None,
    }) {
        return Err(error);
    }
    let away = strands.iter().find(|strand| matches!(strand.gone(), Some(Gone::Away(_))));
    // Empty pages that lead on for as long as a service is away would keep their reader busy.
    if let Some(away) = away.filter(|_| items.is_empty()) {
        let source = away.source().backend().name();
        return Err(Error::unavailable(SOURCE_UNAVAILABLE, format!("{source} does not answer")));
    }
    let more = strands.iter().any(Strand::has_more);
    let sources = strands.iter().map(status).collect();
    let next = Places { places: strands.into_iter().map(Strand::into_place).collect() };
    let next_page_token = if more { query.page.token(&next) } else { String::new() };
    Ok(ListCustomerTimelineResponse { items, next_page_token, sources })
}

fn status(strand: &Strand) -> TimelineSource {
    let status = match strand.gone() {
        None | Some(Gone::NoCustomer | Gone::Merged(_)) => section::ok(),
        Some(Gone::Away(reason) | Gone::Refused(reason)) => section::unavailable(reason.clone()),
    };
    TimelineSource { source: strand.source().name().to_owned(), status: Some(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_other_lists_is_refused() {
        let places = |count| Places { places: vec![Place::default(); count] }.to_bytes();
        assert!(Places::from_bytes(&places(Source::ALL.len())).is_some());
        assert!(Places::from_bytes(&places(Source::ALL.len() - 1)).is_none());
        assert!(Places::from_bytes(b"\xff").is_none());
    }
}
