//! The tokens of invitations: nobody can guess one, and none is stored.
//!
//! `base64url(invitation's UUID ‖ HMAC-SHA256(key, "invitation" ‖ UUID ‖ expiry))`, the expiry as Unix microseconds in
//! eight bytes, big-endian. The same invitation has the same token whenever it is asked for.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use uuid::Uuid;

use super::invitation::Invitation;

const CONTEXT: &[u8] = b"invitation";
const ID: usize = 16;
const SIGNATURE: usize = 32;

/// The keys of the tokens: the first signs, all verify. A key that is replaced stays in the list, behind the new one,
/// until the last invitation that it signed has expired.
#[derive(Clone, Debug)]
pub struct TokenKeys(Vec<SecretString>);

/// What a token claims; [`TokenKeys::verify`] tells whether it is true.
#[derive(Clone, Copy)]
pub struct Claim {
    pub id: Uuid,
    signature: [u8; SIGNATURE],
}

impl TokenKeys {
    /// `None` without a key.
    pub fn new(keys: Vec<SecretString>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self(keys))
    }

    pub fn sign(&self, invitation: &Invitation) -> String {
        let key = self.0.first().expect("there is at least one key, see new");
        let signature = mac(key, invitation.id, invitation.expire_time).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode([invitation.id.as_bytes().as_slice(), &signature].concat())
    }

    /// Whether the claim was signed for this invitation, compared in constant time.
    pub fn verify(&self, claim: &Claim, invitation: &Invitation) -> bool {
        claim.id == invitation.id
            && self.0.iter().any(|key| {
                mac(key, invitation.id, invitation.expire_time).verify_slice(&claim.signature).is_ok()
            })
    }
}

impl Claim {
    /// `None` when the text is no token at all.
    pub fn read(token: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (id, signature) = bytes.split_at_checked(ID)?;
        Some(Self { id: Uuid::from_slice(id).ok()?, signature: signature.try_into().ok()? })
    }
}

fn mac(key: &SecretString, id: Uuid, expire_time: DateTime<Utc>) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes())
        .expect("HMAC takes a key of any length")
        .chain_update(CONTEXT)
        .chain_update(id.as_bytes())
        .chain_update(expire_time.timestamp_micros().to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::invitation::{DEFAULT_TTL, Subject};
    use chrono::TimeDelta;

    fn keys(keys: &[&str]) -> TokenKeys {
        TokenKeys::new(keys.iter().map(|key| SecretString::from(*key)).collect()).unwrap()
    }

    fn invitation() -> Invitation {
        let id = Uuid::parse_str("019b76da-a800-7000-8000-0000000000aa").unwrap();
        let now = DateTime::from_timestamp(1_767_225_600, 123_456_000).unwrap();
        Invitation::new(id, Uuid::nil(), (Uuid::nil(), 1), Subject::default(), DEFAULT_TTL, now)
    }

    fn opens(keys: &TokenKeys, token: &str, invitation: &Invitation) -> bool {
        Claim::read(token).is_some_and(|claim| keys.verify(&claim, invitation))
    }

    #[test]
    fn a_token_opens_its_invitation_and_is_always_the_same() {
        let (keys, invitation) = (keys(&["first"]), invitation());
        let token = keys.sign(&invitation);
        assert_eq!(token.len(), 64);
        assert_eq!(token, keys.sign(&invitation));
        assert!(opens(&keys, &token, &invitation));
    }

    #[test]
    fn a_token_is_what_it_is_said_to_be() {
        // python3: base64.urlsafe_b64encode(id + hmac.new(b"first", b"invitation" + id + micros.to_bytes(8, "big"),
        // "sha256").digest())
        assert_eq!(
            keys(&["first"]).sign(&invitation()),
            "AZt22qgAcACAAAAAAAAAqoKrKQq1RQDexfqQCHGQnchLXflZvZNxfxwTKOlEVFgz"
        );
    }

    #[test]
    fn a_token_is_of_one_invitation_one_expiry_and_one_key() {
        let (first, invitation) = (keys(&["first"]), invitation());
        let token = first.sign(&invitation);
        assert!(!opens(&keys(&["second"]), &token, &invitation));
        assert!(!opens(&first, &token, &Invitation { id: Uuid::nil(), ..invitation.clone() }));
        let later = invitation.expire_time + TimeDelta::microseconds(1);
        assert!(!opens(&first, &token, &Invitation { expire_time: later, ..invitation.clone() }));
        let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for index in 0..bytes.len() {
            bytes[index] ^= 1;
            assert!(!opens(&first, &URL_SAFE_NO_PAD.encode(&bytes), &invitation), "byte {index}");
            bytes[index] ^= 1;
        }
    }

    #[test]
    fn what_is_no_token_is_not_read() {
        for text in ["", "a", "not base64!", &"A".repeat(63), &"A".repeat(68), &"A".repeat(21)] {
            assert!(Claim::read(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn after_a_rotation_old_tokens_still_open() {
        let invitation = invitation();
        let (old, rotated) = (keys(&["old"]), keys(&["new", "old"]));
        assert!(opens(&rotated, &old.sign(&invitation), &invitation));
        assert!(opens(&rotated, &rotated.sign(&invitation), &invitation));
        assert!(!opens(&old, &rotated.sign(&invitation), &invitation));
    }

    #[test]
    fn keys_are_not_printed_and_cannot_be_none() {
        assert!(!format!("{:?}", keys(&["hunter2"])).contains("hunter2"));
        assert!(TokenKeys::new(Vec::new()).is_none());
    }
}
