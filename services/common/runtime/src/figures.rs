//! What stands in the database, looked up now and then and told as gauges: how far readers are, what waits, how the
//! business goes.
//!
//! Not counted on the way of a call: a count in a process begins anew with it, and every replica has one. What is looked
//! up is true after a restart and the same at every replica, so a dashboard takes the maximum over them. A query belongs
//! here only if an index answers it.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cqm_db::Conn;
use cqm_rpc::{BoxError, Call, Error};
use futures::future::BoxFuture;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Gauge;

use crate::process::Base;
use crate::tasks::Supervisor;

/// What one figure's query may take. One that takes longer is no figure for a gauge.
const BUDGET: Duration = Duration::from_secs(5);

/// One value and what it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub of: Vec<KeyValue>,
    pub value: f64,
}

impl Reading {
    /// Of everything.
    pub fn whole(value: impl Into<f64>) -> Self {
        Self { of: Vec::new(), value: value.into() }
    }

    /// A count of rows. Above 2^53 it is rounded.
    pub fn count(of: Vec<KeyValue>, rows: i64) -> Self {
        Self { of, value: rows as f64 }
    }
}

/// Reads a figure at a moment. Every label that there can be has its reading, also when it is 0: a gauge keeps what it was
/// told last.
pub type Read = for<'c> fn(&'c mut Conn, DateTime<Utc>) -> BoxFuture<'c, Result<Vec<Reading>, Error>>;

/// A gauge and where its value comes from.
#[derive(Clone)]
pub struct Figure {
    name: &'static str,
    unit: &'static str,
    about: &'static str,
    labels: Vec<KeyValue>,
    read: Read,
}

impl Figure {
    /// `name` and `unit` by OpenTelemetry's conventions: `cqm.complaints.open`, `{complaint}`.
    pub fn new(name: &'static str, unit: &'static str, about: &'static str, read: Read) -> Self {
        Self { name, unit, about, labels: Vec::new(), read }
    }

    /// With a label that all its readings have.
    #[must_use]
    pub fn with(mut self, label: KeyValue) -> Self {
        self.labels.push(label);
        self
    }

    fn gauge(&self) -> Gauge<f64> {
        let meter = opentelemetry::global::meter("cqm-runtime");
        meter.f64_gauge(self.name).with_unit(self.unit).with_description(self.about).build()
    }
}

impl fmt::Debug for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Figure").field("name", &self.name).field("unit", &self.unit).finish_non_exhaustive()
    }
}

/// Looks all of them up for as long as the process lives.
pub(crate) fn look_up(base: &Base, figures: Vec<Figure>, every: Duration, supervisor: &Supervisor) {
    let figures: Vec<(Gauge<f64>, Figure)> =
        figures.into_iter().map(|figure| (figure.gauge(), figure)).collect();
    let (base, ticks) = (base.clone(), supervisor.every(every));
    supervisor.spawn("look figures up", move || {
        let (base, figures, mut ticks) = (base.clone(), figures.clone(), ticks.clone());
        async move {
            while ticks.next().await {
                for (gauge, figure) in &figures {
                    tell(&base, gauge, figure).await?;
                }
            }
            Ok::<_, BoxError>(())
        }
    });
}

async fn tell(base: &Base, gauge: &Gauge<f64>, figure: &Figure) -> Result<(), Error> {
    let call = Call::internal("look_figures_up", BUDGET);
    let now = base.clock.now();
    let readings =
        base.db.read(&call, figure.name, async |conn: &mut Conn| (figure.read)(conn, now).await).await?;
    for reading in readings {
        gauge.record(reading.value, &[figure.labels.clone(), reading.of].concat());
    }
    Ok(())
}
