//! The policy table, and the descriptors that reflection serves.

use std::collections::BTreeSet;

use cqm_proto::options::v1::PersonalKind::{Address, Attribute, Email, Name, Phone, Secret, Text};
use cqm_proto::options::v1::Role;
use cqm_proto::policy::Class;
use cqm_proto::{FILE_DESCRIPTOR_SET, Kinds, Mutation, complaints, loyalty, policy};
use prost::Message;
use prost_reflect::DescriptorPool;

#[test]
fn every_method_of_the_suite_has_a_policy_and_nothing_else_has_one() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let methods: BTreeSet<_> = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name()))
        .collect();
    let policies: BTreeSet<_> = policy::all().iter().map(|policy| policy.path.to_owned()).collect();
    assert!(methods.len() > 50, "only {} methods", methods.len());
    assert_eq!(methods, policies);
    for policy in policy::all() {
        assert_eq!(policy::find(policy.path), Some(policy));
        assert!(!policy.roles.is_empty() && !policy.roles.contains(&Role::Unspecified), "{}", policy.path);
    }
}

#[test]
fn a_policy_says_who_may_call() {
    let resolve = policy::find(complaints::v1::ResolveComplaintRequest::PATH).unwrap();
    assert!(resolve.allows(&[Role::CrmSpecialist, Role::ServiceRepresentative]));
    assert!(!resolve.allows(&[Role::Coordinator]));
    assert!(!resolve.allows(&[]));
    assert!(resolve.retry_safe && !resolve.read_only);

    let get = policy::find("/cqm.complaints.v1.ComplaintService/GetComplaint").unwrap();
    assert!(get.read_only && get.retry_safe && get.allows(&[Role::Coordinator]));

    let import = policy::find("/cqm.customers.v1.CustomerService/ImportCustomers").unwrap();
    assert!(!import.retry_safe && !import.read_only);

    assert_eq!(policy::find("/cqm.complaints.v1.ComplaintService/Resolve"), None);
    assert_eq!(policy::find(""), None);
}

#[test]
fn a_mutation_may_be_repeated_only_with_its_request_id() {
    let resolve = policy::find(complaints::v1::ResolveComplaintRequest::PATH).unwrap();
    let request = |request_id: &str| complaints::v1::ResolveComplaintRequest {
        name: "complaints/1".to_owned(),
        request_id: request_id.to_owned(),
        ..Default::default()
    };
    assert!(resolve.repeatable(&request("5e0b").encode_to_vec()));
    assert!(!resolve.repeatable(&request("").encode_to_vec()));
    assert!(!resolve.repeatable(b""));
    // The last one counts, and what cannot be read counts as none.
    let field = u8::try_from(resolve.request_id.unwrap()).unwrap();
    let twice = [request("5e0b").encode_to_vec(), vec![(field << 3) | 2, 0]].concat();
    assert!(!resolve.repeatable(&twice));
    let cut = [request("5e0b").encode_to_vec(), vec![0x0a, 200]].concat();
    assert!(!resolve.repeatable(&cut));

    let get = policy::find("/cqm.complaints.v1.ComplaintService/GetComplaint").unwrap();
    assert!(get.repeatable(b""));
    let import = policy::find("/cqm.customers.v1.CustomerService/ImportCustomers").unwrap();
    assert!(!import.repeatable(b""));
}

#[test]
fn a_methods_class_follows_from_its_shape() {
    for (path, class) in [
        ("/cqm.complaints.v1.ComplaintService/GetComplaint", Class::Read),
        ("/cqm.complaints.v1.ComplaintService/ResolveComplaint", Class::Write),
        ("/cqm.customers.v1.CustomerService/ImportCustomers", Class::Bulk),
    ] {
        assert_eq!(policy::find(path).unwrap().class(), class, "{path}");
    }
}

#[test]
fn a_caller_without_credentials_reaches_only_what_a_link_opens() {
    let open: Vec<_> = policy::all()
        .iter()
        .filter(|policy| policy.roles.contains(&Role::Customer))
        .map(|policy| policy.path)
        .collect();
    assert_eq!(
        open,
        [
            "/cqm.surveys.v1.InvitationService/OpenInvitation",
            "/cqm.surveys.v1.ResponseService/SubmitResponse"
        ]
    );
}

#[test]
fn the_coordinator_may_do_what_its_reactions_need_and_no_more() {
    let changes: Vec<_> = policy::all()
        .iter()
        .filter(|policy| !policy.read_only && policy.roles.contains(&Role::Coordinator))
        .map(|policy| policy.path)
        .filter(|path| !path.starts_with("/cqm.events.v1.EventFeed/"))
        .collect();
    assert_eq!(
        changes,
        [
            "/cqm.complaints.v1.ComplaintService/ReopenComplaint",
            "/cqm.customers.v1.ErasureService/RecordErasureStep",
            "/cqm.customers.v1.MergeService/RecordMergeStep",
            "/cqm.loyalty.v1.LedgerService/EarnPoints",
            "/cqm.notifications.v1.ContactService/PutContact",
            "/cqm.notifications.v1.MessageService/SendMessage",
            "/cqm.subjects.v1.SubjectService/EraseSubject",
            "/cqm.subjects.v1.SubjectService/MergeSubject",
            "/cqm.subjects.v1.SubjectService/ReleaseSubject",
            "/cqm.subjects.v1.SubjectService/RestrictSubject",
            "/cqm.surveys.v1.InvitationService/CreateInvitation",
        ]
    );
}

/// 004 2.1 and 4.3.3: everybody sees what their duties take, and no more.
#[test]
fn every_role_sees_what_its_duties_take_in_clear_for_a_purpose_or_never() {
    for (role, clear, purpose) in [
        (Role::ServiceManager, &[Name, Text][..], &[Phone, Email, Address, Attribute][..]),
        (Role::ServiceRepresentative, &[Name, Text], &[Phone, Email, Address, Attribute]),
        (Role::TechnicalSupport, &[Text], &[Name, Phone, Email]),
        (Role::AfterSales, &[Name, Text], &[Phone, Email, Address]),
        (Role::CrmSpecialist, &[Name, Phone, Email, Address, Attribute, Text], &[]),
        (Role::Supervisor, &[], &[Name, Phone, Email, Text]),
        (Role::InternalService, &[Name, Phone, Email, Address, Attribute, Text], &[]),
        (Role::Coordinator, &[Name, Phone, Email, Address, Attribute, Text], &[]),
        (Role::Customer, &[], &[]),
    ] {
        let rights = policy::rights(&[role]);
        // Who may get a secret is the method's own policy.
        assert_eq!(rights.clear, Kinds::of(clear) | Kinds::of(&[Secret]), "{role:?}");
        assert_eq!(rights.purpose, Kinds::of(purpose), "{role:?}");
    }
    let both = policy::rights(&[Role::TechnicalSupport, Role::AfterSales]);
    assert_eq!(both.clear, Kinds::of(&[Name, Text, Secret]), "what each of them opens");
    assert_eq!(policy::rights(&[]), policy::Rights::default());
}

#[test]
fn a_policy_says_which_personal_data_an_answer_may_hold() {
    let personal = |path: &str| policy::find(path).unwrap().personal;
    let customer = Kinds::of(&[Name, Phone, Email, Address, Attribute]);
    assert_eq!(personal("/cqm.customers.v1.CustomerService/GetCustomer"), customer);
    assert_eq!(personal("/cqm.customers.v1.CustomerService/ListCustomers"), customer);
    assert_eq!(personal("/cqm.gateway.v1.Customer360Service/GetCustomer360"), customer | Kinds::of(&[Text]));
    assert_eq!(personal("/cqm.surveys.v1.ResponseService/GetResponse"), Kinds::of(&[Text]));
    assert_eq!(personal("/cqm.surveys.v1.InvitationService/GetInvitationLink"), Kinds::of(&[Secret]));
    assert!(personal("/cqm.loyalty.v1.LedgerService/GetAccount").is_empty());
    // What a link opens shows nothing of anybody.
    for policy in policy::all().iter().filter(|policy| policy.roles.contains(&Role::Customer)) {
        assert!(policy.personal.is_empty(), "{}", policy.path);
    }
}

#[test]
fn a_mutation_gives_its_request_id() {
    let request = loyalty::v1::EarnPointsRequest { request_id: "7".to_owned(), ..Default::default() };
    assert_eq!(request.request_id(), "7");
    assert_eq!(loyalty::v1::EarnPointsRequest::PATH, "/cqm.loyalty.v1.LedgerService/EarnPoints");
}

#[test]
fn the_served_descriptors_hold_the_options_and_not_the_comments() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    assert!(pool.files().all(|file| file.file_descriptor_proto().source_code_info.is_none()));
    let personal = pool.get_extension_by_name("cqm.options.v1.personal").unwrap();
    let customer = pool.get_message_by_name("cqm.customers.v1.Customer").unwrap();
    let is_personal = |name| {
        let field = customer.get_field_by_name(name).unwrap();
        field.options().get_extension(&personal).as_bool()
    };
    assert_eq!(is_personal("display_name"), Some(true));
    assert_eq!(is_personal("name"), Some(false));
}
