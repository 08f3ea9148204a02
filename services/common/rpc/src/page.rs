//! Lists in pages: sizes, and tokens that nobody can forge into another query.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::{Error, Violations, reason};

const DEFAULT_SIZE: i32 = 50;
const MAX_SIZE: i32 = 200;
const DIGEST: usize = 8;

/// One page asked for: how many rows, and after which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    pub size: usize,
    /// The key of the last row of the page before, as the list's own bytes; `None` for the first page.
    pub after: Option<Vec<u8>>,
    digest: [u8; DIGEST],
}

/// One page found: the rows, and the token of the next page, empty at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_page_token: String,
}

impl PageRequest {
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
            match open(page_token, digest) {
                Some(key) => after = Some(key),
                None => violations.add(
                    "page_token",
                    reason::PAGE_TOKEN_INVALID,
                    "is not a token of this list",
                ),
            }
        }
        Self {
            size: size as usize,
            after,
            digest,
        }
    }

    /// The rows to ask the database for: one more than the page, to know whether there is a next one.
    pub fn limit(&self) -> i64 {
        self.size as i64 + 1
    }

    /// Cuts the extra row off and makes the token from the last row that stays.
    pub fn page<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> Vec<u8>) -> Page<T> {
        let more = rows.len() > self.size;
        rows.truncate(self.size);
        let next_page_token = match rows.last() {
            Some(last) if more => seal(self.digest, &key(last)),
            _ => String::new(),
        };
        Page {
            items: rows,
            next_page_token,
        }
    }

    /// A UUID key: lists in the order of their v7 ids.
    pub fn after_uuid(&self) -> Result<Option<uuid::Uuid>, Error> {
        self.after
            .as_deref()
            .map(uuid::Uuid::from_slice)
            .transpose()
            .map_err(|_| invalid())
    }

    /// A number key: lists in the order of a version or a position.
    pub fn after_number(&self) -> Result<Option<i64>, Error> {
        self.after
            .as_deref()
            .map(|bytes| <[u8; 8]>::try_from(bytes).map(i64::from_be_bytes))
            .transpose()
            .map_err(|_| invalid())
    }
}

fn invalid() -> Error {
    Error::invalid(
        "page_token",
        reason::PAGE_TOKEN_INVALID,
        "is not a token of this list",
    )
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

    fn parse(size: i32, token: &str, query: &[&str]) -> (PageRequest, Violations) {
        let mut violations = Violations::default();
        let request = PageRequest::parse(size, token, query, &mut violations);
        (request, violations)
    }

    #[test]
    fn sizes_default_clamp_and_refuse() {
        assert_eq!(parse(0, "", &[]).0.size, 50);
        assert_eq!(parse(7, "", &[]).0.size, 7);
        assert_eq!(parse(5000, "", &[]).0.size, 200);
        assert_eq!(parse(-1, "", &[]).1.len(), 1);
    }

    #[test]
    fn a_token_belongs_to_its_query_and_cannot_be_forged() {
        let (first, _) = parse(2, "", &["customers/1", "open"]);
        let page = first.page(vec![1_i64, 2, 3], |row| row.to_be_bytes().to_vec());
        assert_eq!(page.items, [1, 2]);
        let (second, violations) = parse(2, &page.next_page_token, &["customers/1", "open"]);
        assert!(violations.is_empty());
        assert_eq!(second.after_number().unwrap(), Some(2));
        assert_eq!(
            second
                .page(vec![3_i64], |row| row.to_be_bytes().to_vec())
                .next_page_token,
            ""
        );

        assert_eq!(
            parse(2, &page.next_page_token, &["customers/2", "open"]).1.len(),
            1
        );
        assert_eq!(parse(2, "AAAA", &["customers/1", "open"]).1.len(), 1);
        assert_eq!(parse(2, "not base64!", &["customers/1", "open"]).1.len(), 1);
    }
}
