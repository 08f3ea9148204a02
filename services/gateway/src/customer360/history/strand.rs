//! One list on its way into the merge: what of it has been read, told, and is to come.

use std::collections::VecDeque;

use cqm_proto::gateway::v1::TimelineItem;
use cqm_rpc::Failure;
use prost::Message;
use tonic::Code;

use super::source::{Dated, Page, Pages, Source};
use crate::error::{CUSTOMER_NOT_FOUND, merged, word};

/// How far one list has been told.
#[derive(Clone, PartialEq, Message)]
pub struct Place {
    /// The page of the list that the next item stands on, or one before it.
    #[prost(string, tag = "1")]
    pub page_token: String,
    /// The last item that was told of it; empty = none.
    #[prost(string, tag = "2")]
    pub last: String,
    /// When that was: what is older comes after it, should it be gone.
    #[prost(int64, tag = "3")]
    pub seconds: i64,
    #[prost(int32, tag = "4")]
    pub nanos: i32,
    /// There is nothing more.
    #[prost(bool, tag = "5")]
    pub ended: bool,
}

/// Why a list is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    /// For now.
    Away(String),
    /// The caller may not read it, or it cannot be read.
    Refused(String),
    /// There is no such customer.
    NoCustomer,
    /// The customer is known under another name.
    Merged(Failure),
}

/// One list.
#[derive(Debug)]
pub struct Strand {
    source: Source,
    place: Place,
    /// What was read and is not told yet, the latest first.
    waiting: VecDeque<Dated>,
    /// The page after what waits; `None` before a page was read.
    next: Option<String>,
    gone: Option<Gone>,
}

impl Strand {
    /// Reads what the list goes on with at a place.
    pub async fn open(source: Source, place: Place, pages: &impl Pages) -> Self {
        let mut strand = Self { source, place, waiting: VecDeque::new(), next: None, gone: None };
        strand.feed(pages).await;
        strand
    }

    pub fn source(&self) -> Source {
        self.source
    }

    pub fn gone(&self) -> Option<&Gone> {
        self.gone.as_ref()
    }

    /// The time of its next item.
    pub fn time(&self) -> Option<(i64, i32)> {
        self.waiting.front().map(|dated| dated.time)
    }

    /// Everything that was read has been told, and there is more.
    pub fn is_hungry(&self) -> bool {
        self.waiting.is_empty() && !self.place.ended && self.gone.is_none()
    }

    pub fn has_more(&self) -> bool {
        !self.place.ended && !matches!(self.gone, Some(Gone::Refused(_) | Gone::NoCustomer | Gone::Merged(_)))
    }

    pub fn into_place(self) -> Place {
        self.place
    }

    /// Reads on until there is an item to tell, or none.
    pub async fn feed(&mut self, pages: &impl Pages) {
        while self.is_hungry() {
            match pages.read(self.source, self.place.page_token.clone()).await {
                Ok(page) => self.read(page),
                Err(status) => self.gone = Some(gone(&Failure::of(&status))),
            }
        }
    }

    fn read(&mut self, page: Page) {
        self.waiting = page.items.into();
        self.next = Some(page.next_page_token);
        let searching = !self.place.last.is_empty() && !self.skip();
        self.turn(searching);
    }

    /// Drops what was told before, and what was written in front of it since. `false` when all of the page is that.
    fn skip(&mut self) -> bool {
        let last = (self.place.seconds, self.place.nanos);
        let told = self.waiting.iter().position(|dated| dated.id == self.place.last).map(|index| index + 1);
        let older = || self.waiting.iter().position(|dated| dated.time < last);
        let drop = told.or_else(older);
        // Neither: the last one stands on a later page, and all of this one in front of it.
        self.waiting.drain(..drop.unwrap_or(self.waiting.len()));
        drop.is_some()
    }

    /// Goes to the next page when this one has been told. There the last one is to be found only if it was not here.
    fn turn(&mut self, searching: bool) {
        if !self.waiting.is_empty() {
            return;
        }
        if !searching {
            self.place.last.clear();
        }
        match self.next.take().filter(|token| !token.is_empty()) {
            Some(token) => self.place.page_token = token,
            None => self.place.ended = true,
        }
    }

    /// Tells the next item.
    pub fn take(&mut self) -> Option<TimelineItem> {
        let Dated { item, id, time } = self.waiting.pop_front()?;
        self.place.last = id;
        (self.place.seconds, self.place.nanos) = time;
        self.turn(false);
        Some(item)
    }
}

fn gone(failure: &Failure) -> Gone {
    let reason = word(failure).to_owned();
    match failure.code {
        Code::NotFound if reason == CUSTOMER_NOT_FOUND.name => Gone::NoCustomer,
        _ if merged(failure).is_some() => Gone::Merged(failure.clone()),
        _ if failure.is_transient() => Gone::Away(reason),
        _ => Gone::Refused(reason),
    }
}

#[cfg(test)]
mod tests {
    use cqm_rpc::{Error, reason};
    use tonic::Status;

    use super::*;

    /// A list as a service keeps it: pages by key, the latest first.
    struct List {
        rows: Vec<(i64, &'static str)>,
        size: usize,
    }

    impl Pages for List {
        async fn read(&self, _: Source, token: String) -> Result<Page, Status> {
            let from = self.rows.iter().position(|(_, id)| *id == token).map_or(0, |index| index + 1);
            let items = self.rows[from..].iter().take(self.size).map(|(seconds, id)| Dated {
                item: TimelineItem { resource: (*id).to_owned(), ..Default::default() },
                id: (*id).to_owned(),
                time: (*seconds, 0),
            });
            let items: Vec<Dated> = items.collect();
            let last = items.last().filter(|_| from + items.len() < self.rows.len());
            let next_page_token = last.map(|last| last.id.clone()).unwrap_or_default();
            Ok(Page { items, next_page_token })
        }
    }

    /// A list that is not read.
    struct Closed(fn() -> Error);

    impl Pages for Closed {
        async fn read(&self, _: Source, _: String) -> Result<Page, Status> {
            Err((self.0)().into())
        }
    }

    /// Opens the list at a place and tells so many of it.
    async fn tell(list: &List, place: Place, count: usize) -> (Vec<String>, Place) {
        let mut strand = Strand::open(Source::Purchases, place, list).await;
        let mut told = Vec::new();
        while told.len() < count {
            strand.feed(list).await;
            match strand.take() {
                Some(item) => told.push(item.resource),
                None => break,
            }
        }
        (told, strand.into_place())
    }

    #[tokio::test]
    async fn a_list_is_told_once_however_it_is_cut() {
        // Two at one time on the edge of a page.
        let rows = vec![(9, "a"), (8, "b"), (8, "c"), (8, "d"), (7, "e"), (5, "f")];
        for size in 1..=7 {
            let list = List { rows: rows.clone(), size };
            for count in 1..=7 {
                let (mut all, mut place) = (Vec::new(), Place::default());
                while !place.ended {
                    let (told, next) = tell(&list, place, count).await;
                    all.extend(told);
                    place = next;
                }
                assert_eq!(all, ["a", "b", "c", "d", "e", "f"], "pages of {size}, {count} at a time");
            }
        }
    }

    #[tokio::test]
    async fn what_is_written_in_front_meanwhile_moves_nothing() {
        let mut list = List { rows: vec![(9, "a"), (8, "b"), (7, "c"), (6, "d")], size: 3 };
        let (told, place) = tell(&list, Place::default(), 2).await;
        assert_eq!(told, ["a", "b"]);
        // More than a page of them: the last one that was told is on the page after.
        list.rows.splice(0..0, [(14, "z4"), (13, "z3"), (12, "z2"), (11, "z1")]);
        assert_eq!(tell(&list, place, 9).await.0, ["c", "d"]);
    }

    #[tokio::test]
    async fn the_last_one_may_be_gone_when_the_reader_comes_back() {
        let mut list = List { rows: vec![(9, "a"), (8, "b"), (7, "c"), (6, "d")], size: 4 };
        let (_, place) = tell(&list, Place::default(), 2).await;
        list.rows.remove(1);
        assert_eq!(tell(&list, place, 9).await.0, ["c", "d"]);
    }

    #[tokio::test]
    async fn a_list_that_is_away_keeps_its_place() {
        let list = List { rows: vec![(9, "a"), (8, "b")], size: 4 };
        let (_, place) = tell(&list, Place::default(), 1).await;
        let down = Closed(|| Error::Unavailable { reason: reason::STORAGE_UNAVAILABLE, source: None });
        let strand = Strand::open(Source::Purchases, place.clone(), &down).await;
        assert_eq!(strand.gone(), Some(&Gone::Away("STORAGE_UNAVAILABLE".to_owned())));
        assert!(strand.has_more() && strand.time().is_none());
        assert_eq!(strand.into_place(), place);

        let denied = Closed(|| Error::Denied { permission: "purchases".to_owned() });
        let strand = Strand::open(Source::Purchases, place, &denied).await;
        assert!(!strand.has_more(), "what a caller may not read does not lead on");
    }
}
