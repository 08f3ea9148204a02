//! Checking that the log is as it was written.

use cqm_rpc::Error;
use diesel::dsl::max;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::Released;
use crate::pool::Conn;
use crate::schema::{audit_head, audit_release};

/// Rows that are in memory at a time.
const STEP: i64 = 1000;

/// What is wrong with a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is not what its hash says, or does not follow the one before.
    Hash,
    /// It is not there.
    Missing,
    /// The chain does not end where it ended when it was last written.
    End,
    /// It is not the one whose hash was kept elsewhere.
    Anchor,
}

/// Something that is not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub sequence: i64,
    pub check: Check,
}

/// Where the chain ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    pub sequence: i64,
    pub hash: Vec<u8>,
    /// The last row that is there; the same, unless somebody was at it.
    pub last: i64,
}

/// The end of the chain at one moment.
pub async fn end(conn: &mut Conn) -> Result<End, Error> {
    let last = audit_release::table.select(max(audit_release::sequence)).single_value();
    let (sequence, hash, last) = audit_head::table
        .select((audit_head::sequence, audit_head::hash, last))
        .first::<(i64, Vec<u8>, Option<i64>)>(conn)
        .await?;
    Ok(End { sequence, hash, last: last.unwrap_or_default() })
}

/// A walk along the chain, from its beginning to where it ended.
#[derive(Clone, Debug)]
pub struct Walk {
    end: End,
    anchor: Option<(i64, Vec<u8>)>,
    /// The place up to which it has been checked.
    sequence: i64,
    hash: Vec<u8>,
}

impl Walk {
    /// `anchor`: a place with the hash that somebody has kept.
    pub fn new(end: End, anchor: Option<(i64, Vec<u8>)>) -> Self {
        Self { end, anchor, sequence: 0, hash: Vec::new() }
    }

    /// The place up to which it has been checked.
    pub fn checked(&self) -> i64 {
        self.sequence
    }

    pub fn end(&self) -> &End {
        &self.end
    }

    pub fn is_done(&self) -> bool {
        self.sequence >= self.end.sequence
    }

    /// Checks some more, and what is left at the end when that is reached.
    pub async fn step(&mut self, conn: &mut Conn) -> Result<Vec<Fault>, Error> {
        let rows: Vec<Released> = audit_release::table
            .select(Released::as_select())
            .filter(audit_release::sequence.gt(self.sequence))
            .filter(audit_release::sequence.le(self.end.sequence))
            .order(audit_release::sequence)
            .limit(STEP)
            .load(conn)
            .await?;
        let last = (rows.len() as i64) < STEP;
        let mut faults = self.read(&rows);
        if last {
            faults.extend(self.close());
        }
        Ok(faults)
    }

    fn read(&mut self, rows: &[Released]) -> Vec<Fault> {
        let mut faults = Vec::new();
        for row in rows {
            faults.extend(self.missing_until(row.sequence));
            if row.chained(&self.hash) != row.hash {
                faults.push(Fault { sequence: row.sequence, check: Check::Hash });
            }
            // On with what stands there: what is right after it is not blamed, and what is wrong is found as well.
            self.sequence = row.sequence;
            self.hash.clone_from(&row.hash);
            if let Some((sequence, hash)) = &self.anchor
                && *sequence == row.sequence
                && *hash != row.hash
            {
                faults.push(Fault { sequence: row.sequence, check: Check::Anchor });
            }
        }
        faults
    }

    /// The first of those that are missing before a place; the rest of a gap says no more.
    fn missing_until(&self, next: i64) -> Option<Fault> {
        (self.sequence + 1 < next).then(|| Fault { sequence: self.sequence + 1, check: Check::Missing })
    }

    fn close(&mut self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = self.missing_until(self.end.sequence + 1).into_iter().collect();
        let anchored = self.anchor.as_ref().map_or(0, |(sequence, _)| *sequence);
        let ends_elsewhere = faults.is_empty() && self.hash != self.end.hash;
        if ends_elsewhere || self.end.last > self.end.sequence {
            faults.push(Fault { sequence: self.end.last.max(self.end.sequence), check: Check::End });
        }
        if anchored > self.end.sequence {
            faults.push(Fault { sequence: anchored, check: Check::Anchor });
        }
        self.sequence = self.end.sequence;
        faults
    }
}
