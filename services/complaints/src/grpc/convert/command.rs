//! Messages to commands: every violation at once, each with its field's path.

use cqm_proto::complaints::v1 as wire;
use cqm_rpc::{Error, Etag, Personal, ResourceName, Violations, any_name, text};

use crate::domain::{COLLECTION, Matter, Reopening, RootCause, Severity};

const SUBJECT_LIMIT: usize = 200;
const TEXT_LIMIT: usize = 10_000;
const NOTE_LIMIT: usize = 1_000;
const ASSIGNEE_LIMIT: usize = 128;
const DEPARTMENT_LIMIT: usize = 64;
const MAX_COMPENSATION: i64 = 1_000_000;
pub(super) const COMPLETE: &str = "a missing part is a violation, and there are none";

/// The complaint that a verb is about, and the version that its caller has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: ResourceName,
    pub etag: Option<Etag>,
}

impl Target {
    fn parse(name: &str, etag: &str, request_id: &str, violations: &mut Violations) -> Option<Self> {
        let etag = Etag::parse("etag", etag, violations);
        let name = ResourceName::parse(COLLECTION, "name", name, violations);
        violations.optional_request_id(request_id);
        Some(Self { name: name?, etag })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    pub matter: Matter,
}

impl Register {
    pub fn parse(message: &wire::RegisterComplaintRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        violations.optional_request_id(&message.request_id);
        let Some(complaint) = &message.complaint else {
            violations.required("complaint");
            return Err(Error::Invalid(violations));
        };
        let customer =
            ResourceName::parse("customers", "complaint.customer", &complaint.customer, &mut violations);
        let channel = violations.choice("complaint.channel", complaint.channel);
        let category = violations.choice("complaint.category", complaint.category);
        let severity = violations.optional_choice("complaint.severity", complaint.severity);
        let subject = text::required("complaint.subject", &complaint.subject, SUBJECT_LIMIT, &mut violations);
        let description =
            text::block("complaint.description", &complaint.description, TEXT_LIMIT, &mut violations);
        let remedy_sought = violations.optional_choice("complaint.remedy_sought", complaint.remedy_sought);
        let remedy_note =
            text::block("complaint.remedy_note", &complaint.remedy_note, NOTE_LIMIT, &mut violations);
        violations.finish()?;
        Ok(Self {
            matter: Matter {
                customer: customer.expect(COMPLETE),
                channel: channel.expect(COMPLETE),
                category: category.expect(COMPLETE),
                severity: severity.unwrap_or(Severity::Medium),
                subject: subject.into(),
                description: description.into(),
                remedy_sought,
                remedy_note: remedy_note.into(),
            },
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    pub name: ResourceName,
}

impl Get {
    pub fn parse(message: &wire::GetComplaintRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let name = ResourceName::parse(COLLECTION, "name", &message.name, &mut violations);
        violations.finish()?;
        Ok(Self { name: name.expect(COMPLETE) })
    }
}

/// The verbs that say nothing but which complaint.
macro_rules! bare_verbs {
    ($($verb:ident of $message:ident),+ $(,)?) => {
        $(
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $verb {
                pub target: Target,
            }

            impl $verb {
                pub fn parse(message: &wire::$message) -> Result<Self, Error> {
                    let mut violations = Violations::default();
                    let target = Target::parse(&message.name, &message.etag, &message.request_id, &mut violations);
                    violations.finish()?;
                    Ok(Self { target: target.expect(COMPLETE) })
                }
            }
        )+
    };
}

bare_verbs! {
    Acknowledge of AcknowledgeComplaintRequest,
    StartInvestigation of StartInvestigationRequest,
    Close of CloseComplaintRequest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assign {
    pub target: Target,
    pub assignee: String,
}

impl Assign {
    pub fn parse(message: &wire::AssignComplaintRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let target = Target::parse(&message.name, &message.etag, &message.request_id, &mut violations);
        if message.assignee.is_empty() {
            violations.required("assignee");
        }
        let assignee = subject("assignee", &message.assignee, &mut violations);
        violations.finish()?;
        Ok(Self { target: target.expect(COMPLETE), assignee })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRootCause {
    pub target: Target,
    pub found: RootCause,
}

impl RecordRootCause {
    pub fn parse(message: &wire::RecordRootCauseRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let target = Target::parse(&message.name, &message.etag, &message.request_id, &mut violations);
        let (category, explanation) = match &message.root_cause {
            Some(cause) => (
                violations.choice("root_cause.category", cause.category),
                required_block("root_cause.explanation", &cause.explanation, &mut violations),
            ),
            None => {
                violations.required("root_cause");
                (None, Personal::default())
            }
        };
        let responsible_department = department(&message.responsible_department, &mut violations);
        violations.finish()?;
        Ok(Self {
            target: target.expect(COMPLETE),
            found: RootCause { category: category.expect(COMPLETE), explanation, responsible_department },
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    pub target: Target,
    pub summary: Personal<String>,
    pub compensation_points: i64,
}

impl Resolve {
    pub fn parse(message: &wire::ResolveComplaintRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let target = Target::parse(&message.name, &message.etag, &message.request_id, &mut violations);
        let summary = required_block("summary", &message.summary, &mut violations);
        if !(0..=MAX_COMPENSATION).contains(&message.compensation_points) {
            violations.range("compensation_points", "from 0 to 1000000");
        }
        violations.finish()?;
        Ok(Self {
            target: target.expect(COMPLETE),
            summary,
            compensation_points: message.compensation_points,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reopen {
    pub target: Target,
    pub reopening: Reopening,
}

impl Reopen {
    pub fn parse(message: &wire::ReopenComplaintRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let target = Target::parse(&message.name, &message.etag, &message.request_id, &mut violations);
        let reason = violations.choice("reason", message.reason);
        let note = text::block("note", &message.note, NOTE_LIMIT, &mut violations);
        if message.caused_by_version < 0 {
            violations.range("caused_by_version", "0 or more");
        }
        let cause = any_name("cause", &message.cause, &mut violations);
        violations.finish()?;
        Ok(Self {
            target: target.expect(COMPLETE),
            reopening: Reopening {
                reason: reason.expect(COMPLETE),
                note: note.into(),
                cause,
                about: Some(message.caused_by_version).filter(|version| *version != 0),
            },
        })
    }
}

/// A subject as the edge knows callers by: visible ASCII, so that it cannot be a sentence or a name in full.
pub(super) fn subject(field: &str, text: &str, violations: &mut Violations) -> String {
    if text.chars().count() > ASSIGNEE_LIMIT {
        violations.too_long(field, ASSIGNEE_LIMIT);
    }
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        violations.format(field, "a subject of visible ASCII characters");
    }
    text.to_owned()
}

fn department(key: &str, violations: &mut Violations) -> String {
    const FIELD: &str = "responsible_department";
    if key.is_empty() {
        violations.required(FIELD);
    }
    if key.chars().count() > DEPARTMENT_LIMIT {
        violations.too_long(FIELD, DEPARTMENT_LIMIT);
    }
    if !key.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')) {
        violations.format(FIELD, "a key of a-z, 0-9, \"-\" and \"_\"");
    }
    key.to_owned()
}

fn required_block(field: &str, words: &str, violations: &mut Violations) -> Personal<String> {
    let words = text::block(field, words, TEXT_LIMIT, violations);
    if words.is_empty() {
        violations.required(field);
    }
    words.into()
}

#[cfg(test)]
pub(super) mod tests;
