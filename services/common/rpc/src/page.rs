//! Lists in pages: sizes, and tokens that nobody can forge into another query.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use prost::Message;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Violations, reason};

const DEFAULT_SIZE: i32 = 50;
const MAX_SIZE: i32 = 200;
const DIGEST: usize = 8;
/// What the items of one page may take together. Clients refuse messages over 4 MiB unless told otherwise.
const BUDGET: usize = 2 * 1024 * 1024;

/// What a list is ordered by: where a row stands in it, as bytes that a page token carries.
pub trait PageKey: Sized {
    /// The key's own bytes; the token's checksum is not among them.
    fn to_bytes(&self) -> Vec<u8>;
    /// The inverse of [`PageKey::to_bytes`]; `None` for anything else.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// A key of the list's own shape, which the list reads itself.
impl PageKey for Vec<u8> {
    fn to_bytes(&self) -> Vec<u8> {
        self.clone()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

/// Lists in the order of a word.
impl PageKey for String {
    fn to_bytes(&self) -> Vec<u8> {
        self.clone().into_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::from_utf8(bytes.to_vec()).ok()
    }
}

/// Lists in the order of a version or a position.
impl PageKey for i64 {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// Lists in the order of their v7 ids.
impl PageKey for Uuid {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::from_slice(bytes).ok()
    }
}

/// Lists in the order of a time, in microseconds, and of ids at the same time.
impl PageKey for (DateTime<Utc>, Uuid) {
    fn to_bytes(&self) -> Vec<u8> {
        [self.0.timestamp_micros().to_bytes(), self.1.to_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (micros, id) = bytes.split_first_chunk::<8>()?;
        let time = DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?;
        Some((time, Uuid::from_slice(id).ok()?))
    }
}

/// One page asked for: how many rows, and after which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest<K = Vec<u8>> {
    pub size: usize,
    /// The key of the last row of the page before; `None` for the first page.
    pub after: Option<K>,
    digest: [u8; DIGEST],
}

/// One page found: the rows, and the token of the next page, empty at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_page_token: String,
}

impl<K: PageKey> PageRequest<K> {
    /// Reads size and token. `query` is everything that shapes the list (parent, filters, order): a token of
    /// another query is refused, because its key would mean something else there.
    pub fn parse(page_size: i32, page_token: &str, query: &[&str], violations: &mut Violations) -> Self {
        let digest = digest(query);
        let size = match page_size {
            ..0 => {
                violations.range("page_size", "0 or more");
                DEFAULT_SIZE
            }
            0 => DEFAULT_SIZE,
            size => size.min(MAX_SIZE),
        };
        let mut after = None;
        if !page_token.is_empty() {
            after = open(page_token, digest).as_deref().and_then(K::from_bytes);
            if after.is_none() {
                violations.add("page_token", reason::PAGE_TOKEN_INVALID, "is not a token of this list");
            }
        }
        Self { size: size as usize, after, digest }
    }

    /// The rows to ask the database for: one more than the page, to know whether there is a next one.
    pub fn limit(&self) -> i64 {
        self.size as i64 + 1
    }

    /// Cuts the extra row off and makes the token from the last row that stays.
    pub fn page<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> K) -> Page<T> {
        let more = rows.len() > self.size;
        rows.truncate(self.size);
        let next_page_token = match rows.last() {
            Some(last) if more => seal(self.digest, &key(last).to_bytes()),
            _ => String::new(),
        };
        Page { items: rows, next_page_token }
    }

    /// The token of the page behind a key: for lists that are put together from others.
    pub fn token(&self, key: &K) -> String {
        seal(self.digest, &key.to_bytes())
    }

    /// Shortens the page to what fits into one message, one item at least; the rest comes with the next page. For
    /// lists whose items may be large.
    pub fn shorten<M: Message>(&mut self, items: &[M]) {
        let mut total = 0;
        let fits = items.iter().take_while(|item| {
            total += item.encoded_len();
            total <= BUDGET
        });
        self.size = self.size.min(fits.count().max(1));
    }
}

fn digest(query: &[&str]) -> [u8; DIGEST] {
    let mut hash = Sha256::new();
    for part in query {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut short = [0; DIGEST];
    short.copy_from_slice(&hash.finalize()[..DIGEST]);
    short
}

/// digest of the query | key | checksum over both: a token that was typed or cut by hand is found out.
fn seal(digest: [u8; DIGEST], key: &[u8]) -> String {
    let mut bytes = digest.to_vec();
    bytes.extend_from_slice(key);
    let check = checksum(&bytes);
    bytes.extend_from_slice(&check);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn open(token: &str, digest: [u8; DIGEST]) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (body, check) = bytes.split_last_chunk::<4>()?;
    if checksum(body) != *check {
        return None;
    }
    body.strip_prefix(&digest).map(<[u8]>::to_vec)
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let hash = Sha256::digest(bytes);
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<K: PageKey>(size: i32, token: &str, query: &[&str]) -> (PageRequest<K>, Violations) {
        let mut violations = Violations::default();
        let request = PageRequest::parse(size, token, query, &mut violations);
        (request, violations)
    }

    #[test]
    fn sizes_default_clamp_and_refuse() {
        assert_eq!(parse::<i64>(0, "", &[]).0.size, 50);
        assert_eq!(parse::<i64>(7, "", &[]).0.size, 7);
        assert_eq!(parse::<i64>(5000, "", &[]).0.size, 200);
        assert_eq!(parse::<i64>(-1, "", &[]).1.len(), 1);
    }

    #[test]
    fn a_token_belongs_to_its_query_and_cannot_be_forged() {
        let (first, _) = parse(2, "", &["customers/1", "open"]);
        let page = first.page(vec![1_i64, 2, 3], |row| *row);
        assert_eq!(page.items, [1, 2]);
        let (second, violations) = parse(2, &page.next_page_token, &["customers/1", "open"]);
        assert!(violations.is_empty());
        assert_eq!(second.after, Some(2_i64));
        assert_eq!(second.page(vec![3], |row| *row).next_page_token, "");

        assert_eq!(parse::<i64>(2, &page.next_page_token, &["customers/2", "open"]).1.len(), 1);
        assert_eq!(parse::<i64>(2, "AAAA", &["customers/1", "open"]).1.len(), 1);
        assert_eq!(parse::<i64>(2, "not base64!", &["customers/1", "open"]).1.len(), 1);
    }

    #[test]
    fn keys_survive_the_token_and_are_of_one_list() {
        fn survives<K: PageKey + Clone + PartialEq + std::fmt::Debug>(key: K) {
            let token = parse(1, "", &[]).0.page(vec![(), ()], |()| key.clone()).next_page_token;
            let (next, violations) = parse::<K>(1, &token, &[]);
            assert!(violations.is_empty());
            assert_eq!(next.after, Some(key));

            let token = parse(1, "", &[]).0.page(vec![(), ()], |()| vec![0xff_u8; 3]).next_page_token;
            let (next, violations) = parse::<K>(1, &token, &[]);
            assert_eq!(next.after, None);
            assert_eq!(violations.iter().map(|v| v.reason).collect::<Vec<_>>(), [reason::PAGE_TOKEN_INVALID]);
        }
        let id = Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057);
        survives("complaint-closed".to_owned());
        survives(i64::MIN);
        survives(id);
        survives(("2026-11-02T01:02:03.000004Z".parse::<DateTime<Utc>>().unwrap(), id));
    }

    #[test]
    fn a_page_ends_before_it_outgrows_a_message() {
        let page = |sizes: &[usize]| {
            let items: Vec<String> = sizes.iter().map(|size| "x".repeat(*size)).collect();
            let (mut page, _) = parse(3, "", &[]);
            page.shorten(&items);
            let page = page.page(items, |_| 1_i64);
            (page.items.len(), !page.next_page_token.is_empty())
        };
        assert_eq!(page(&[10, 10, 10]), (3, false));
        assert_eq!(page(&[10, 10, 10, 10]), (3, true));
        assert_eq!(page(&[BUDGET / 2, BUDGET / 2, BUDGET / 2]), (1, true));
        assert_eq!(page(&[BUDGET + 1, 1]), (1, true));
    }
}
