//! Which sections a caller wants.

use cqm_proto::gateway::v1::GetCustomer360Response;
use cqm_rpc::{Error, Mask, Violations};
use prost_types::FieldMask;

pub(super) const PROFILE: &str = "profile";
pub(super) const PURCHASES: &str = "purchases";
pub(super) const INTERACTIONS: &str = "interactions";
pub(super) const COMPLAINTS: &str = "complaints";
pub(super) const SURVEYS: &str = "surveys";
pub(super) const MESSAGES: &str = "messages";
pub(super) const POINTS: &str = "points";
pub(super) const TIER: &str = "tier";
const TIMELINE: &str = "timeline";

/// As the answer's fields are called.
const ALL: &[&str] =
    &[PROFILE, PURCHASES, INTERACTIONS, COMPLAINTS, SURVEYS, MESSAGES, POINTS, TIER, TIMELINE];
/// What happened stands in these.
const IN_TIMELINE: &[&str] = &[PURCHASES, INTERACTIONS, COMPLAINTS, SURVEYS, MESSAGES, POINTS];

/// The sections of one answer.
#[derive(Debug)]
pub(super) struct Wanted(Mask);

impl Wanted {
    pub fn parse(fields: Option<&FieldMask>, violations: &mut Violations) -> Self {
        let paths = fields.map(|fields| fields.paths.as_slice());
        Self(Mask::parse_field("fields", paths, ALL, |_| true, violations))
    }

    /// The section, if anybody wants it; the others cost nothing.
    pub async fn read<S>(
        &self,
        name: &str,
        section: impl Future<Output = Result<S, Error>>,
    ) -> Result<Option<S>, Error> {
        let needed = self.0.has(name) || self.0.has(TIMELINE) && IN_TIMELINE.contains(&name);
        if needed { section.await.map(Some) } else { Ok(None) }
    }

    /// Takes out what was read for the timeline alone, and the timeline where nobody asked for it.
    pub fn trim(&self, answer: &mut GetCustomer360Response) {
        fn keep<S>(wanted: bool, section: &mut Option<S>) {
            if !wanted {
                *section = None;
            }
        }
        let wants = |name| self.0.has(name);
        keep(wants(PURCHASES), &mut answer.purchases);
        keep(wants(INTERACTIONS), &mut answer.interactions);
        keep(wants(COMPLAINTS), &mut answer.complaints);
        keep(wants(SURVEYS), &mut answer.surveys);
        keep(wants(MESSAGES), &mut answer.messages);
        keep(wants(POINTS), &mut answer.points);
        if !wants(TIMELINE) {
            answer.timeline.clear();
        }
    }
}
