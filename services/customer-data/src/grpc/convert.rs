//! From the contract's messages to the domain and back. Whatever is wrong with a message is found here, all of it
//! at once; what comes out cannot be invalid.

pub mod customer;
pub mod erasure;
pub mod event;
pub mod interaction;
pub mod merge;
pub mod profile;
pub mod purchase;
mod receipt;
mod words;

use cqm_proto::google::rpc;
use cqm_rpc::Error;
use prost::Message;

/// The refusal of one row, as the status that the same refusal of a call would have.
pub fn row_status(error: Error) -> rpc::Status {
    let status = tonic::Status::from(error);
    rpc::Status::decode(status.details()).unwrap_or_else(|_| rpc::Status {
        code: status.code() as i32,
        message: status.message().to_owned(),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use cqm_rpc::Failure;
    use uuid::Uuid;

    use super::*;
    use crate::error::customer_not_found;

    #[test]
    fn the_status_of_a_row_says_what_the_status_of_a_call_would() {
        let id = Uuid::now_v7();
        let row = row_status(customer_not_found(id));
        let call = Failure::of(&customer_not_found(id).into());
        assert_eq!(row.code, call.code as i32);
        assert_eq!(row.message, call.message);
        assert_eq!(row.details.len(), 2, "ErrorInfo and ResourceInfo");
    }
}
