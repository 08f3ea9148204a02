//! Templates.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use cqm_proto::notifications::v1 as proto;
use cqm_rpc::time::wire;
use cqm_rpc::{Error, Etag, Mask, PageRequest, Violations, reason, text};

use super::{channels, write_channel};
use crate::TEMPLATES;
use crate::domain::message::Channel;
use crate::domain::template::{Content, Contents, DEFAULT_LOCALE, LOCALES, Template, TemplateKey};
use crate::domain::text::{CUSTOMER_NAME, is_variable_name};

const MAX_SUBJECT: usize = 200;
const MAX_VARIABLES: usize = 50;
const MUTABLE: [&str; 3] = ["contents", "variables", "channels"];

/// A template that is complete but for its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    key: TemplateKey,
    contents: Contents,
    variables: Vec<String>,
    channels: Vec<Channel>,
}

impl Draft {
    pub(crate) fn at(self, now: DateTime<Utc>) -> Template {
        Template {
            key: self.key,
            contents: self.contents,
            variables: self.variables,
            channels: self.channels,
            version: 1,
            create_time: now,
            update_time: now,
        }
    }
}

pub(crate) fn create(message: &proto::CreateTemplateRequest) -> Result<Draft, Error> {
    let mut violations = Violations::default();
    violations.optional_request_id(&message.request_id);
    let Some(template) = &message.template else {
        violations.required("template");
        return Err(Error::Invalid(violations));
    };
    let key = key("template.name", &template.name, &mut violations);
    let contents = contents(&template.contents, &mut violations);
    let variables = variables(&template.variables, &mut violations);
    let channels = some_channels(&template.channels, &mut violations);
    violations.finish()?;
    let draft =
        Draft { key: key.expect("no violation means that there is a key"), contents, variables, channels };
    draft.clone().at(DateTime::UNIX_EPOCH).check()?;
    Ok(draft)
}

/// A change of a template. What is `None` stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    pub key: TemplateKey,
    pub etag: Option<Etag>,
    contents: Option<Contents>,
    variables: Option<Vec<String>>,
    channels: Option<Vec<Channel>>,
}

impl Update {
    pub(crate) fn apply(&self, before: &Template) -> Template {
        let mut template = before.clone();
        if let Some(contents) = &self.contents {
            template.contents.clone_from(contents);
        }
        if let Some(variables) = &self.variables {
            template.variables.clone_from(variables);
        }
        if let Some(channels) = &self.channels {
            template.channels.clone_from(channels);
        }
        template
    }
}

pub(crate) fn update(message: &proto::UpdateTemplateRequest) -> Result<Update, Error> {
    let mut violations = Violations::default();
    violations.optional_request_id(&message.request_id);
    let etag = Etag::parse("etag", &message.etag, &mut violations);
    let Some(template) = &message.template else {
        violations.required("template");
        return Err(Error::Invalid(violations));
    };
    let key = key("template.name", &template.name, &mut violations);
    let populated = |path: &str| match path {
        "contents" => !template.contents.is_empty(),
        "variables" => !template.variables.is_empty(),
        _ => !template.channels.is_empty(),
    };
    let paths = message.update_mask.as_ref().map(|mask| mask.paths.as_slice());
    let mask = Mask::parse(paths, &MUTABLE, populated, &mut violations);
    let contents = mask.has("contents").then(|| contents(&template.contents, &mut violations));
    let variables = mask.has("variables").then(|| variables(&template.variables, &mut violations));
    let channels = mask.has("channels").then(|| some_channels(&template.channels, &mut violations));
    violations.finish()?;
    Ok(Update {
        key: key.expect("no violation means that there is a key"),
        etag,
        contents,
        variables,
        channels,
    })
}

pub(crate) fn name(name: &str) -> Result<TemplateKey, Error> {
    let mut violations = Violations::default();
    let key = key("name", name, &mut violations);
    violations.finish()?;
    Ok(key.expect("no violation means that there is a key"))
}

pub(crate) fn list(message: &proto::ListTemplatesRequest) -> Result<PageRequest<String>, Error> {
    let mut violations = Violations::default();
    let page = PageRequest::parse(message.page_size, &message.page_token, &["templates"], &mut violations);
    violations.finish()?;
    Ok(page)
}

pub(crate) fn page_key(template: &proto::Template) -> String {
    template.name.split('/').next_back().unwrap_or_default().to_owned()
}

pub(crate) fn answer(it: &Template) -> proto::Template {
    let contents = it.contents.iter().map(|(locale, content)| {
        let content =
            proto::template::Content { subject: content.subject.clone(), body: content.body.clone() };
        (locale.clone(), content)
    });
    proto::Template {
        name: it.key.to_string(),
        contents: contents.collect(),
        variables: it.variables.clone(),
        channels: it.channels.iter().map(|channel| write_channel(*channel).into()).collect(),
        create_time: Some(wire(it.create_time)),
        update_time: Some(wire(it.update_time)),
        etag: Etag::of(it.version).to_string(),
    }
}

pub(super) fn key(field: &str, name: &str, violations: &mut Violations) -> Option<TemplateKey> {
    if name.is_empty() {
        violations.required(field);
        return None;
    }
    let rest = name.strip_prefix(TEMPLATES).and_then(|rest| rest.strip_prefix('/'));
    let key = rest.and_then(TemplateKey::find);
    if key.is_none() {
        violations.format(field, "templates/{key}, the key 1-64 characters of a-z, 0-9, \"-\" and \"_\"");
    }
    key
}

fn contents(given: &BTreeMap<String, proto::template::Content>, violations: &mut Violations) -> Contents {
    if !given.contains_key(DEFAULT_LOCALE) {
        violations.required(&format!("template.contents.{DEFAULT_LOCALE}"));
    }
    let mut contents = Contents::new();
    for (locale, content) in given {
        let field = format!("template.contents.{}", text::printable(locale, 64));
        if !LOCALES.contains(&locale.as_str()) {
            violations.format(&field, "of one of the suite's languages, \"zh-CN\" and \"en\"");
            continue;
        }
        let subject = text::required(&format!("{field}.subject"), &content.subject, MAX_SUBJECT, violations);
        // Whether it is too large is told with its position, as everything that is wrong with a template's text.
        let body = text::block(&format!("{field}.body"), &content.body, usize::MAX, violations);
        if body.is_empty() {
            violations.required(&format!("{field}.body"));
        }
        contents.insert(locale.clone(), Content { subject, body });
    }
    contents
}

fn variables(given: &[String], violations: &mut Violations) -> Vec<String> {
    if given.len() > MAX_VARIABLES {
        violations.add(
            "template.variables",
            reason::FIELD_TOO_LONG,
            format!("has more than {MAX_VARIABLES} names"),
        );
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    for (index, name) in given.iter().enumerate() {
        let field = format!("template.variables[{index}]");
        if name == CUSTOMER_NAME {
            violations.format(&field, "another name: this variable is always known");
        } else if !is_variable_name(name) {
            violations
                .format(&field, "1-64 characters of a-z, 0-9 and \"_\", the first a letter, and no keyword");
        } else if !seen.insert(name) {
            violations.format(&field, "another name than those before it");
        }
    }
    given.to_vec()
}

fn some_channels(given: &[i32], violations: &mut Violations) -> Vec<Channel> {
    if given.is_empty() {
        violations.required("template.channels");
    }
    channels("template.channels", given, violations)
}
