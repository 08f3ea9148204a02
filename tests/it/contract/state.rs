//! Good messages at the wrong moment: absent rows, repeats, versions, states, and what is left.

use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::complaints::v1::{
    AcknowledgeComplaintRequest, CloseComplaintRequest, GetComplaintRequest, GetSlaPolicyRequest,
    ListTimelineRequest, RegisterComplaintRequest, ResolveComplaintRequest,
};
use cqm_proto::customers::v1::purchase_service_client::PurchaseServiceClient;
use cqm_proto::customers::v1::{
    CreateCustomerRequest, Customer, DeleteCustomerRequest, GetCustomerRequest, ListPurchasesRequest,
    UpdateCustomerRequest,
};
use cqm_proto::google::r#type::Money;
use cqm_proto::loyalty::v1::earn_points_request::Basis;
use cqm_proto::loyalty::v1::{
    AdjustmentBasis, CompensationBasis, EarnPointsRequest, FreezeMemberRequest, GetAccountRequest,
    PurchaseBasis, RedeemPointsRequest, UnfreezeMemberRequest,
};
use cqm_proto::surveys::v1::create_invitation_request::Target;
use cqm_proto::surveys::v1::invitation_service_client::InvitationServiceClient;
use cqm_proto::surveys::v1::response_service_client::ResponseServiceClient;
use cqm_proto::surveys::v1::{
    CreateInvitationRequest, GetInvitationLinkRequest, GetInvitationRequest, OpenInvitationRequest, Purpose,
    SubmitResponseRequest,
};
use prost::Message;
use prost_types::Timestamp;
use tonic::Code;

use super::wire::frame;
use super::{Desk, about, create, fresh, named, nobody, refused, register};

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_what_is_there_is_refused_and_changes_nothing() {
    let desk = Desk::open().await;
    absent_and_erased_rows(&desk).await;
    wrong_links(&desk).await;
    repeats(&desk).await;
    etags(&desk).await;
    moves(&desk).await;
    points(&desk).await;
    the_first_thing_that_is_wrong_is_told(&desk).await;
    desk.close().await;
}

async fn absent_and_erased_rows(desk: &Desk) {
    let (absent, erased) = (nobody("customers"), desk.erased().await);
    let get = |name: &str| GetCustomerRequest { name: name.to_owned(), ..Default::default() };
    let not_found =
        refused(desk.customers().get_customer(get(&absent)).await, Code::NotFound, "CUSTOMER_NOT_FOUND");
    assert_eq!(
        (not_found.fact("name"), not_found.failure.domain.as_str()),
        (absent.as_str(), "cqm.customers.v1")
    );
    assert_eq!(not_found.details, ["ErrorInfo", "ResourceInfo"]);
    let told =
        refused(desk.customers().get_customer(get(&erased)).await, Code::NotFound, "CUSTOMER_NOT_FOUND");
    assert_eq!(told.bytes, not_found.instead(&absent, &erased), "who was here and who never was");

    for name in [&absent, &erased] {
        let expected = not_found.instead(&absent, name);
        let update = UpdateCustomerRequest {
            customer: Some(Customer { name: name.clone(), ..named("B") }),
            ..Default::default()
        };
        let told =
            refused(desk.customers().update_customer(update).await, Code::NotFound, "CUSTOMER_NOT_FOUND");
        assert_eq!(told.bytes, expected);
        let delete = DeleteCustomerRequest { name: name.clone(), ..Default::default() };
        let told =
            refused(desk.customers().delete_customer(delete).await, Code::NotFound, "CUSTOMER_NOT_FOUND");
        assert_eq!(told.bytes, expected);
        let list = ListPurchasesRequest { customer: name.clone(), ..Default::default() };
        let outcome = PurchaseServiceClient::new(desk.staff.clone()).list_purchases(list).await;
        assert_eq!(refused(outcome, Code::NotFound, "CUSTOMER_NOT_FOUND").bytes, expected);
    }

    let name = nobody("complaints");
    let get = GetComplaintRequest { name: name.clone() };
    let not_found =
        refused(desk.complaints().get_complaint(get).await, Code::NotFound, "COMPLAINT_NOT_FOUND");
    assert_eq!(not_found.fact("name"), name);
    let list = ListTimelineRequest { complaint: name.clone(), ..Default::default() };
    let told = refused(desk.complaints().list_timeline(list).await, Code::NotFound, "COMPLAINT_NOT_FOUND");
    assert_eq!(told.bytes, not_found.bytes);
    let close = CloseComplaintRequest { name, ..Default::default() };
    let told = refused(desk.complaints().close_complaint(close).await, Code::NotFound, "COMPLAINT_NOT_FOUND");
    assert_eq!(told.bytes, not_found.bytes);
    let get = GetSlaPolicyRequest { name: "slaPolicies/9".to_owned() };
    let told = refused(desk.sla_policies().get_sla_policy(get).await, Code::NotFound, "SLA_POLICY_NOT_FOUND");
    assert_eq!(told.failure.domain, "cqm.complaints.v1");
    let account = GetAccountRequest { customer: nobody("customers") };
    let told = refused(desk.ledger().get_account(account).await, Code::NotFound, "MEMBER_NOT_FOUND");
    assert_eq!(told.failure.domain, "cqm.loyalty.v1");
    let get = GetInvitationRequest { name: nobody("invitations") };
    let outcome = InvitationServiceClient::new(desk.staff.clone()).get_invitation(get).await;
    assert_eq!(refused(outcome, Code::NotFound, "INVITATION_NOT_FOUND").failure.domain, "cqm.surveys.v1");
}

async fn wrong_links(desk: &Desk) {
    let invite = CreateInvitationRequest {
        customer: nobody("customers"),
        target: Some(Target::Purpose(Purpose::ComplaintHandling.into())),
        request_id: fresh(),
        ..Default::default()
    };
    let invitation =
        InvitationServiceClient::new(desk.staff.clone()).create_invitation(invite).await.unwrap();
    let link = GetInvitationLinkRequest { name: invitation.into_inner().name };
    let link = InvitationServiceClient::new(desk.internal.clone()).get_invitation_link(link).await.unwrap();
    let token = link.into_inner().token;
    let open = async |token: &str| {
        let open = OpenInvitationRequest { token: token.to_owned() };
        InvitationServiceClient::new(desk.stranger.clone()).open_invitation(open).await
    };
    open(&token).await.expect("the link opens");

    let first = open("nothing").await;
    let not_found = refused(first, Code::NotFound, "INVITATION_NOT_FOUND");
    let flipped = |at: usize| {
        let other = if &token[at..=at] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &token[..at], &token[at + 1..])
    };
    // Of another invitation, another time, another signature; cut, lengthened, none at all.
    let wrong = [
        flipped(0),
        flipped(token.len() / 2),
        flipped(token.len() - 1),
        token[..token.len() - 1].to_owned(),
        format!("{token}A"),
        "A".repeat(token.len()),
        "'; DROP TABLE invitations;--".to_owned(),
        "客户".to_owned(),
    ];
    for wrong in wrong {
        let told = refused(open(&wrong).await, Code::NotFound, "INVITATION_NOT_FOUND");
        assert_eq!(told.bytes, not_found.bytes, "{wrong}");
        let submit = SubmitResponseRequest { token: wrong.clone(), ..Default::default() };
        let outcome = ResponseServiceClient::new(desk.stranger.clone()).submit_response(submit).await;
        let told = refused(outcome, Code::NotFound, "INVITATION_NOT_FOUND");
        assert_eq!(told.bytes, not_found.bytes, "{wrong}");
    }
}

async fn repeats(desk: &Desk) {
    // Byte for byte, and the complaint is one.
    let wire = desk.wire().await;
    let bearer = desk.bearer();
    let message = register(about("It does not work"));
    let path = "/cqm.complaints.v1.ComplaintService/RegisterComplaint";
    let call = async |message: &RegisterComplaintRequest| {
        wire.call(path, &[("authorization", &bearer)], frame(&message.encode_to_vec())).await
    };
    let (first, at_once) = tokio::join!(call(&message), call(&message));
    assert_eq!(
        (first.status().code(), at_once.status().code()),
        (Code::Ok, Code::Ok),
        "the second one waits"
    );
    assert!(first.body.len() > 5);
    assert_eq!(first.body, at_once.body);
    assert_eq!(call(&message).await.body, first.body);

    // Another message, another method.
    let other = RegisterComplaintRequest { complaint: Some(about("It does work")), ..message.clone() };
    let answer = call(&other).await;
    let told = super::told(&answer.status(), Code::FailedPrecondition, "REQUEST_ID_REUSED");
    assert_eq!(told.details, ["ErrorInfo", "PreconditionFailure"]);
    let acknowledge = AcknowledgeComplaintRequest {
        name: nobody("complaints"),
        request_id: message.request_id.clone(),
        ..Default::default()
    };
    let outcome = desk.complaints().acknowledge_complaint(acknowledge).await;
    refused(outcome, Code::FailedPrecondition, "REQUEST_ID_REUSED");
    // Another service's requests are its own, and so are another caller's.
    let same = CreateCustomerRequest { request_id: message.request_id.clone(), ..create(named("A")) };
    desk.customers().create_customer(same).await.unwrap();
    let theirs = ComplaintServiceClient::new(desk.internal.clone()).register_complaint(other).await.unwrap();
    assert_eq!(theirs.into_inner().subject, "It does work");
    assert_eq!(call(&message).await.body, first.body);

    // The ledger's.
    let customer = nobody("customers");
    let earn = |points| EarnPointsRequest {
        customer: customer.clone(),
        basis: Some(Basis::Compensation(CompensationBasis { points })),
        request_id: message.request_id.clone(),
        ..Default::default()
    };
    let first = desk.ledger().earn_points(earn(5)).await.unwrap().into_inner();
    assert_eq!(desk.ledger().earn_points(earn(5)).await.unwrap().into_inner(), first);
    refused(desk.ledger().earn_points(earn(6)).await, Code::FailedPrecondition, "REQUEST_ID_REUSED");
    let account = desk.ledger().get_account(GetAccountRequest { customer }).await.unwrap().into_inner();
    assert_eq!((account.available, account.entry_count), (5, 1));
}

async fn etags(desk: &Desk) {
    let complaint = desk.complaint().await;
    let acknowledge = AcknowledgeComplaintRequest { name: complaint.name.clone(), ..Default::default() };
    desk.complaints().acknowledge_complaint(acknowledge).await.unwrap();
    let resolve = ResolveComplaintRequest {
        name: complaint.name.clone(),
        summary: "Replaced".to_owned(),
        etag: complaint.etag,
        ..Default::default()
    };
    let stale = refused(desk.complaints().resolve_complaint(resolve).await, Code::Aborted, "ETAG_MISMATCH");
    assert_eq!(stale.fact("name"), complaint.name);
    assert_eq!(stale.details, ["ErrorInfo", "ResourceInfo"], "to be read again, not to be repeated");
    assert!(!stale.failure.is_transient());

    let customer = desk.customer().await;
    let update = |name: &str| UpdateCustomerRequest {
        customer: Some(Customer { name: customer.name.clone(), ..named(name) }),
        etag: customer.etag.clone(),
        ..Default::default()
    };
    desk.customers().update_customer(update("B")).await.unwrap();
    let outcome = desk.customers().update_customer(update("C")).await;
    assert_eq!(refused(outcome, Code::Aborted, "ETAG_MISMATCH").fact("name"), customer.name);
    let delete = DeleteCustomerRequest {
        name: customer.name.clone(),
        etag: customer.etag.clone(),
        ..Default::default()
    };
    refused(desk.customers().delete_customer(delete).await, Code::Aborted, "ETAG_MISMATCH");
    let get = GetCustomerRequest { name: customer.name, ..Default::default() };
    assert_eq!(desk.customers().get_customer(get).await.unwrap().into_inner().display_name, "B");
}

async fn moves(desk: &Desk) {
    let complaint = desk.complaint().await;
    let close = CloseComplaintRequest { name: complaint.name.clone(), ..Default::default() };
    let outcome = desk.complaints().close_complaint(close).await;
    let illegal = refused(outcome, Code::FailedPrecondition, "COMPLAINT_STATE");
    assert_eq!(illegal.details, ["ErrorInfo", "PreconditionFailure"]);
    assert_eq!(
        (illegal.fact("state"), illegal.fact("action"), illegal.fact("name")),
        ("REGISTERED", "close", complaint.name.as_str())
    );
    let get = GetComplaintRequest { name: complaint.name.clone() };
    assert_eq!(desk.complaints().get_complaint(get).await.unwrap().into_inner(), complaint);

    let customer = nobody("customers");
    let earned = desk.ledger().earn_points(compensated(&customer, 1)).await.unwrap().into_inner();
    let unfreeze = UnfreezeMemberRequest { name: earned.account.unwrap().member, ..Default::default() };
    let illegal =
        refused(desk.members().unfreeze_member(unfreeze).await, Code::FailedPrecondition, "MEMBER_STATE");
    assert_eq!(illegal.details, ["ErrorInfo", "PreconditionFailure"]);
    assert_eq!(illegal.fact("state"), "ACTIVE");
    assert!(!illegal.fact("action").is_empty());
}

fn compensated(customer: &str, points: i64) -> EarnPointsRequest {
    EarnPointsRequest {
        customer: customer.to_owned(),
        basis: Some(Basis::Compensation(CompensationBasis { points })),
        request_id: fresh(),
        ..Default::default()
    }
}

async fn points(desk: &Desk) {
    let customer = nobody("customers");
    let redeem = |points| RedeemPointsRequest {
        customer: customer.clone(),
        points,
        request_id: fresh(),
        ..Default::default()
    };
    refused(desk.ledger().redeem_points(redeem(1)).await, Code::NotFound, "MEMBER_NOT_FOUND");
    let earned = desk.ledger().earn_points(compensated(&customer, 10)).await.unwrap().into_inner();
    let short = Code::FailedPrecondition;
    for points in [11, i64::MAX] {
        let told = refused(desk.ledger().redeem_points(redeem(points)).await, short, "INSUFFICIENT_POINTS");
        assert_eq!((told.fact("available"), told.failure.domain.as_str()), ("10", "cqm.loyalty.v1"));
        assert_eq!(told.details, ["ErrorInfo", "PreconditionFailure"]);
    }
    let adjust = EarnPointsRequest {
        basis: Some(Basis::Adjustment(AdjustmentBasis { points: -11 })),
        ..compensated(&customer, 1)
    };
    assert_eq!(
        refused(desk.ledger().earn_points(adjust).await, short, "INSUFFICIENT_POINTS").fact("available"),
        "10"
    );

    let name = earned.account.unwrap().member;
    let freeze = FreezeMemberRequest { name: name.clone(), ..Default::default() };
    desk.members().freeze_member(freeze).await.unwrap();
    refused(desk.ledger().redeem_points(redeem(1)).await, short, "ACCOUNT_FROZEN");
    desk.members().unfreeze_member(UnfreezeMemberRequest { name, ..Default::default() }).await.unwrap();
    desk.ledger().redeem_points(redeem(10)).await.expect("what was there all the time");

    let customer = nobody("customers");
    let bought = |units| {
        let amount = Some(Money { currency_code: "CNY".to_owned(), units, nanos: 0 });
        let purchase_time = Some(Timestamp { seconds: 1_760_000_000, nanos: 0 });
        EarnPointsRequest {
            basis: Some(Basis::Purchase(PurchaseBasis { amount, purchase_time })),
            ..compensated(&customer, 1)
        }
    };
    desk.ledger().earn_points(bought(i64::MAX)).await.unwrap();
    let over = refused(desk.ledger().earn_points(bought(1)).await, Code::OutOfRange, "BALANCE_OVERFLOW");
    assert_eq!(over.failure.domain, "cqm.loyalty.v1");
    let account = GetAccountRequest { customer: customer.clone() };
    assert_eq!(desk.ledger().get_account(account).await.unwrap().into_inner().available, i64::MAX);
}

/// Shape, idempotency, row access, version, state: after what [`super::transport`] tells.
async fn the_first_thing_that_is_wrong_is_told(desk: &Desk) {
    let complaint = desk.complaint().await;
    let used = fresh();
    let register = RegisterComplaintRequest { complaint: Some(about("x")), request_id: used.clone() };
    desk.complaints().register_complaint(register).await.unwrap();
    let acknowledge = AcknowledgeComplaintRequest { name: complaint.name.clone(), ..Default::default() };
    desk.complaints().acknowledge_complaint(acknowledge).await.unwrap();

    let absent = nobody("complaints");
    let stale = complaint.etag.as_str();
    for (name, request_id, etag, code, reason) in [
        ("complaints/7", used.as_str(), stale, Code::InvalidArgument, "FIELD_FORMAT"),
        (&absent, &used, stale, Code::FailedPrecondition, "REQUEST_ID_REUSED"),
        (&absent, "", stale, Code::NotFound, "COMPLAINT_NOT_FOUND"),
        (&complaint.name, "", stale, Code::Aborted, "ETAG_MISMATCH"),
        (&complaint.name, "", "", Code::FailedPrecondition, "COMPLAINT_STATE"),
    ] {
        let again = AcknowledgeComplaintRequest {
            name: name.to_owned(),
            request_id: request_id.to_owned(),
            etag: etag.to_owned(),
        };
        refused(desk.complaints().acknowledge_complaint(again).await, code, reason);
    }
}
