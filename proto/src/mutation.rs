//! Messages that change something.

/// A request that changes something and is recognised, when it comes again, by its request id. Implemented for every
/// request with a `request_id`.
pub trait Mutation: prost::Message {
    /// The method that takes the request, such as `/cqm.complaints.v1.ComplaintService/ResolveComplaint`.
    const PATH: &'static str;

    /// The caller's UUID for this call; empty when the caller gave none.
    fn request_id(&self) -> &str;
}

include!(concat!(env!("OUT_DIR"), "/mutations.rs"));
