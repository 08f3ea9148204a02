//! Imports: a file in, a result per row out.
//!
//! Rows stream to the gateway while answers stream back. A row that is not answered when the connection
//! breaks is sent again on the next one; every row carries its own key, so nothing comes in twice.

mod customers;
mod input;
mod purchases;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use cqm_proto::google::rpc;
use cqm_rpc::Failure;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::connect::{Client, Target};
pub use input::Format;
use input::Record;

/// Rows on their way without an answer: enough to keep the line busy, few enough to send again.
const IN_FLIGHT: usize = 2000;
const TRIES_WITHOUT_PROGRESS: u32 = 20;

/// What became of a file.
#[derive(Debug, Default)]
pub struct Summary {
    pub created: u64,
    pub present: u64,
    pub rejected: u64,
    /// The resource names of the rows that are in, in the order of the answers.
    pub names: Vec<String>,
}

impl Summary {
    pub fn sentence(&self, rejected: &Path) -> String {
        let mut text =
            format!("{} new, {} already there, {} rejected", self.created, self.present, self.rejected);
        if self.rejected > 0 {
            text.push_str(&format!("; the rejected rows and why: {}", rejected.display()));
        }
        text
    }
}

/// What a row's answer says, whatever the rows are about.
struct Answered {
    row: i64,
    outcome: Outcome,
    name: String,
}

enum Outcome {
    New,
    Present,
    Rejected(rpc::Status),
}

/// One kind of rows: how a record becomes a request, and what its answer means.
trait Kind {
    type Request: Clone + Send + 'static;
    type Answer: Send + 'static;
    const LABEL: &'static str;

    fn request(row: i64, record: &Record) -> Result<Self::Request>;
    async fn open(
        client: Client,
        rows: ReceiverStream<Self::Request>,
    ) -> Result<Streaming<Self::Answer>, Status>;
    fn read(answer: Self::Answer) -> Answered;
}

pub async fn customers(target: &Target, file: &Path, format: Format, rejected: &Path) -> Result<Summary> {
    run::<customers::Customers>(target, input::customers(file, format)?, rejected).await
}

pub async fn purchases(target: &Target, file: &Path, format: Format, rejected: &Path) -> Result<Summary> {
    run::<purchases::Purchases>(target, input::purchases(file, format)?, rejected).await
}

/// What a file's purchases are worth: a point for each whole unit of money, purchase by purchase.
pub fn points_of_purchases(file: &Path, format: Format) -> Result<i64> {
    let mut points = 0;
    for record in input::purchases(file, format)? {
        points += purchases::money(record.get("amount").map_or("", String::as_str))?.0;
    }
    Ok(points)
}

async fn run<K: Kind>(target: &Target, records: Vec<Record>, rejected: &Path) -> Result<Summary> {
    let mut import = Import::<K>::new(records, rejected);
    let mut idle_tries = 0;
    while !import.waiting.is_empty() {
        let before = import.waiting.len();
        match import.stream(target.client()?).await {
            Ok(()) => {}
            Err(status) if Failure::of(&status).is_transient() => {
                idle_tries = if import.waiting.len() < before { 0 } else { idle_tries + 1 };
                import.bar.set_message(format!("waiting for the suite: {}", status.message()));
                if idle_tries >= TRIES_WITHOUT_PROGRESS {
                    anyhow::bail!("the suite does not answer: {}", Failure::of(&status));
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(status) => anyhow::bail!("the import was refused: {}", Failure::of(&status)),
        }
    }
    import.finish()
}

struct Import<K: Kind> {
    records: Vec<Record>,
    /// Rows without an answer, by their number in the file.
    waiting: BTreeMap<i64, K::Request>,
    rejections: Vec<(i64, String)>,
    rejected_path: std::path::PathBuf,
    summary: Summary,
    bar: ProgressBar,
}

impl<K: Kind> Import<K> {
    fn new(records: Vec<Record>, rejected: &Path) -> Self {
        let style = ProgressStyle::with_template("{prefix:>12} [{bar:40}] {pos}/{len} {per_sec} {msg}")
            .expect("the template is written correctly")
            .progress_chars("=> ");
        let bar = ProgressBar::new(records.len() as u64).with_style(style).with_prefix(K::LABEL);
        let mut import = Self {
            waiting: BTreeMap::new(),
            rejections: Vec::new(),
            rejected_path: rejected.to_owned(),
            summary: Summary::default(),
            bar,
            records: Vec::new(),
        };
        for (index, record) in records.iter().enumerate() {
            let row = index as i64 + 1;
            match K::request(row, record) {
                Ok(request) => {
                    import.waiting.insert(row, request);
                }
                Err(error) => import.reject(row, format!("{error:#}")),
            }
        }
        import.records = records;
        import
    }

    /// One connection's worth: sends what waits, reads the answers.
    async fn stream(&mut self, client: Client) -> Result<(), Status> {
        let (send, receive) = mpsc::channel(IN_FLIGHT);
        let rows: Vec<K::Request> = self.waiting.values().cloned().collect();
        let sender = tokio::task::JoinSet::from_iter([async move {
            for row in rows {
                if send.send(row).await.is_err() {
                    break;
                }
            }
        }]);
        let mut answers = K::open(client, ReceiverStream::new(receive)).await?;
        while let Some(answer) = answers.message().await? {
            self.answered(K::read(answer));
        }
        drop(sender);
        if self.waiting.is_empty() {
            return Ok(());
        }
        Err(Status::new(Code::Unavailable, "the stream ended before every row was answered"))
    }

    fn answered(&mut self, answered: Answered) {
        if self.waiting.remove(&answered.row).is_none() {
            return;
        }
        match answered.outcome {
            Outcome::New => {
                self.summary.created += 1;
                self.summary.names.push(answered.name);
            }
            Outcome::Present => {
                self.summary.present += 1;
                self.summary.names.push(answered.name);
            }
            Outcome::Rejected(status) => {
                return self.reject(answered.row, Failure::from(&status).to_string());
            }
        }
        self.bar.inc(1);
    }

    fn reject(&mut self, row: i64, reason: String) {
        self.summary.rejected += 1;
        self.rejections.push((row, reason));
        self.bar.inc(1);
    }

    /// Writes the rejected rows down, as they were and with the reason.
    fn finish(mut self) -> Result<Summary> {
        self.bar.set_message("");
        self.bar.finish();
        if self.rejections.is_empty() {
            return Ok(self.summary);
        }
        self.rejections.sort_by_key(|(row, _)| *row);
        let columns: BTreeSet<&str> =
            self.records.iter().flat_map(|record| record.keys().map(String::as_str)).collect();
        let path = &self.rejected_path;
        let mut file =
            csv::Writer::from_path(path).with_context(|| format!("cannot write {}", path.display()))?;
        file.write_record(["row", "reason"].into_iter().chain(columns.iter().copied()))?;
        for (row, reason) in &self.rejections {
            let record = &self.records[usize::try_from(*row - 1)?];
            let cells = columns.iter().map(|column| record.get(*column).map_or("", String::as_str));
            file.write_record([row.to_string().as_str(), reason].into_iter().chain(cells))?;
        }
        file.flush()?;
        Ok(self.summary)
    }
}
