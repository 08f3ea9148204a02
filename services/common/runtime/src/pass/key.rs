//! The keys that passes are signed and checked by, as `openssl` writes them.
//!
//! A key's id is made of the key itself (RFC 7638), so that nobody has to name keys and no two sides can name one
//! differently.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cqm_rpc::BoxError;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};
use ed25519_dalek::{SigningKey as Private, VerifyingKey as Public};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use sha2::{Digest, Sha256};

use super::KIND;

/// What signs, and the header of everything that it signs.
pub(super) struct SigningKey {
    pub key: EncodingKey,
    pub header: Header,
}

/// What checks, by the keys' ids.
pub(super) type Keys = HashMap<String, DecodingKey>;

/// Reads a file with one private key.
pub(super) fn signing(bytes: &[u8]) -> Result<SigningKey, BoxError> {
    let blocks = pem::parse_many(bytes)?;
    let [block] = blocks.as_slice() else {
        return Err("must hold one private key".into());
    };
    let private = Private::from_pkcs8_der(block.contents())
        .map_err(|_| "holds something else than an Ed25519 private key in PKCS #8")?;
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(KIND.to_owned());
    header.kid = Some(id(&private.verifying_key()));
    Ok(SigningKey { key: EncodingKey::from_ed_der(block.contents()), header })
}

/// Reads a file of public keys.
pub(super) fn verifying(bytes: &[u8]) -> Result<Keys, BoxError> {
    let mut keys = Keys::new();
    for block in pem::parse_many(bytes)? {
        if block.tag() != "PUBLIC KEY" {
            return Err(format!("holds a {}: only public keys belong here", block.tag()).into());
        }
        let public = Public::from_public_key_der(block.contents())
            .map_err(|_| "holds something else than Ed25519 public keys")?;
        if public.is_weak() {
            return Err("holds a key that anybody can sign by".into());
        }
        keys.insert(id(&public), DecodingKey::from_ed_der(public.as_bytes()));
    }
    if keys.is_empty() {
        return Err("holds no public key".into());
    }
    Ok(keys)
}

/// The key's thumbprint: the digest of its required members in their lexicographic order.
fn id(key: &Public) -> String {
    let x = URL_SAFE_NO_PAD.encode(key.as_bytes());
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(members))
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::pkcs8::EncodePrivateKey;
    use ed25519_dalek::pkcs8::spki::EncodePublicKey;
    use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;

    use super::*;

    fn pair(seed: u8) -> (String, String) {
        let private = Private::from_bytes(&[seed; 32]);
        let public = private.verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
        (private.to_pkcs8_pem(LineEnding::LF).unwrap().to_string(), public)
    }

    #[test]
    fn a_keys_id_is_the_thumbprint_of_rfc_8037() {
        // Appendix A.2 and A.3.
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let key = Public::from_bytes(&x.try_into().unwrap()).unwrap();
        assert_eq!(id(&key), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn both_halves_of_a_pair_have_one_id() {
        let (one, other) = (pair(1), pair(2));
        let keys = verifying(format!("a remark\n{}{}", one.1, other.1).as_bytes()).unwrap();
        for (private, _) in [&one, &other] {
            assert!(keys.contains_key(&signing(private.as_bytes()).unwrap().header.kid.unwrap()));
        }
        assert_eq!(keys.len(), 2);
    }

    #[test]
    fn a_file_that_cannot_be_right_is_refused() {
        let (private, public) = pair(1);
        for wrong in ["", "text", &public, &format!("{private}{private}")] {
            assert!(signing(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let weak = pem::encode(&pem::Pem::new("PUBLIC KEY", {
            let mut der = Public::default().to_public_key_der().unwrap().into_vec();
            let at = der.len() - 32;
            der[at..].copy_from_slice(&[0; 32]);
            der[at] = 1;
            der
        }));
        for wrong in ["", "text", &private, &format!("{public}{private}"), &weak] {
            assert!(verifying(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
