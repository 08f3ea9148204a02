//! What a connection costs that is open and does nothing.

use std::fs;
use std::time::Duration;

use cqm_rpc::BoxError;
use tonic::Code;

use crate::line::Line;
use crate::measure::Job;

/// Until what was used for a moment has been given back.
const SETTLE: Duration = Duration::from_secs(2);
/// Of Linux on all that the suite runs on, bytes.
const PAGE: u64 = 4096;

/// Opens so many connections, makes one call on each, and returns what the process has grown by.
pub fn grow(job: &Job, connections: usize, process: u32) -> Result<serde_json::Value, BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // What the first ones make for all is not the others' cost.
        let mut lines = open(job, connections / 10).await?;
        tokio::time::sleep(SETTLE).await;
        let before = resident(process)?;
        lines.extend(open(job, connections).await?);
        tokio::time::sleep(SETTLE).await;
        let grown = resident(process)?.saturating_sub(before);
        Ok(serde_json::json!({ "connections": connections, "bytes": grown }))
    })
}

async fn open(job: &Job, count: usize) -> Result<Vec<Line>, BoxError> {
    let mut lines = Vec::with_capacity(count);
    for _ in 0..count {
        let mut line = Line::connect(job.address).await?;
        let (message, _) = job.work.next();
        let answer = line.call(&job.head, message).await?;
        if answer.code != Code::Ok {
            return Err(format!("a call is answered {:?}", answer.code).into());
        }
        lines.push(line);
    }
    Ok(lines)
}

/// Memory of a process that is in use, bytes.
fn resident(process: u32) -> Result<u64, BoxError> {
    let statm = fs::read_to_string(format!("/proc/{process}/statm"))?;
    let pages: u64 = statm.split_whitespace().nth(1).ok_or("no resident size")?.parse()?;
    Ok(pages * PAGE)
}
