//! What all sections have in common: a status.

use std::time::Duration;

use cqm_proto::PersonalData;
use cqm_proto::gateway::v1::section_status::State;
use cqm_proto::gateway::v1::{
    ComplaintsSection, InteractionsSection, MessagesSection, PointsSection, ProfileSection, PurchasesSection,
    SectionStatus, SurveysSection, TierSection,
};
use prost::Message;

/// A part of the answer that stands or falls by itself.
pub(super) trait Section: Message + PersonalData + Default + Clone {
    /// Tells the sections of one customer apart.
    const NAME: &'static str;

    fn status_mut(&mut self) -> &mut Option<SectionStatus>;

    fn fresh(mut self) -> Self {
        *self.status_mut() = Some(ok());
        self
    }

    fn stale(mut self, reason: String, age: Duration) -> Self {
        let age = prost_types::Duration::try_from(age).ok();
        *self.status_mut() = Some(SectionStatus { state: State::Stale.into(), reason, age });
        self
    }

    fn unavailable(reason: String) -> Self {
        let mut section = Self::default();
        *section.status_mut() = Some(unavailable(reason));
        section
    }
}

pub(crate) fn ok() -> SectionStatus {
    SectionStatus { state: State::Ok.into(), ..Default::default() }
}

pub(crate) fn unavailable(reason: String) -> SectionStatus {
    SectionStatus { state: State::Unavailable.into(), reason, age: None }
}

macro_rules! sections {
    ($($section:ident),* $(,)?) => {
        $(impl Section for $section {
            const NAME: &'static str = stringify!($section);

            fn status_mut(&mut self) -> &mut Option<SectionStatus> {
                &mut self.status
            }
        })*

        /// Of all sections.
        pub(super) const NAMES: &[&str] = &[$(stringify!($section)),*];
    };
}

sections! {
    ComplaintsSection,
    InteractionsSection,
    MessagesSection,
    PointsSection,
    ProfileSection,
    PurchasesSection,
    SurveysSection,
    TierSection,
}
