//! The masking of personal data in answers, and whom an answer is about.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use crate::checks::{Options, identifier, messages};
use crate::tables::{ident, module_path, type_path, variant};

/// `PersonalData` for every message of the suite; for those without personal data it does nothing.
pub fn masks(pool: &DescriptorPool) -> String {
    let options = Options::of(pool);
    let mut code = String::new();
    for message in messages(pool) {
        let kinds = options.kinds(&message);
        if kinds.is_empty() {
            let _ = writeln!(code, "impl PersonalData for {} {{}}", type_path(&message));
            continue;
        }
        let _ = write!(
            code,
            "impl PersonalData for {} {{\n    \
                 const KINDS: Kinds = {};\n    \
                 fn mask(&mut self, kinds: Kinds) {{\n        \
                     if !kinds.meets(Self::KINDS) {{ return; }}\n{}    \
                 }}\n    \
                 fn subjects(&self, subjects: &mut Subjects) {{\n{}    \
                 }}\n\
             }}\n",
            type_path(&message),
            set(&kinds),
            mask(&options, &message),
            subjects(&options, &message),
        );
    }
    code
}

/// The roles, with what they see in clear and what they see for a purpose.
pub fn rights(pool: &DescriptorPool) -> String {
    let options = Options::of(pool);
    let disclosures = options.disclosures();
    let mut code = String::from("&[\n");
    for role in options.roles() {
        let of = |pick: fn(&crate::checks::Disclosure) -> &Vec<String>| {
            let kinds = disclosures.iter().filter(|(_, disclosure)| pick(disclosure).contains(&role));
            set(&kinds.map(|(kind, _)| kind.clone()).collect())
        };
        let _ = writeln!(
            code,
            "(Role::{}, Rights {{ clear: {}, purpose: {} }}),",
            variant("ROLE_", &role),
            of(|disclosure| &disclosure.clear),
            of(|disclosure| &disclosure.purpose),
        );
    }
    code + "]\n"
}

/// A set of kinds as Rust has it.
pub fn set(kinds: &BTreeSet<String>) -> String {
    let kinds: Vec<_> = kinds.iter().map(|kind| kind_path(kind)).collect();
    format!("Kinds::of(&[{}])", kinds.join(", "))
}

fn kind_path(kind: &str) -> String {
    format!("PersonalKind::{}", variant("PERSONAL_KIND_", kind))
}

fn mask(options: &Options, message: &MessageDescriptor) -> String {
    let mut body = String::new();
    let mut oneofs = Vec::new();
    for field in message.fields() {
        if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
            if !oneofs.contains(&oneof) {
                oneofs.push(oneof);
            }
            continue;
        }
        let name = ident(field.name());
        let value = format!("self.{name}");
        if holds_kinds(options, &field) {
            let each = if field.is_map() { "values_mut" } else { "iter_mut" };
            let _ = writeln!(body, "        for inner in {value}.{each}() {{ inner.mask(kinds); }}");
        } else if let Some(kind) = options.kind(&field) {
            let hide = hide(&field, &value, &kind);
            let _ = writeln!(body, "        if kinds.has({}) {{ {hide} }}", kind_path(&kind));
        }
    }
    for oneof in oneofs {
        let path = format!(
            "{}::{}::{}",
            module_path(message),
            message.name().to_snake_case(),
            oneof.name().to_upper_camel_case()
        );
        let mut arms = String::new();
        for field in oneof.fields() {
            let pattern = format!("Some({path}::{}(inner))", field.name().to_upper_camel_case());
            if holds_kinds(options, &field) {
                let _ = writeln!(arms, "            {pattern} => inner.mask(kinds),");
            } else if let Some(kind) = options.kind(&field) {
                let hide = hide(&field, "*inner", &kind);
                let _ = writeln!(
                    arms,
                    "            {pattern} if kinds.has({}) => {{ {hide} }}",
                    kind_path(&kind)
                );
            }
        }
        if !arms.is_empty() {
            let name = ident(oneof.name());
            let _ =
                writeln!(body, "        match &mut self.{name} {{\n{arms}            _ => {{}}\n        }}");
        }
    }
    body
}

/// Texts have a form that somebody can be recognised by; everything else is left out.
fn hide(field: &FieldDescriptor, value: &str, kind: &str) -> String {
    let text = match field.kind() {
        Kind::String => true,
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind() == Kind::String,
        _ => false,
    };
    if text {
        let place = value.strip_prefix('*').map_or_else(|| format!("&mut {value}"), str::to_owned);
        format!("Hide::hide({place}, {});", kind_path(kind))
    } else {
        format!("{value} = Default::default();")
    }
}

/// Whether the field is of a message that masks itself.
fn holds_kinds(options: &Options, field: &FieldDescriptor) -> bool {
    inner(field).is_some_and(|message| !options.kinds(&message).is_empty())
}

/// The message that a field holds, one or many of.
fn inner(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => match entry.map_entry_value_field().kind() {
            Kind::Message(message) => Some(message),
            _ => None,
        },
        Kind::Message(message) => Some(message),
        _ => None,
    }
}

fn subjects(options: &Options, message: &MessageDescriptor) -> String {
    let mut body = String::new();
    if let Some(name) = identifier(message) {
        let customer = ["customer", "recipient"].into_iter().find(|name| {
            message
                .get_field_by_name(name)
                .is_some_and(|field| field.kind() == Kind::String && !field.is_list())
        });
        let customer = customer.map_or_else(|| "\"\"".to_owned(), |field| format!("&self.{}", ident(field)));
        let _ = writeln!(body, "        subjects.add(&self.{}, {customer});", ident(name.name()));
    }
    for field in message.fields() {
        let plain = field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic());
        if plain && !field.is_map() && holds_kinds(options, &field) {
            let name = ident(field.name());
            let _ = writeln!(body, "        for inner in self.{name}.iter() {{ inner.subjects(subjects); }}");
        }
    }
    if body.is_empty() { "        let _ = subjects;\n".to_owned() } else { body }
}
