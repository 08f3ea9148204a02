//! What files look like: CSV with a header, and the CDNOW sample.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

/// One row by column names.
pub type Record = BTreeMap<String, String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A header, then one row a line.
    ///
    /// Customers: external_reference, display_name, and optionally phone, email, locale, source_channel, tags
    /// (separated by ";"). Purchases: customer_external_reference, purchase_reference, purchase_time (RFC 3339),
    /// amount, currency, quantity, product.
    Csv,
    /// The CDNOW sample: customer, customer in the sample, yyyymmdd, number of CDs, US dollars
    Cdnow,
}

pub fn customers(path: &Path, format: Format) -> Result<Vec<Record>> {
    match format {
        Format::Csv => csv(path),
        Format::Cdnow => {
            let ids: BTreeSet<String> = cdnow(path)?.into_iter().map(|row| row.customer).collect();
            Ok(ids
                .into_iter()
                .map(|id| {
                    record([
                        ("external_reference", cdnow_customer(&id)),
                        // The sample has no names.
                        ("display_name", format!("CDNOW {id}")),
                        ("locale", "en".to_owned()),
                        ("source_channel", "import".to_owned()),
                        ("tags", "cdnow".to_owned()),
                    ])
                })
                .collect())
        }
    }
}

pub fn purchases(path: &Path, format: Format) -> Result<Vec<Record>> {
    match format {
        Format::Csv => csv(path),
        Format::Cdnow => Ok(cdnow(path)?
            .into_iter()
            .map(|row| {
                record([
                    ("customer_external_reference", cdnow_customer(&row.customer)),
                    // The sample has no numbers of its own for purchases; the line is one.
                    ("purchase_reference", format!("cdnow/{}", row.line)),
                    ("purchase_time", row.time),
                    ("amount", row.amount),
                    ("currency", "USD".to_owned()),
                    ("quantity", row.quantity),
                    ("product", "CD".to_owned()),
                ])
            })
            .collect()),
    }
}

fn cdnow_customer(id: &str) -> String {
    format!("cdnow/{id}")
}

fn record<const N: usize>(cells: [(&str, String); N]) -> Record {
    cells.into_iter().map(|(column, cell)| (column.to_owned(), cell)).collect()
}

fn csv(path: &Path) -> Result<Vec<Record>> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    reader.deserialize().map(|row| row.with_context(|| format!("{} is no CSV", path.display()))).collect()
}

struct CdnowRow {
    line: usize,
    customer: String,
    time: String,
    quantity: String,
    amount: String,
}

fn cdnow(path: &Path) -> Result<Vec<CdnowRow>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            let line = index + 1;
            ensure!(
                cells.len() == 5 && cells[2].len() == 8,
                "line {line} of {} is no CDNOW row",
                path.display()
            );
            let (date, time) = (cells[2], "12:00:00Z");
            Ok(CdnowRow {
                line,
                customer: cells[0].to_owned(),
                time: format!("{}-{}-{}T{time}", &date[..4], &date[4..6], &date[6..]),
                quantity: cells[3].to_owned(),
                amount: cells[4].to_owned(),
            })
        })
        .collect()
}
