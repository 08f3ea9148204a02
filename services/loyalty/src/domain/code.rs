//! The codes of vouchers: nobody can guess one, and none is stored.
//!
//! A code is 120 bits as 24 symbols of Crockford's base 32 and a check symbol (the number modulo 37, which finds every
//! mistyped symbol and every two that changed places), in groups of five: `GTJNW-5H8JG-ZZA9F-YZNSR-V73YH`.
//!
//! It is made of the voucher's [`Seed`] by HMAC-SHA-256 under a key of the configuration. What is stored of it:
//!
//! - with the voucher, its [`Digest`], an HMAC under the same key. Without the key, a stolen table can be searched for
//!   no code, and none can be tried against it;
//! - in the remembered answer of the request that took the reward, the seed, so that a repeat is told the same code.
//!   It is forgotten with the answer: from then on nobody can make the code again, the service neither.
//!
//! The request that uses a code is remembered by a SHA-256 of its bytes. Among 2^120 nobody finds the one by trying.
//!
//! The seed holds a number that nobody knows beside the voucher's id, which is no secret: whoever has the key alone, or
//! the database alone, has no code.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// What a code is found by.
pub type Digest = [u8; 32];

const SYMBOLS: usize = 24;
const GROUP: usize = 5;
/// The first 32 stand for five bits each; all of them for the check.
const ALPHABET: &[u8; 37] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ*~$=U";
/// More than anybody types for 25 symbols.
const LONGEST: usize = 100;

/// A code, as a number of 120 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code(u128);

/// What a code is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    pub voucher: Uuid,
    /// Drawn for this voucher.
    pub drawn: Uuid,
}

/// The keys of the codes: the first makes, all find. A key that is replaced stays in the list, behind the new one, until
/// the last voucher that it made has been used or has ended. As little to be printed as a `SecretString`; unlike one a
/// plain value, as all of the configuration is that it is a part of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Keys(&'static [&'static str]);

impl Keys {
    pub const fn new(keys: &'static [&'static str]) -> Self {
        Self(keys)
    }

    /// How many characters the shortest has; `None` without a key.
    pub fn shortest(self) -> Option<usize> {
        self.0.iter().map(|key| key.chars().count()).min()
    }

    /// The code of a new voucher.
    pub fn make(self, seed: &Seed) -> Code {
        Code::of(self.first(), seed)
    }

    /// What the code of a new voucher is found by.
    pub fn digest(self, code: Code) -> Digest {
        code.digest(self.first())
    }

    /// What a code may be found by, one for each key.
    pub fn digests(self, code: Code) -> Vec<Digest> {
        self.0.iter().map(|key| code.digest(key)).collect()
    }

    /// The code that was made of the seed; `None` when the key that made it is no longer there.
    pub fn again(self, seed: &Seed, digest: &Digest) -> Option<Code> {
        self.0.iter().map(|key| (key, Code::of(key, seed))).find_map(|(key, code)| {
            // No secret is compared with what a stranger sent.
            (code.digest(key) == *digest).then_some(code)
        })
    }

    fn first(self) -> &'static str {
        self.0.first().expect("a configuration without a key is refused")
    }
}

impl Code {
    fn of(key: &str, seed: &Seed) -> Self {
        let mac = mac(key, b"voucher code", &[seed.voucher.as_bytes(), seed.drawn.as_bytes()]);
        let number = mac[..16].try_into().expect("16 of 32 bytes");
        Self(u128::from_be_bytes(number) >> 8)
    }

    fn digest(self, key: &str) -> Digest {
        mac(key, b"voucher digest", &[&self.0.to_be_bytes()])
    }

    /// Reads a code as people type it: case, hyphens and spaces do not matter, O is 0, I and L are 1. `None` for what can
    /// be none, a mistyped one above all.
    pub fn read(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut number = 0_u128;
        let mut check = None;
        let mut symbols = 0;
        for symbol in text.bytes().filter(|byte| !matches!(byte, b'-' | b' ')) {
            let symbol = match symbol.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            let value = ALPHABET.iter().position(|known| *known == symbol)? as u128;
            symbols += 1;
            match symbols {
                ..=SYMBOLS if value < 32 => number = number << 5 | value,
                n if n == SYMBOLS + 1 => check = Some(value),
                _ => return None,
            }
        }
        (check == Some(number % 37)).then_some(Self(number))
    }

    /// The code as it is told.
    pub fn text(self) -> String {
        let symbol = |value: u128| char::from(ALPHABET[value as usize]);
        let mut text = String::with_capacity(SYMBOLS + 1 + SYMBOLS / GROUP);
        for place in 0..SYMBOLS {
            if place > 0 && place % GROUP == 0 {
                text.push('-');
            }
            text.push(symbol(self.0 >> (5 * (SYMBOLS - 1 - place)) & 31));
        }
        text.push(symbol(self.0 % 37));
        text
    }
}

/// Whoever reads a log does not read a code.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[code]")
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[keys]")
    }
}

fn mac(key: &str, purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())
        .expect("HMAC takes a key of any length")
        .chain_update(purpose);
    // The parts are of fixed lengths, so that no two lists of them run into the same bytes.
    let mac = parts.iter().fold(mac, |mac, part| mac.chain_update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn keys(keys: &'static [&'static str]) -> Keys {
        Keys::new(keys)
    }

    fn seed(number: u128) -> Seed {
        Seed { voucher: Uuid::from_u128(number), drawn: Uuid::from_u128(9) }
    }

    #[test]
    fn a_code_is_what_it_is_said_to_be() {
        // python3: n = int.from_bytes(hmac.new(b"first", b"voucher code" + (1).to_bytes(16, "big")
        // + (9).to_bytes(16, "big"), "sha256").digest()[:15], "big"), in base 32 by the alphabet above, and n % 37;
        // the digest: hmac.new(b"first", b"voucher digest" + n.to_bytes(16, "big"), "sha256")
        let keys = keys(&["first"]);
        let code = keys.make(&seed(1));
        assert_eq!(code.text(), "GTJNW-5H8JG-ZZA9F-YZNSR-V73YH");
        let digest = keys.digest(code).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(digest, "0ff450af4a9abe9d828d3178306c11f5fc6f9c21acaa179c50617fe0e1918e13");
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = keys(&["first"]).make(&seed(1));
        let text = code.text();
        assert_eq!((text.len(), Code::read(&text)), (29, Some(code)));
        for typed in [text.to_lowercase(), text.replace('-', ""), text.replace('-', " "), format!(" {text} ")]
        {
            assert_eq!(Code::read(&typed), Some(code), "{typed}");
        }
        let ones = Code((0..SYMBOLS).fold(0, |number, place| number << 5 | (place as u128 & 1)));
        let typed = ones.text();
        assert_eq!(Code::read(&typed.replace('0', "o").replacen('1', "I", 3).replace('1', "l")), Some(ones));
    }

    #[test]
    fn every_mistyped_symbol_and_every_two_that_changed_places_are_found() {
        let text = keys(&["first"]).make(&seed(2)).text().replace('-', "").into_bytes();
        let read = |bytes: &[u8]| Code::read(std::str::from_utf8(bytes).unwrap());
        assert!(read(&text).is_some());
        for place in 0..text.len() {
            for symbol in ALPHABET.iter().filter(|symbol| **symbol != text[place]) {
                let mut wrong = text.clone();
                wrong[place] = *symbol;
                assert_eq!(read(&wrong), None, "{symbol} at {place}");
            }
            if place > 0 && text[place - 1] != text[place] {
                let mut wrong = text.clone();
                wrong.swap(place - 1, place);
                assert_eq!(read(&wrong), None, "{place}");
            }
        }
        for wrong in ["", "-", "0", "零", &"0".repeat(24), &"0".repeat(26), &" ".repeat(101), "\0"] {
            assert_eq!(Code::read(wrong), None, "{wrong:?}");
        }
        assert_eq!(Code::read(&"0".repeat(25)), Some(Code(0)));
    }

    #[test]
    fn a_code_is_of_one_voucher_one_draw_and_one_key_and_says_nothing_of_them() {
        let (first, second) = (keys(&["first"]), keys(&["second"]));
        let other = Seed { drawn: Uuid::from_u128(10), ..seed(1) };
        let codes = [first.make(&seed(1)), first.make(&seed(2)), first.make(&other), second.make(&seed(1))];
        assert_eq!(codes.map(Code::text).into_iter().collect::<HashSet<_>>().len(), 4);
        assert_ne!(first.digest(codes[0]), second.digest(codes[0]));
        assert_eq!(format!("{:?} {first:?}", codes[0]), "[code] [keys]");
    }

    #[test]
    fn a_replaced_key_still_finds_and_tells_what_it_made() {
        let (old, both, new) = (keys(&["old"]), keys(&["new", "old"]), keys(&["new"]));
        let code = old.make(&seed(1));
        let digest = old.digest(code);
        assert!(both.digests(code).contains(&digest) && !new.digests(code).contains(&digest));
        assert_eq!((both.again(&seed(1), &digest), new.again(&seed(1), &digest)), (Some(code), None));
        assert_ne!(both.make(&seed(1)), code);
    }
}
