//! What one read brought, sorted into work that may run side by side.

use std::collections::{BTreeMap, BTreeSet};

use cqm_proto::events::v1::{Event, ParkedAggregate};

/// The work on one aggregate: first what was parked and is to be tried again, then what is new.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Item {
    pub aggregate: String,
    pub to_retry: Option<ParkedAggregate>,
    pub events: Vec<Event>,
}

/// One item for each aggregate, its events in their order. Aggregates that are parked and nobody has decided about are
/// left out: their events wait in the log.
pub(super) fn sort(
    events: Vec<Event>,
    to_retry: Vec<ParkedAggregate>,
    parked: &BTreeSet<String>,
) -> Vec<Item> {
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    for decided in to_retry {
        let item = items.entry(decided.aggregate.clone()).or_default();
        item.to_retry = Some(decided);
    }
    for event in events {
        let decided = items.get(&event.aggregate).is_some_and(|item| item.to_retry.is_some());
        if decided || !parked.contains(&event.aggregate) {
            items.entry(event.aggregate.clone()).or_default().events.push(event);
        }
    }
    items.into_iter().map(|(aggregate, item)| Item { aggregate, ..item }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(aggregate: &str, position: i64) -> Event {
        Event { aggregate: aggregate.to_owned(), position, ..Default::default() }
    }

    fn shown(items: &[Item]) -> Vec<String> {
        let positions = |item: &Item| item.events.iter().map(|event| event.position).collect::<Vec<_>>();
        items
            .iter()
            .map(|item| {
                format!(
                    "{}{} {:?}",
                    item.aggregate,
                    if item.to_retry.is_some() { "!" } else { "" },
                    positions(item)
                )
            })
            .collect()
    }

    #[test]
    fn events_of_one_aggregate_stay_in_order_and_parked_ones_wait() {
        let events =
            vec![event("b", 1), event("a", 2), event("c", 3), event("b", 4), event("d", 5), event("c", 6)];
        let retry =
            |aggregate: &str| ParkedAggregate { aggregate: aggregate.to_owned(), ..Default::default() };
        let parked = ["c", "d", "e"].map(str::to_owned).into();
        let items = sort(events, vec![retry("d"), retry("e")], &parked);
        assert_eq!(shown(&items), ["a [2]", "b [1, 4]", "d! [5]", "e! []"]);
    }
}
