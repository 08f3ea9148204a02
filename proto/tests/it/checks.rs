//! The checks that stop the build, each fed a contract that must not pass.

use std::path::Path;

use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

// Shared with the build script, which uses more of it.
#[allow(dead_code)]
#[path = "../../build/checks.rs"]
mod subject;

const SERVICE: &str = r#"
    syntax = "proto3";
    package cqm.bad.v1;
    import "cqm/options/v1/personal.proto";
    import "cqm/options/v1/policy.proto";
    message DoRequest { string name = 1; }
    message KeyedRequest { string request_id = 1; }
    message NumberedRequest { int64 request_id = 1; }
    message TokenRequest { string token = 1; }
    message SecretRequest {
        string token = 1 [(cqm.options.v1.personal) = true, (cqm.options.v1.personal_kind) = PERSONAL_KIND_SECRET];
    }
    message Done {}
    service BadService { METHOD }
"#;

struct Source {
    name: &'static str,
    text: String,
}

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name != self.name {
            return Err(protox::Error::file_not_found(name));
        }
        File::from_source(name, &self.text)
    }
}

fn faults(name: &'static str, text: String) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut resolver = ChainFileResolver::new();
    resolver.add(Source { name, text });
    resolver.add(IncludeFileResolver::new(root.join("third_party")));
    resolver.add(IncludeFileResolver::new(root.to_owned()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.open_file("cqm/options/v1/policy.proto").unwrap();
    compiler.open_file(name).unwrap();
    subject::faults(&compiler.descriptor_pool())
}

fn faults_of_method(method: &str) -> Vec<String> {
    faults("cqm/bad/v1/bad_service.proto", SERVICE.replace("METHOD", method))
}

#[test]
fn a_method_needs_a_policy() {
    assert_eq!(
        faults_of_method("rpc Do(KeyedRequest) returns (Done);"),
        ["cqm.bad.v1.BadService.Do has no policy: say with (cqm.options.v1.policy) who may call it."]
    );
}

#[test]
fn a_policy_needs_roles() {
    let expected = ["cqm.bad.v1.BadService.Do has no roles in its policy: say who may call it."];
    for policy in ["{retry_safe: true}", "{roles: [ROLE_SUPERVISOR, ROLE_UNSPECIFIED]}"] {
        let method =
            format!("rpc Do(KeyedRequest) returns (Done) {{ option (cqm.options.v1.policy) = {policy}; }}");
        assert_eq!(faults_of_method(&method), expected, "{policy}");
    }
}

#[test]
fn a_mutation_needs_a_request_id() {
    for request in ["DoRequest", "NumberedRequest"] {
        let method = format!(
            "rpc Do({request}) returns (Done) {{ option (cqm.options.v1.policy) = {{roles: ROLE_SUPERVISOR}}; }}"
        );
        let expected = format!(
            "cqm.bad.v1.BadService.Do changes something, but cqm.bad.v1.{request} has no `string request_id`: add one, \
             or say in no_request_id_reason why a repeat is harmless."
        );
        assert_eq!(faults_of_method(&method), [expected]);
    }
}

#[test]
fn a_reason_for_no_request_id_stands_only_where_there_is_none() {
    let policy = "option (cqm.options.v1.policy) = {roles: ROLE_SUPERVISOR, no_request_id_reason: \"why\"};";
    assert_eq!(
        faults_of_method(&format!("rpc Do(KeyedRequest) returns (Done) {{ {policy} }}")),
        ["cqm.bad.v1.BadService.Do has a request_id and a no_request_id_reason: drop one of them."]
    );
    assert_eq!(
        faults_of_method(&format!(
            "rpc Do(DoRequest) returns (Done) {{ option idempotency_level = NO_SIDE_EFFECTS; {policy} }}"
        )),
        ["cqm.bad.v1.BadService.Do has no side effects and needs no no_request_id_reason."]
    );
    assert!(faults_of_method(&format!("rpc Do(DoRequest) returns (Done) {{ {policy} }}")).is_empty());
}

#[test]
fn a_method_without_credentials_needs_a_secret_token() {
    let method = |request: &str| {
        format!(
            "rpc Do({request}) returns (Done) {{ option idempotency_level = NO_SIDE_EFFECTS; \
             option (cqm.options.v1.policy) = {{roles: ROLE_CUSTOMER}}; }}"
        )
    };
    let expected = "cqm.bad.v1.BadService.Do is open to callers without credentials, but its request carries no \
                    personal `string token`.";
    assert_eq!(faults_of_method(&method("DoRequest")), [expected]);
    assert_eq!(faults_of_method(&method("TokenRequest")), [expected]);
    assert!(faults_of_method(&method("SecretRequest")).is_empty());
}

#[test]
fn an_event_holds_no_personal_data() {
    let file = r#"
        syntax = "proto3";
        package cqm.events.v1;
        import "cqm/options/v1/personal.proto";
        message Inner {
            string email = 1 [(cqm.options.v1.personal) = true, (cqm.options.v1.personal_kind) = PERSONAL_KIND_EMAIL];
            repeated Inner inner = 2;
        }
        message Happened { string customer = 1; map<string, Inner> inners = 2; }
    "#;
    let sentence = |field| {
        format!(
            "cqm.events.v1.{field} holds personal data, which must not stand in an event: carry a resource name instead."
        )
    };
    assert_eq!(
        faults("cqm/events/v1/bad_events.proto", file.to_owned()),
        [sentence("Inner.email"), sentence("Inner.inner"), sentence("Happened.inners")]
    );
}

#[test]
fn personal_data_is_of_a_kind_and_nothing_else_is() {
    let file = r#"
        syntax = "proto3";
        package cqm.bad.v1;
        import "cqm/options/v1/personal.proto";
        message Person {
            string name = 1 [(cqm.options.v1.personal) = true];
            string code = 2 [(cqm.options.v1.personal_kind) = PERSONAL_KIND_TEXT];
        }
    "#;
    assert_eq!(
        faults("cqm/bad/v1/person.proto", file.to_owned()),
        [
            "cqm.bad.v1.Person.name is personal, but of no kind: say with (cqm.options.v1.personal_kind) what it tells \
             about somebody.",
            "cqm.bad.v1.Person.code is a PERSONAL_KIND_TEXT, but not marked (cqm.options.v1.personal)."
        ]
    );
}

#[test]
fn an_answer_names_whose_data_it_tells() {
    let answer = |fields: &str, around: &str| {
        let file = r#"
            syntax = "proto3";
            package cqm.bad.v1;
            import "cqm/options/v1/personal.proto";
            import "cqm/options/v1/policy.proto";
            import "google/api/field_behavior.proto";
            message GetRequest {}
            message Note { FIELDS }
            message Answer { AROUND repeated Note notes = 2; }
            service BadService {
                rpc Get(GetRequest) returns (Answer) {
                    option idempotency_level = NO_SIDE_EFFECTS;
                    option (cqm.options.v1.policy) = {roles: ROLE_SUPERVISOR};
                }
            }
        "#;
        faults("cqm/bad/v1/note.proto", file.replace("FIELDS", fields).replace("AROUND", around))
    };
    let text = "string text = 1 [(cqm.options.v1.personal) = true, (cqm.options.v1.personal_kind) = PERSONAL_KIND_TEXT];";
    let name = "string name = 3 [(google.api.field_behavior) = IDENTIFIER];";
    assert_eq!(
        answer(text, ""),
        [
            "cqm.bad.v1.BadService.Get tells personal data in cqm.bad.v1.Note without a name that a release could be \
          written down by: give it, or what holds it, a field with the behaviour IDENTIFIER."
        ]
    );
    assert!(answer(&format!("{text} {name}"), "").is_empty());
    assert!(answer(text, name).is_empty());
    assert!(answer(&text.replace("TEXT", "SECRET"), "").is_empty(), "a secret is not written down");
}
