//! Customers: commands, queries and the resource.

use chrono::{DateTime, Utc};
use cqm_proto::customers::v1 as proto;
use cqm_proto::customers::v1::customer::State;
use cqm_proto::{Kinds, PersonalData as _};
use cqm_rpc::{Error, Etag, Mask, PageRequest, ResourceName, Violations, reason, text, time};
use uuid::Uuid;

use super::profile;
use super::words::Wire;
use crate::domain::contact::DialRegion;
use crate::domain::customer::{COLLECTION, Customer};
use crate::domain::profile::{FIELDS, Profile, SourceChannel, tag};
use crate::store::customer::Filter;

/// Reads one version of one customer.
#[derive(Debug)]
pub struct Get {
    pub id: Uuid,
    pub minimum_version: Option<i64>,
}

#[derive(Debug)]
pub struct Update {
    pub id: Uuid,
    pub etag: Option<Etag>,
    pub profile: Profile,
    pub mask: Mask,
}

#[derive(Debug)]
pub struct Delete {
    pub id: Uuid,
    pub etag: Option<Etag>,
}

#[derive(Debug)]
pub struct List {
    pub filter: Filter,
    /// By id, the newest first.
    pub page: PageRequest<Uuid>,
}

impl Get {
    pub fn parse(message: &proto::GetCustomerRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let id = read_name("name", &message.name, &mut violations);
        let minimum = Etag::parse("minimum_etag", &message.minimum_etag, &mut violations);
        violations.finish()?;
        Ok(Self { id, minimum_version: minimum.map(Etag::version) })
    }
}

/// Reads the profile of a new customer.
pub fn parse_create(message: &proto::CreateCustomerRequest, now: DateTime<Utc>) -> Result<Profile, Error> {
    let mut violations = Violations::default();
    violations.optional_request_id(&message.request_id);
    let region = profile::read_region(&message.default_region, &mut violations);
    let profile = read_new(message.customer.as_ref(), region, now, &mut violations);
    violations.finish()?;
    Ok(profile)
}

/// Reads one row of an import; there the external reference is the row's key.
pub fn parse_import(message: &proto::ImportCustomersRequest, now: DateTime<Utc>) -> Result<Profile, Error> {
    let mut violations = Violations::default();
    let region = profile::read_region(&message.default_region, &mut violations);
    let profile = read_new(message.customer.as_ref(), region, now, &mut violations);
    if message.customer.as_ref().is_some_and(|customer| customer.external_reference.trim().is_empty()) {
        violations.required("customer.external_reference");
    }
    violations.finish()?;
    Ok(profile)
}

impl Update {
    /// `sees`: what the caller sees of a customer. Who does not see all of it cannot give all of it anew.
    pub fn parse(
        message: &proto::UpdateCustomerRequest,
        sees: Kinds,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let mut violations = Violations::default();
        violations.optional_request_id(&message.request_id);
        let region = profile::read_region(&message.default_region, &mut violations);
        let etag = Etag::parse("etag", &message.etag, &mut violations);
        let Some(customer) = &message.customer else {
            violations.required("customer");
            return Err(Error::Invalid(violations));
        };
        let id = read_name("customer.name", &customer.name, &mut violations);
        let paths = message.update_mask.as_ref().map(|mask| mask.paths.as_slice());
        if paths.is_some_and(|paths| paths == ["*"]) && !(proto::Customer::KINDS - sees).is_empty() {
            let description = "must name the fields: not all of them are shown to the caller";
            violations.add("update_mask", reason::FIELD_MASKED, description);
        }
        let populated = |field: &str| profile::is_populated(customer, field);
        let mask = Mask::parse(paths, FIELDS, populated, &mut violations);
        let profile = profile::read(customer, region, now, |field| mask.has(field), &mut violations);
        violations.finish()?;
        Ok(Self { id, etag, profile, mask })
    }
}

impl Delete {
    pub fn parse(message: &proto::DeleteCustomerRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let id = read_name("name", &message.name, &mut violations);
        let etag = Etag::parse("etag", &message.etag, &mut violations);
        violations.optional_request_id(&message.request_id);
        violations.finish()?;
        Ok(Self { id, etag })
    }
}

impl List {
    pub fn parse(message: &proto::ListCustomersRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let channel =
            violations.optional_choice::<proto::SourceChannel>("source_channel", message.source_channel);
        let known_tag = Some(message.tag.as_str()).filter(|tag| !tag.is_empty()).and_then(|text| {
            let tag = tag(text);
            if tag.is_none() {
                violations.format("tag", "a tag that a customer can have");
            }
            tag
        });
        let reference = text::line(
            "external_reference",
            &message.external_reference,
            profile::MAX_EXTERNAL_REFERENCE,
            &mut violations,
        );
        let channel_number = message.source_channel.to_string();
        let query = ["customers", known_tag.as_deref().unwrap_or_default(), &channel_number, &reference];
        let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
        violations.finish()?;
        let filter = Filter {
            tag: known_tag,
            source_channel: channel.and_then(SourceChannel::of),
            external_reference: Some(reference).filter(|reference| !reference.is_empty()),
            id: None,
        };
        Ok(Self { filter, page })
    }
}

/// Reads a required name of a customer. What is wrong with it is a violation, so that the answer does not matter.
pub(super) fn read_name(field: &str, name: &str, violations: &mut Violations) -> Uuid {
    ResourceName::parse(COLLECTION, field, name, violations).map_or(Uuid::nil(), |name| name.id())
}

fn read_new(
    message: Option<&proto::Customer>,
    region: DialRegion,
    now: DateTime<Utc>,
    violations: &mut Violations,
) -> Profile {
    match message {
        Some(message) => profile::read(message, region, now, |_| true, violations),
        None => {
            violations.required("customer");
            Profile::default()
        }
    }
}

/// The resource as callers see it.
pub fn write(customer: &Customer) -> proto::Customer {
    let state = if customer.delete_time.is_some() { State::Deleted } else { State::Active };
    proto::Customer {
        name: customer.name().to_string(),
        state: state.into(),
        create_time: Some(time::wire(customer.create_time)),
        update_time: Some(time::wire(customer.update_time)),
        etag: Etag::of(customer.version).to_string(),
        ..profile::write(&customer.profile)
    }
}

/// The version that an answer of ours tells.
pub fn version(answer: &proto::Customer) -> i64 {
    Etag::parse("etag", &answer.etag, &mut Violations::default()).map_or(0, Etag::version)
}
