//! What is generated from the suite's own options.

use std::fmt::Write as _;

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use crate::checks::{Options, messages, methods, read_only, request_id};
use crate::masks;

/// The rows of the policy table, sorted by path.
pub fn policies(pool: &DescriptorPool) -> String {
    let options = Options::of(pool);
    let mut rows: Vec<_> = methods(pool)
        .map(|method| {
            let policy = options.policy(&method).expect("a method without a policy does not build");
            let roles: Vec<_> =
                policy.roles.iter().map(|role| format!("Role::{}", variant("ROLE_", role))).collect();
            format!(
                "MethodPolicy {{ path: {:?}, roles: &[{}], retry_safe: {}, read_only: {}, streams: {}, \
                 request_id: {:?}, personal: {} }},\n",
                path(&method),
                roles.join(", "),
                policy.retry_safe,
                read_only(&method),
                method.is_client_streaming() || method.is_server_streaming(),
                request_id(&method.input()).map(|field| field.number()),
                masks::set(&options.kinds(&method.output())),
            )
        })
        .collect();
    rows.sort();
    format!("&[\n{}]\n", rows.concat())
}

/// `Mutation` for every request that is recognised by a request_id.
pub fn mutations(pool: &DescriptorPool) -> String {
    let mut code = String::new();
    for method in methods(pool).filter(|method| request_id(&method.input()).is_some()) {
        let _ = write!(
            code,
            "impl crate::Mutation for {} {{\n    \
                 const PATH: &'static str = {:?};\n    \
                 fn request_id(&self) -> &str {{ &self.request_id }}\n\
             }}\n",
            type_path(&method.input()),
            path(&method)
        );
    }
    code
}

/// The messages whose `Debug` is ours: those with a personal field, and those declared inside them.
pub fn redacted(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> {
    let options = Options::of(pool);
    messages(pool).filter(move |message| {
        let mut ancestors = std::iter::successors(Some(message.clone()), MessageDescriptor::parent_message);
        ancestors.any(|message| message.fields().any(|field| options.is_personal(&field)))
    })
}

/// `Debug` for the redacted messages and their oneofs.
pub fn debugs(pool: &DescriptorPool) -> String {
    let options = Options::of(pool);
    let mut code = String::new();
    for message in redacted(pool) {
        let mut body = String::new();
        let mut oneofs = Vec::new();
        for field in message.fields() {
            match field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
                Some(oneof) if oneofs.contains(&oneof) => {}
                Some(oneof) => {
                    let name = ident(oneof.name());
                    let _ = writeln!(body, "            .field({:?}, &self.{name})", oneof.name());
                    oneofs.push(oneof);
                }
                None => {
                    let value = field_value(&options, &field);
                    let _ = writeln!(body, "            .field({:?}, &{value})", field.name());
                }
            }
        }
        write_impl(
            &mut code,
            &type_path(&message),
            &format!("f.debug_struct({:?})\n{body}            .finish()", message.name()),
        );
        for oneof in oneofs {
            let mut arms = String::new();
            for field in oneof.fields() {
                let name = field.name().to_upper_camel_case();
                let (pattern, value) =
                    if options.is_personal(&field) { ("_", "Hidden") } else { ("value", "value") };
                let _ = writeln!(
                    arms,
                    "            Self::{name}({pattern}) => f.debug_tuple({name:?}).field(&{value}).finish(),"
                );
            }
            let path = format!(
                "{}::{}::{}",
                module_path(&message),
                message.name().to_snake_case(),
                oneof.name().to_upper_camel_case()
            );
            write_impl(&mut code, &path, &format!("match self {{\n{arms}        }}"));
        }
    }
    code
}

fn write_impl(code: &mut String, path: &str, builder: &str) {
    let _ = write!(
        code,
        "impl fmt::Debug for {path} {{\n    \
             fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {{\n        \
                 {builder}\n    \
             }}\n\
         }}\n"
    );
}

fn field_value(options: &Options, field: &FieldDescriptor) -> String {
    if options.is_personal(field) {
        return "Hidden".to_owned();
    }
    let name = ident(field.name());
    match field.kind() {
        Kind::Enum(kind) if !field.is_list() && !field.is_map() => {
            let mut path = module_of(kind.package_name());
            if let Some(parent) = kind.parent_message() {
                path = format!("{}::{}", module_path(&parent), parent.name().to_snake_case());
            }
            format!("EnumValue::<{path}::{}>::new(self.{name})", kind.name())
        }
        _ => format!("self.{name}"),
    }
}

fn path(method: &prost_reflect::MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

pub fn type_path(message: &MessageDescriptor) -> String {
    format!("{}::{}", module_path(message), message.name().to_upper_camel_case())
}

/// The module that prost puts the message into.
pub fn module_path(message: &MessageDescriptor) -> String {
    match message.parent_message() {
        None => module_of(message.package_name()),
        Some(parent) => format!("{}::{}", module_path(&parent), parent.name().to_snake_case()),
    }
}

fn module_of(package: &str) -> String {
    format!("crate::{}", package.replace('.', "::"))
}

/// The Rust name of an enum's value, as prost makes it.
pub fn variant(prefix: &str, value: &str) -> String {
    value.strip_prefix(prefix).unwrap_or(value).to_upper_camel_case()
}

/// The Rust name of a field. Keywords are escaped as prost escapes them, as far as the contracts use any.
pub fn ident(name: &str) -> String {
    if name == "type" { "r#type".to_owned() } else { name.to_owned() }
}
