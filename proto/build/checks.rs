//! What a contract must state, beyond what the compiler and buf check. Each fault is one plain sentence.

use prost_reflect::{
    DescriptorPool, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, Value,
};

/// The package whose messages are written into logs and must hold no personal data.
const EVENTS: &str = "cqm.events.v1";

/// Everything that is wrong with the contracts, empty when they may be built.
pub fn faults(pool: &DescriptorPool) -> Vec<String> {
    let options = Options::of(pool);
    let mut faults = Vec::new();
    for method in methods(pool) {
        faults.extend(method_faults(&options, &method));
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

/// The suite's own options, found in the pool.
pub struct Options {
    policy: ExtensionDescriptor,
    personal: ExtensionDescriptor,
    role: EnumDescriptor,
}

impl Options {
    pub fn of(pool: &DescriptorPool) -> Self {
        let find =
            |name| pool.get_extension_by_name(name).expect("the options are compiled with the contracts");
        let role =
            pool.get_enum_by_name("cqm.options.v1.Role").expect("the roles are compiled with the contracts");
        Self { policy: find("cqm.options.v1.policy"), personal: find("cqm.options.v1.personal"), role }
    }

    pub fn policy(&self, method: &MethodDescriptor) -> Option<Policy> {
        let options = method.options();
        if !options.has_extension(&self.policy) {
            return None;
        }
        let value = options.get_extension(&self.policy);
        let policy = value.as_message().expect("a policy is a message");
        let roles = policy.get_field_by_name("roles").expect("a policy has roles");
        let roles = roles.as_list().expect("the roles of a policy are a list");
        let text = policy.get_field_by_name("no_request_id_reason").expect("a policy has a reason");
        let retry_safe =
            policy.get_field_by_name("retry_safe").expect("a policy says whether it is retry-safe");
        Some(Policy {
            roles: roles
                .iter()
                .filter_map(Value::as_enum_number)
                .map(|number| self.role_name(number))
                .collect(),
            retry_safe: retry_safe.as_bool().unwrap_or_default(),
            no_request_id_reason: text.as_str().unwrap_or_default().to_owned(),
        })
    }

    /// The role as it is written in the contract, such as `ROLE_SUPERVISOR`.
    fn role_name(&self, number: i32) -> String {
        let role = self.role.get_value(number).expect("a compiled policy names known roles");
        role.name().to_owned()
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
