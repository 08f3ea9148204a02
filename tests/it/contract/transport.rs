//! What is wrong before anybody reads a message: methods, bytes, sizes, deadlines.

use cqm_proto::complaints::v1::GetComplaintRequest;
use cqm_proto::customers::v1::GetCustomerRequest;
use cqm_proto::customers::v1::RecordPurchasesRequest;
use cqm_proto::customers::v1::purchase_service_client::PurchaseServiceClient;
use prost::Message;
use tokio_stream::StreamExt;
use tonic::{Code, Status};

use super::wire::{Wire, frame};
use super::{Desk, create, named, nobody, refused, told};

const GET_CUSTOMER: &str = "/cqm.customers.v1.CustomerService/GetCustomer";
/// One method of each service, each with a text in its field 1.
const METHODS: [&str; 5] = [
    GET_CUSTOMER,
    "/cqm.complaints.v1.ComplaintService/GetComplaint",
    "/cqm.loyalty.v1.LedgerService/GetAccount",
    "/cqm.notifications.v1.TemplateService/GetTemplate",
    "/cqm.surveys.v1.InvitationService/GetInvitation",
];
/// What a unary message may be, in bytes.
const UNARY_LIMIT: usize = 64 * 1024;
/// What a row of a stream may be, in bytes.
const BULK_LIMIT: usize = 1024 * 1024;

/// A field that no message has, as groups within groups.
fn nested(depth: usize) -> Vec<u8> {
    const NUMBER: u8 = 15;
    [vec![NUMBER << 3 | 3; depth], vec![NUMBER << 3 | 4; depth]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_before_it_means_anything() {
    let desk = Desk::open().await;
    let wire = desk.wire().await;
    unknown_methods(&desk, &wire).await;
    unknown_compressions(&desk, &wire).await;
    malformed_messages(&desk, &wire).await;
    too_large_messages(&desk, &wire).await;
    deadlines(&desk, &wire).await;
    the_first_thing_that_is_wrong_is_told(&desk, &wire).await;
    desk.close().await;
}

async fn unknown_methods(desk: &Desk, wire: &Wire) {
    let bearer = desk.bearer();
    for path in [
        "/cqm.customers.v1.CustomerService/EraseEverything",
        "/cqm.customers.v2.CustomerService/GetCustomer",
        "/cqm.nobody.v1.NoService/Get",
        "/nothing",
    ] {
        for headers in [&[][..], &[("authorization", bearer.as_str())]] {
            let status = wire.call(path, headers, frame(b"")).await.status();
            let told = told(&status, Code::Unimplemented, "METHOD_UNKNOWN");
            assert_eq!(told.details, ["ErrorInfo"], "{path}");
        }
    }
}

async fn unknown_compressions(desk: &Desk, wire: &Wire) {
    // The first bytes of any gzip: whoever unpacked it would have to unpack a bomb, too.
    let mut compressed = frame(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff");
    compressed[0] = 1;
    for path in METHODS {
        for encoding in ["gzip", "zstd", "snappy"] {
            let headers = [("authorization", desk.bearer()), ("grpc-encoding", encoding.to_owned())];
            let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
            let answer = wire.call(path, &headers, compressed.clone()).await;
            told(&answer.status(), Code::Unimplemented, "METHOD_UNKNOWN");
            assert!(answer.headers.contains_key("grpc-accept-encoding"), "{path}: what is known is told");
        }
    }
}

async fn malformed_messages(desk: &Desk, wire: &Wire) {
    let bearer = desk.bearer();
    let headers = [("authorization", bearer.as_str())];
    let mut compressed = frame(b"");
    compressed[0] = 1;
    let mut unknown_flag = frame(b"");
    unknown_flag[0] = 7;
    let bodies = [
        ("garbage", frame(b"\xff\xff\xff")),
        ("invalid UTF-8", frame(b"\x0a\x02\xff\xfe")),
        ("a text as a number", frame(b"\x08\x01")),
        ("cut off", frame(b"0123456789")[..8].to_vec()),
        ("nothing", Vec::new()),
        ("compressed by nothing", compressed),
        ("an unknown flag", unknown_flag),
        ("nested over 100 deep", frame(&nested(150))),
        ("nested without an end", frame(&nested(20)[..20])),
    ];
    for path in METHODS {
        for (what, body) in &bodies {
            let status = wire.call(path, &headers, body.clone()).await.status();
            let told = told(&status, Code::InvalidArgument, "MALFORMED_MESSAGE");
            assert_eq!(told.details, ["ErrorInfo"], "{path}, {what}");
        }
        // A newer caller's field is no fault, however it is built.
        let status = wire.call(path, &headers, frame(&nested(80))).await.status();
        told(&status, Code::InvalidArgument, "FIELD_REQUIRED");
    }
}

async fn too_large_messages(desk: &Desk, wire: &Wire) {
    let limit = UNARY_LIMIT.to_string();
    let large = create(named(&"x".repeat(UNARY_LIMIT)));
    let told_limit =
        |status: &Status| told(status, Code::ResourceExhausted, "MESSAGE_TOO_LARGE").fact("limit").to_owned();
    assert_eq!(told_limit(&desk.customers().create_customer(large).await.unwrap_err()), limit);
    let large = GetComplaintRequest { name: "x".repeat(UNARY_LIMIT) };
    assert_eq!(told_limit(&desk.complaints().get_complaint(large).await.unwrap_err()), limit);
    // As large as allowed: read, and found to be no name.
    let fits = GetCustomerRequest { name: "x".repeat(UNARY_LIMIT - 16), ..Default::default() };
    refused(desk.customers().get_customer(fits).await, Code::InvalidArgument, "FIELD_FORMAT");

    // Who announces four gigabytes need not send them.
    let bearer = desk.bearer();
    for path in METHODS {
        let status =
            wire.call(path, &[("authorization", &bearer)], vec![0, 0xff, 0xff, 0xff, 0xff]).await.status();
        told_limit(&status);
    }

    // In a stream, where the status comes last.
    let row = |product: String| RecordPurchasesRequest { row: 1, product, ..Default::default() };
    let rows = tokio_stream::iter([row("small".to_owned()), row("x".repeat(8 * 1024 * 1024))]);
    let mut purchases = PurchaseServiceClient::new(desk.staff.clone());
    let ended = match purchases.record_purchases(rows).await {
        Ok(answers) => {
            StreamExt::collect::<Vec<_>>(answers.into_inner()).await.pop().expect("a status").unwrap_err()
        }
        Err(status) => status,
    };
    assert_eq!(told_limit(&ended), BULK_LIMIT.to_string());
}

async fn deadlines(desk: &Desk, wire: &Wire) {
    let bearer = desk.bearer();
    let message = GetCustomerRequest { name: nobody("customers"), ..Default::default() };
    let body = frame(&message.encode_to_vec());
    for bad in ["", "5", "5s", "-1S", "+1S", "1.5S", "123456789S", "soon"] {
        let headers = [("authorization", bearer.as_str()), ("grpc-timeout", bad)];
        let status = wire.call(GET_CUSTOMER, &headers, body.clone()).await.status();
        told(&status, Code::InvalidArgument, "BAD_DEADLINE");
    }
    let twice = [("authorization", bearer.as_str()), ("grpc-timeout", "1S"), ("grpc-timeout", "2S")];
    let status = wire.call(GET_CUSTOMER, &twice, body.clone()).await.status();
    told(&status, Code::InvalidArgument, "BAD_DEADLINE");
    for passed in ["0S", "0n", "1n", "1m"] {
        let headers = [("authorization", bearer.as_str()), ("grpc-timeout", passed)];
        let status = wire.call(GET_CUSTOMER, &headers, body.clone()).await.status();
        told(&status, Code::DeadlineExceeded, "DEADLINE_PASSED");
    }
    for good in ["5S", "00000005S", "99999999H"] {
        let headers = [("authorization", bearer.as_str()), ("grpc-timeout", good)];
        let status = wire.call(GET_CUSTOMER, &headers, body.clone()).await.status();
        told(&status, Code::NotFound, "CUSTOMER_NOT_FOUND");
    }
}

/// Transport, identity, access, deadline, shape; [`super::state`] goes on from there.
async fn the_first_thing_that_is_wrong_is_told(desk: &Desk, wire: &Wire) {
    const DELETE: &str = "/cqm.customers.v1.CustomerService/DeleteCustomer";
    let supervisor = format!("Bearer {}", desk.stage.token("supervisor"));
    let manager = desk.bearer();
    let garbage = || frame(b"\xff\xff\xff");
    let late = ("grpc-timeout", "soon");
    for (path, headers, code, reason) in [
        ("/cqm.customers.v1.CustomerService/Missing", vec![late], Code::Unimplemented, "METHOD_UNKNOWN"),
        // Also to nobody: a message that is compressed goes no further than its head.
        (DELETE, vec![("grpc-encoding", "gzip"), late], Code::Unimplemented, "METHOD_UNKNOWN"),
        (DELETE, vec![late], Code::Unauthenticated, "CREDENTIALS_MISSING"),
        (DELETE, vec![("authorization", "Bearer x"), late], Code::Unauthenticated, "TOKEN_INVALID"),
        (DELETE, vec![("authorization", &supervisor), late], Code::PermissionDenied, "ROLE_MISSING"),
        (DELETE, vec![("authorization", &manager), late], Code::InvalidArgument, "BAD_DEADLINE"),
        (DELETE, vec![("authorization", &manager)], Code::InvalidArgument, "MALFORMED_MESSAGE"),
    ] {
        told(&wire.call(path, &headers, garbage()).await.status(), code, reason);
    }
}
