//! The names of the metadata that travel with a call.

/// Who calls, signed for this one method of this one service. Set inside the suite only; the edge strips it from
/// outside calls.
pub const PASS: &str = "x-cqm-pass";
/// Why a caller needs personal fields in clear.
pub const PURPOSE: &str = "x-cqm-purpose";
/// Which service's event feed an outside consumer reads through the gateway.
pub const SOURCE: &str = "x-cqm-source";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// gRPC's own deadline header.
pub const TIMEOUT: &str = "grpc-timeout";
/// Everything with this prefix belongs to the suite.
pub const PREFIX: &str = "x-cqm-";
