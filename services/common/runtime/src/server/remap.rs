//! tonic's own refusals, said as the contract says them. Recognised by tonic's texts, which the integration
//! tests hold still: a status of ours always has details, one of tonic's never has.

use cqm_rpc::{Error, Refusal, reason};
use tonic::{Code, Status};

/// The suite's error for a status that the routes' machinery made, or none for a status that may pass.
pub(super) fn remap(status: &Status) -> Option<Error> {
    if !status.details().is_empty() {
        return None;
    }
    let message = status.message();
    match status.code() {
        Code::OutOfRange if message.contains("decoded message length too large") => Some(too_large(message)),
        Code::ResourceExhausted if message.contains("while decompressing") => Some(too_large(message)),
        Code::Unimplemented => Some(Error::Unimplemented),
        Code::Internal if MALFORMED.iter().any(|text| message.contains(text)) => {
            Some(Error::Malformed(Refusal::new(reason::MALFORMED_MESSAGE)))
        }
        // Whatever it says was not written for callers.
        Code::Internal | Code::Unknown => Some(Error::internal(message.to_owned())),
        _ => None,
    }
}

/// What tonic calls INTERNAL and is the sender's fault.
const MALFORMED: [&str; 5] = [
    "Unexpected EOF decoding stream",
    "Missing request message",
    "protocol error: received message",
    "Error decompressing",
    "failed to decode Protobuf message",
];

fn too_large(message: &str) -> Error {
    let refusal = Refusal::new(reason::MESSAGE_TOO_LARGE);
    let refusal = match limit(message) {
        Some(limit) => refusal.fact("limit", limit),
        None => refusal,
    };
    Error::Exhausted { refusal, retry_after: None }
}

/// The number in "the limit is: 65536 bytes" or "size limit, of 65536 bytes".
fn limit(message: &str) -> Option<&str> {
    let after = message.split_once("limit").map(|(_, after)| after)?;
    let start = after.find(|c: char| c.is_ascii_digit())?;
    after[start..].split(|c: char| !c.is_ascii_digit()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_told() {
        for text in [
            "Error, decoded message length too large: found 70000 bytes, the limit is: 65536 bytes",
            "Error decompressing: size limit, of 65536 bytes, exceeded while decompressing message",
        ] {
            assert_eq!(limit(text), Some("65536"));
        }
    }

    #[test]
    fn a_status_of_ours_passes() {
        let status = Status::from(Error::internal("the reason"));
        assert!(remap(&status).is_none());
        assert!(remap(&Status::cancelled("by the peer")).is_none());
    }

    #[test]
    fn a_text_that_was_not_written_for_callers_is_hidden() {
        let error = remap(&Status::unknown("SELECT secret FROM table")).unwrap();
        assert_eq!(error.to_string(), "internal error");
    }
}
