//! What a contract must state, beyond what the compiler and buf check. Each fault is one plain sentence.

use std::collections::BTreeSet;

use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind,
    MessageDescriptor, MethodDescriptor, Value,
};

/// The package whose messages are written into logs and must hold no personal data.
const EVENTS: &str = "cqm.events.v1";
/// The kind that is told to whoever may call, and not written down.
const SECRET: &str = "PERSONAL_KIND_SECRET";

/// Everything that is wrong with the contracts, empty when they may be built.
pub fn faults(pool: &DescriptorPool) -> Vec<String> {
    let options = Options::of(pool);
    let mut faults = Vec::new();
    for method in methods(pool) {
        faults.extend(method_faults(&options, &method));
    }
    for message in messages(pool) {
        faults.extend(message.fields().filter_map(|field| kind_fault(&options, &field)));
    }
    for (kind, disclosure) in options.disclosures() {
        if disclosure.clear.is_empty() {
            faults.push(format!("{kind} has no (cqm.options.v1.disclosure): say who sees it in clear."));
        }
    }
    for message in messages(pool).filter(|message| message.package_name() == EVENTS) {
        for field in message.fields().filter(|field| holds_personal_data(&options, field, &mut Vec::new())) {
            faults.push(format!(
                "{} holds personal data, which must not stand in an event: carry a resource name instead.",
                field.full_name()
            ));
        }
    }
    faults
}

fn method_faults(options: &Options, method: &MethodDescriptor) -> Vec<String> {
    let name = method.full_name();
    let Some(policy) = options.policy(method) else {
        return vec![format!("{name} has no policy: say with (cqm.options.v1.policy) who may call it.")];
    };
    let mut faults = Vec::new();
    if policy.roles.is_empty() || policy.roles.iter().any(|role| role == "ROLE_UNSPECIFIED") {
        faults.push(format!("{name} has no roles in its policy: say who may call it."));
    }
    if policy.roles.iter().any(|role| role == "ROLE_CUSTOMER") {
        let token = method.input().get_field_by_name("token");
        if !token.is_some_and(|field| field.kind() == Kind::String && options.is_personal(&field)) {
            faults.push(format!(
                "{name} is open to callers without credentials, but its request carries no personal `string token`."
            ));
        }
    }
    if let Some(nameless) = nameless(options, &method.output(), &mut Vec::new()) {
        faults.push(format!(
            "{name} tells personal data in {nameless} without a name that a release could be written down by: give it, \
             or what holds it, a field with the behaviour IDENTIFIER."
        ));
    }
    let keyed = request_id(&method.input()).is_some();
    let reason = !policy.no_request_id_reason.is_empty();
    if read_only(method) {
        if reason {
            faults.push(format!("{name} has no side effects and needs no no_request_id_reason."));
        }
    } else if !keyed && !reason {
        faults.push(format!(
            "{name} changes something, but {} has no `string request_id`: add one, or say in no_request_id_reason why \
             a repeat is harmless.",
            method.input().full_name()
        ));
    } else if keyed && reason {
        faults.push(format!("{name} has a request_id and a no_request_id_reason: drop one of them."));
    }
    faults
}

/// A personal field is of a kind, and nothing else is.
fn kind_fault(options: &Options, field: &FieldDescriptor) -> Option<String> {
    let name = field.full_name();
    match (options.is_personal(field), options.kind(field)) {
        (true, None) => Some(format!(
            "{name} is personal, but of no kind: say with (cqm.options.v1.personal_kind) what it tells about somebody."
        )),
        (false, Some(kind)) => Some(format!("{name} is a {kind}, but not marked (cqm.options.v1.personal).")),
        _ => None,
    }
}

/// A message with personal data that no message around it gives a name to.
fn nameless(options: &Options, message: &MessageDescriptor, seen: &mut Vec<String>) -> Option<String> {
    if identifier(message).is_some() || seen.iter().any(|name| name == message.full_name()) {
        return None;
    }
    seen.push(message.full_name().to_owned());
    let told = |field: &FieldDescriptor| options.kind(field).is_some_and(|kind| kind != SECRET);
    if message.fields().any(|field| told(&field)) {
        return Some(message.full_name().to_owned());
    }
    message.fields().find_map(|field| match field.kind() {
        Kind::Message(inner) => nameless(options, &inner, seen),
        _ => None,
    })
}

/// Whether the field, or anything in the message that it holds, is personal.
fn holds_personal_data(options: &Options, field: &FieldDescriptor, seen: &mut Vec<String>) -> bool {
    if options.is_personal(field) {
        return true;
    }
    let Kind::Message(message) = field.kind() else {
        return false;
    };
    if seen.iter().any(|name| name == message.full_name()) {
        return false;
    }
    seen.push(message.full_name().to_owned());
    message.fields().any(|field| holds_personal_data(options, &field, seen))
}

/// What a method's policy says.
pub struct Policy {
    pub roles: Vec<String>,
    pub retry_safe: bool,
    pub no_request_id_reason: String,
}

/// Who sees a kind of personal data in clear.
pub struct Disclosure {
    pub clear: Vec<String>,
    pub purpose: Vec<String>,
}

/// The suite's own options, found in the pool.
pub struct Options {
    policy: ExtensionDescriptor,
    personal: ExtensionDescriptor,
    personal_kind: ExtensionDescriptor,
    disclosure: ExtensionDescriptor,
    role: EnumDescriptor,
    kind: EnumDescriptor,
}

impl Options {
    pub fn of(pool: &DescriptorPool) -> Self {
        let find =
            |name| pool.get_extension_by_name(name).expect("the options are compiled with the contracts");
        let find_enum =
            |name| pool.get_enum_by_name(name).expect("the options are compiled with the contracts");
        Self {
            policy: find("cqm.options.v1.policy"),
            personal: find("cqm.options.v1.personal"),
            personal_kind: find("cqm.options.v1.personal_kind"),
            disclosure: find("cqm.options.v1.disclosure"),
            role: find_enum("cqm.options.v1.Role"),
            kind: find_enum("cqm.options.v1.PersonalKind"),
        }
    }

    pub fn policy(&self, method: &MethodDescriptor) -> Option<Policy> {
        let options = method.options();
        if !options.has_extension(&self.policy) {
            return None;
        }
        let value = options.get_extension(&self.policy);
        let policy = value.as_message().expect("a policy is a message");
        let text = policy.get_field_by_name("no_request_id_reason").expect("a policy has a reason");
        let retry_safe =
            policy.get_field_by_name("retry_safe").expect("a policy says whether it is retry-safe");
        Some(Policy {
            roles: self.role_names(policy, "roles"),
            retry_safe: retry_safe.as_bool().unwrap_or_default(),
            no_request_id_reason: text.as_str().unwrap_or_default().to_owned(),
        })
    }

    /// The roles of a field, as they are written in the contract, such as `ROLE_SUPERVISOR`.
    fn role_names(&self, message: &DynamicMessage, field: &str) -> Vec<String> {
        let roles = message.get_field_by_name(field).expect("the field stands in the option's message");
        let roles = roles.as_list().expect("roles are a list").iter().filter_map(Value::as_enum_number);
        roles.map(|number| self.role.get_value(number).expect("a known role").name().to_owned()).collect()
    }

    /// All roles but the unspecified one.
    pub fn roles(&self) -> impl Iterator<Item = String> {
        self.role.values().filter(|role| role.number() != 0).map(|role| role.name().to_owned())
    }

    /// The kinds of personal data but the unspecified one, with who sees them.
    pub fn disclosures(&self) -> Vec<(String, Disclosure)> {
        let kinds = self.kind.values().filter(|kind| kind.number() != 0);
        kinds
            .map(|kind| {
                let value = kind.options().get_extension(&self.disclosure).into_owned();
                let message = value.as_message().expect("a disclosure is a message");
                let (clear, purpose) =
                    (self.role_names(message, "clear"), self.role_names(message, "purpose"));
                (kind.name().to_owned(), Disclosure { clear, purpose })
            })
            .collect()
    }

    /// What the field tells about somebody, such as `PERSONAL_KIND_NAME`.
    pub fn kind(&self, field: &FieldDescriptor) -> Option<String> {
        let options = field.options();
        let number =
            options.get_extension(&self.personal_kind).as_enum_number().filter(|number| *number != 0)?;
        Some(self.kind.get_value(number).expect("a known kind").name().to_owned())
    }

    /// The kinds of a message with all that it holds.
    pub fn kinds(&self, message: &MessageDescriptor) -> BTreeSet<String> {
        let mut kinds = BTreeSet::new();
        self.collect_kinds(message, &mut Vec::new(), &mut kinds);
        kinds
    }

    fn collect_kinds(
        &self,
        message: &MessageDescriptor,
        seen: &mut Vec<String>,
        kinds: &mut BTreeSet<String>,
    ) {
        if seen.iter().any(|name| name == message.full_name()) {
            return;
        }
        seen.push(message.full_name().to_owned());
        for field in message.fields() {
            kinds.extend(self.kind(&field));
            if let Kind::Message(inner) = field.kind() {
                self.collect_kinds(&inner, seen, kinds);
            }
        }
    }

    pub fn is_personal(&self, field: &FieldDescriptor) -> bool {
        field.options().get_extension(&self.personal).as_bool().unwrap_or_default()
    }
}

/// All methods of the suite's own services.
pub fn methods(pool: &DescriptorPool) -> impl Iterator<Item = MethodDescriptor> {
    pool.services()
        .filter(|service| service.package_name().starts_with("cqm."))
        .flat_map(|service| service.methods().collect::<Vec<_>>())
}

/// All of the suite's own messages, nested ones included, without the entries of maps.
pub fn messages(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> {
    pool.all_messages()
        .filter(|message| message.package_name().starts_with("cqm.") && !message.is_map_entry())
}

/// The field by which a repeat of the request is recognised.
pub fn request_id(message: &MessageDescriptor) -> Option<FieldDescriptor> {
    message.get_field_by_name("request_id").filter(|field| {
        field.kind() == Kind::String && !field.is_list() && field.containing_oneof().is_none()
    })
}

/// Whether the standard option says that the method changes nothing.
pub fn read_only(method: &MethodDescriptor) -> bool {
    let options = method.options();
    let level = options.get_field_by_name("idempotency_level").and_then(|value| value.as_enum_number());
    // MethodOptions.IdempotencyLevel.NO_SIDE_EFFECTS
    level == Some(1)
}

/// The field that names the resource: the one with the behaviour IDENTIFIER.
pub fn identifier(message: &MessageDescriptor) -> Option<FieldDescriptor> {
    let pool = message.parent_pool();
    let behavior = pool.get_extension_by_name("google.api.field_behavior")?;
    message.fields().find(|field| {
        let options = field.options();
        let value = options.get_extension(&behavior);
        // FieldBehavior.IDENTIFIER
        value.as_list().is_some_and(|list| list.iter().any(|value| value.as_enum_number() == Some(8)))
    })
}
