//! Values that leave the process are sealed: Redis holds no personal data that it could show.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use rand::RngCore;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::config::ConfigError;

const FORMAT: u8 = 1;
const NONCE: usize = 24;
const VERSION: usize = 8;

/// XChaCha20-Poly1305: its nonce of 24 bytes may be drawn at random for every value there will ever be.
#[derive(Clone)]
pub(super) struct Seal {
    cipher: XChaCha20Poly1305,
    schema: [u8; 32],
}

impl Seal {
    pub(super) fn new(key: &SecretString) -> Result<Self, ConfigError> {
        let refused = || ConfigError::refused("cache.key", "must be 32 bytes in base64");
        let bytes = STANDARD.decode(key.expose_secret()).map_err(|_| refused())?;
        let cipher = XChaCha20Poly1305::new_from_slice(&bytes).map_err(|_| refused())?;
        Ok(Self { cipher, schema: Sha256::digest(cqm_proto::FILE_DESCRIPTOR_SET).into() })
    }

    /// format | nonce | sealed(version | message).
    pub(super) fn close(&self, key: &str, version: i64, message: &[u8]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(VERSION + message.len());
        plain.extend_from_slice(&version.to_be_bytes());
        plain.extend_from_slice(message);
        let mut nonce = [0; NONCE];
        rand::rng().fill_bytes(&mut nonce);
        let aad = self.aad(key);
        let sealed = self
            .cipher
            .encrypt(XNonce::from_slice(&nonce), Payload { msg: &plain, aad: &aad })
            .expect("a message of the suite is far below the cipher's limit of 256 GiB");
        [&[FORMAT][..], &nonce, &sealed].concat()
    }

    /// `None` for anything that was not sealed with this key, for this cache key and contract.
    pub(super) fn open(&self, key: &str, value: &[u8]) -> Option<(i64, Bytes)> {
        let (nonce, sealed) = value.strip_prefix(&[FORMAT])?.split_at_checked(NONCE)?;
        let aad = self.aad(key);
        let plain =
            self.cipher.decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: &aad }).ok()?;
        let plain = Bytes::from(plain);
        let version = i64::from_be_bytes(*plain.first_chunk::<VERSION>()?);
        Some((version, plain.slice(VERSION..)))
    }

    /// The key, so that nobody can serve one row's value as another's; and the contract, so that two releases
    /// do not take a message with fields that one of them does not know from each other. It does not stand in
    /// the key: there it would hide one release's tombstones from the other.
    fn aad(&self, key: &str) -> Vec<u8> {
        [&self.schema[..], key.as_bytes()].concat()
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(byte: u8) -> Seal {
        Seal::new(&SecretString::from(STANDARD.encode([byte; 32]))).unwrap()
    }

    #[test]
    fn a_value_opens_under_its_own_key_only() {
        let sealed = seal(1).close("cqm:x:customer:1", 7, b"Zhang Wei");
        assert_eq!(seal(1).open("cqm:x:customer:1", &sealed), Some((7, Bytes::from_static(b"Zhang Wei"))));
        assert_eq!(seal(1).open("cqm:x:customer:2", &sealed), None);
        assert_eq!(seal(2).open("cqm:x:customer:1", &sealed), None);
        let other_contract = Seal { schema: [0; 32], ..seal(1) };
        assert_eq!(other_contract.open("cqm:x:customer:1", &sealed), None);
    }

    #[test]
    fn what_is_damaged_does_not_open() {
        let sealed = seal(1).close("key", 7, b"Zhang Wei");
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            assert_eq!(seal(1).open("key", &damaged), None, "byte {index}");
            assert_eq!(seal(1).open("key", &sealed[..index]), None, "cut at {index}");
        }
    }

    #[test]
    fn equal_values_do_not_look_equal() {
        assert_ne!(seal(1).close("key", 7, b"same"), seal(1).close("key", 7, b"same"));
    }
}
