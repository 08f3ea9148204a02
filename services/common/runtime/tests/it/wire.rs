//! Every row of the contract's table of errors that the server answers before or around a handler.

use bytes::Bytes;
use cqm_proto::policy;
use cqm_proto::surveys::v1::OpenInvitationRequest;
use cqm_proto::surveys::v1::invitation_service_client::InvitationServiceClient;
use cqm_rpc::{Failure, Role, TraceContext, metadata};
use cqm_runtime::server::{Shape, UNARY_LIMIT};
use cqm_runtime::tasks::detached;
use http_body_util::{BodyExt, Full};
use tonic::{Code, Request, Status};

use crate::connections::connect;
use crate::desk::{Served, config, create, from, from_manager, get, import, pass, refused, row, serve_desk};

const GET: &str = "/cqm.customers.v1.CustomerService/GetCustomer";

/// One raw request: what no generated client would send.
async fn raw(
    served: &Served,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (http::HeaderMap, Status) {
    let mut request = http::Request::post(format!("http://cqm{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if policy::find(path).is_some() && !headers.iter().any(|(name, _)| *name == metadata::PASS) {
        request = request.header(metadata::PASS, pass(path).await);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
    // Not through a tonic channel, which watches `grpc-timeout` itself.
    let (mut send, _connection) = connect(served.running.address()).await;
    let (parts, body) = send.send_request(request).await.unwrap().into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers) {
        return (parts.headers, status);
    }
    let trailers = body.collect().await.unwrap().trailers().cloned().expect("a status at the end");
    (parts.headers, Status::from_header_map(&trailers).unwrap())
}

fn said(status: &Status) -> (Code, String) {
    let failure = Failure::of(status);
    (failure.code, failure.reason)
}

fn frame(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame
}

#[tokio::test]
async fn a_good_call_knows_its_caller_its_trace_and_its_deadline() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let mut request = from(&[Role::CrmSpecialist, Role::Supervisor], get("known"));
    request.metadata_mut().insert(metadata::TIMEOUT, "2S".parse().unwrap());
    let trace = TraceContext::fresh(false);
    request.metadata_mut().insert(metadata::TRACEPARENT, trace.to_string().parse().unwrap());
    let customer = served.customers().await.get_customer(request).await.unwrap().into_inner();
    assert_eq!(customer.external_reference, "staff-7");
    let [roles, seen, left, path] = customer.tags.as_slice() else { panic!("four facts") };
    assert_eq!(roles, "crm_specialist,supervisor");
    let seen = TraceContext::parse(seen).unwrap();
    assert_eq!(seen.trace_id, trace.trace_id);
    assert_ne!(seen.span_id, trace.span_id);
    assert!(!seen.sampled);
    let left: u64 = left.parse().unwrap();
    assert!((1000..=2000).contains(&left), "{left}");
    assert_eq!(path, GET);
}

#[tokio::test]
async fn unknown_methods_are_unimplemented_before_anybody_asks_who_calls() {
    let served = serve_desk(config(Shape::PerCore)).await;
    for path in [
        "/cqm.customers.v1.CustomerService/EraseEverything",
        "/cqm.nobody.v1.NoService/Get",
        // Another service's method: known to the contract, not to this process.
        "/cqm.loyalty.v1.LedgerService/EarnPoints",
        "/grpc.nothing.v1.Here/Get",
    ] {
        let (_, status) = raw(&served, path, &[], &frame(b"")).await;
        assert_eq!(said(&status), (Code::Unimplemented, "METHOD_UNKNOWN".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn an_unknown_compression_is_unimplemented_and_says_what_is_known() {
    let served = serve_desk(config(Shape::PerCore)).await;
    for encodings in
        [&[("grpc-encoding", "gzip")][..], &[("grpc-encoding", "identity"), ("grpc-encoding", "x")]]
    {
        // Before anybody asks who calls.
        for more in [None, Some((metadata::PASS, "none"))] {
            let headers: Vec<_> = encodings.iter().copied().chain(more).collect();
            let (headers, status) = raw(&served, GET, &headers, &frame(b"")).await;
            assert_eq!(said(&status), (Code::Unimplemented, "METHOD_UNKNOWN".to_owned()));
            assert_eq!(headers["grpc-accept-encoding"], "identity");
        }
    }
    let (_, status) = raw(&served, GET, &[("grpc-encoding", "identity")], &frame(b"")).await;
    assert_ne!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn bytes_that_are_no_message_are_malformed() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let truncated = &frame(b"0123456789")[..8];
    let mut compressed = frame(b"");
    compressed[0] = 1;
    let mut unknown_flag = frame(b"");
    unknown_flag[0] = 7;
    for (what, body) in [
        ("garbage", frame(b"\xff\xff\xff")),
        ("invalid UTF-8", frame(b"\x0a\x02\xff\xfe")),
        ("truncated", truncated.to_vec()),
        ("nothing", Vec::new()),
        ("compressed without a name", compressed),
        ("an unknown flag", unknown_flag),
    ] {
        let (_, status) = raw(&served, GET, &[], &body).await;
        assert_eq!(said(&status), (Code::InvalidArgument, "MALFORMED_MESSAGE".to_owned()), "{what}");
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_with_the_limit() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let mut client = served.customers().await;
    let large = "x".repeat(UNARY_LIMIT);
    let status = client.get_customer(from_manager(get(&large))).await.unwrap_err();
    let failure = Failure::of(&status);
    assert_eq!((failure.code, failure.reason.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    assert_eq!(failure.facts["limit"], UNARY_LIMIT.to_string());

    // The same inside a stream, where the status comes last.
    let (rows, mut answers) = import(&mut client).await;
    rows.send(row(1, "small")).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().row, 1);
    rows.send(row(2, &large)).await.unwrap();
    let status = answers.message().await.unwrap_err();
    let failure = Failure::of(&status);
    assert_eq!((failure.code, failure.reason.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    assert_eq!(failure.facts["limit"], UNARY_LIMIT.to_string());

    // A liar announces four gigabytes and sends five bytes.
    let (_, status) = raw(&served, GET, &[], &[0, 0xff, 0xff, 0xff, 0xff]).await;
    assert_eq!(said(&status), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned()));
}

#[tokio::test]
async fn deadlines_are_read_strictly() {
    let served = serve_desk(config(Shape::PerCore)).await;
    for bad in ["", "5", "5s", "-1S", "1.5S", "123456789S", "abc"] {
        let (_, status) = raw(&served, GET, &[("grpc-timeout", bad)], &frame(b"")).await;
        assert_eq!(said(&status), (Code::InvalidArgument, "BAD_DEADLINE".to_owned()), "{bad:?}");
    }
    let twice = [("grpc-timeout", "1S"), ("grpc-timeout", "2S")];
    let (_, status) = raw(&served, GET, &twice, &frame(b"")).await;
    assert_eq!(said(&status), (Code::InvalidArgument, "BAD_DEADLINE".to_owned()));
    let (_, status) = raw(&served, GET, &[("grpc-timeout", "0m")], &frame(b"")).await;
    assert_eq!(said(&status), (Code::DeadlineExceeded, "DEADLINE_PASSED".to_owned()));
}

#[tokio::test]
async fn a_deadline_that_passes_is_told_by_the_server() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let wait = frame(b"\x0a\x0ecustomers/wait");
    let (_, status) = raw(&served, GET, &[("grpc-timeout", "50m")], &wait).await;
    assert_eq!(said(&status), (Code::DeadlineExceeded, "DEADLINE_PASSED".to_owned()));
    cqm_testkit::eventually("the cancelled read", || async { served.desk.cancelled() }).await;
}

#[tokio::test]
async fn a_deadline_that_passes_inside_a_stream_ends_it() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let (rows, stream) = tokio::sync::mpsc::channel(1);
    let mut request = from_manager(tokio_stream::wrappers::ReceiverStream::new(stream));
    request.metadata_mut().insert(metadata::TIMEOUT, "200m".parse().unwrap());
    // The generated client would watch the deadline itself if it had set it.
    let mut answers = served.customers().await.import_customers(request).await.unwrap().into_inner();
    rows.send(row(1, "quick")).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().row, 1);
    assert_eq!(refused(answers.message().await), (Code::DeadlineExceeded, "DEADLINE_PASSED".to_owned()));
}

#[tokio::test]
async fn without_a_deadline_the_fallback_holds_and_the_cap_over_a_long_one() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let mut client = served.customers().await;
    for (asked, most) in [(None, 5_000_u64), (Some("1H"), 30_000)] {
        let mut request = from_manager(get("known"));
        if let Some(asked) = asked {
            request.metadata_mut().insert(metadata::TIMEOUT, asked.parse().unwrap());
        }
        let customer = client.get_customer(request).await.unwrap().into_inner();
        let left: u64 = customer.tags[2].parse().unwrap();
        assert!(left <= most && left > most / 2, "{asked:?}: {left}");
    }
}

#[tokio::test]
async fn nobody_is_let_in_without_a_pass_also_where_a_signed_link_opens() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let missing = (Code::Unauthenticated, "CREDENTIALS_MISSING".to_owned());
    let answer = served.customers().await.get_customer(Request::new(get("known"))).await;
    assert_eq!(refused(answer), missing);
    // What a caller was known by before there were passes.
    let mut named = Request::new(get("known"));
    named.metadata_mut().insert("x-cqm-caller", "staff-7".parse().unwrap());
    named.metadata_mut().insert("x-cqm-roles", "service_manager".parse().unwrap());
    assert_eq!(refused(served.customers().await.get_customer(named).await), missing);

    let mut invitations = InvitationServiceClient::new(served.channel().await);
    let open = OpenInvitationRequest::default;
    assert_eq!(refused(invitations.open_invitation(Request::new(open())).await), missing);
    let customer = cqm_testkit::request(Role::Customer, open());
    let opened = invitations.open_invitation(customer).await.unwrap();
    assert_eq!(opened.into_inner().questionnaire_version.unwrap().name, "customer");
}

#[tokio::test]
async fn a_role_that_lacks_the_method_is_told_the_permission() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let mut client = served.customers().await;
    for roles in [&[Role::Supervisor, Role::AfterSales][..], &[], &[Role::Unspecified]] {
        let request = from(roles, cqm_proto::customers::v1::DeleteCustomerRequest::default());
        let failure = Failure::of(&client.delete_customer(request).await.unwrap_err());
        assert_eq!(
            (failure.code, failure.reason.as_str()),
            (Code::PermissionDenied, "ROLE_MISSING"),
            "{roles:?}"
        );
        assert_eq!(failure.facts["permission"], "cqm.customers.v1.CustomerService/DeleteCustomer");
    }
}

#[tokio::test]
async fn identity_comes_before_the_deadline_and_the_deadline_before_the_message() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let garbage = frame(b"\xff\xff\xff");
    let denied = (metadata::TIMEOUT, "soon");
    let nobody = [(metadata::PASS, ""), denied];
    let (_, status) = raw(&served, GET, &nobody, &garbage).await;
    assert_eq!(said(&status), (Code::Unauthenticated, "TOKEN_INVALID".to_owned()));

    let (_, status) = raw(&served, GET, &[denied], &garbage).await;
    assert_eq!(said(&status), (Code::InvalidArgument, "BAD_DEADLINE".to_owned()));
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_the_process_lives() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let mut client = served.customers().await;
    let internal = (Code::Internal, "INTERNAL".to_owned());

    // In a read, in a detached mutation, and in the middle of a stream.
    let status = client.get_customer(from_manager(get("panic"))).await.unwrap_err();
    assert_eq!(status.message(), "internal error");
    assert!(!String::from_utf8_lossy(status.details()).contains("planted"));
    assert_eq!(said(&status), internal);
    assert_eq!(refused(client.create_customer(from_manager(create("panic"))).await), internal);
    let (rows, mut answers) = import(&mut client).await;
    rows.send(row(1, "fine")).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().row, 1);
    rows.send(row(2, "panic")).await.unwrap();
    assert_eq!(refused(answers.message().await), internal);

    client.get_customer(from_manager(get("known"))).await.unwrap();
}

#[tokio::test]
async fn a_text_of_a_library_does_not_reach_the_caller() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let message = cqm_proto::customers::v1::UpdateCustomerRequest::default();
    let status = served.customers().await.update_customer(from_manager(message)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"));
}

#[tokio::test]
async fn calls_over_the_limit_are_shed_and_health_is_not() {
    let served =
        serve_desk(cqm_runtime::server::ServerConfig { max_in_flight: 1, ..config(Shape::PerCore) }).await;
    let (mut first, mut second) = (served.customers().await, served.customers().await);
    let waiting = detached(async move { first.get_customer(from_manager(get("wait"))).await });
    served.desk.entered().await;

    let failure = Failure::of(&second.get_customer(from_manager(get("known"))).await.unwrap_err());
    assert_eq!((failure.code, failure.reason.as_str()), (Code::Unavailable, "OVERLOADED"));
    assert!(failure.retry_after.is_some());
    assert!(crate::health::serving(&served, "").await);

    served.desk.release();
    waiting.await.unwrap().unwrap();
    // The place is free again as soon as the answer is out.
    second.get_customer(from_manager(get("known"))).await.unwrap();
}
