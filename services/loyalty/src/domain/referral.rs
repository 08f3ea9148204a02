//! Members who bring in others.

use std::fmt;

use uuid::Uuid;

use super::Refusal;

/// Crockford's base 32: no I, L, O and U, which are taken for others or make words.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 50 bits. Whoever tries codes meets one of ten million members once in a hundred million tries.
const LENGTH: usize = 10;

/// How a member is named when others are enrolled whom they brought in: to be said, written and typed by people, and
/// not to be guessed from anything else that is known of the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReferralCode([u8; LENGTH]);

impl ReferralCode {
    /// Made of a random UUID. Two members can get the same one, in theory: the database refuses it.
    pub fn of(random: Uuid) -> Self {
        // The last 62 bits of a random UUID are random throughout.
        let mut bits = random.as_u128();
        Self(std::array::from_fn(|_| {
            let symbol = ALPHABET[(bits & 31) as usize];
            bits >>= 5;
            symbol
        }))
    }

    /// Reads a code as people write it: in any case, with hyphens, with O for 0 and I or L for 1.
    pub fn find(text: &str) -> Option<Self> {
        let mut symbols = text.bytes().filter(|symbol| *symbol != b'-').map(|symbol| {
            let symbol = match symbol.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            ALPHABET.contains(&symbol).then_some(symbol)
        });
        let mut code = [0; LENGTH];
        for place in &mut code {
            *place = symbols.next()??;
        }
        symbols.next().is_none().then_some(Self(code))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }
}

impl fmt::Display for ReferralCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Decides whether it may be said of a member that `referrer` brought them in, when they are a member already: only
/// what is known already. `known` is who did, `above` are those who brought in the referrer, the next first.
pub fn judge(member: Uuid, referrer: Uuid, known: Option<Uuid>, above: &[Uuid]) -> Result<(), Refusal> {
    if member == referrer {
        Err(Refusal::ReferralSelf)
    } else if known == Some(referrer) {
        Ok(())
    } else if above.contains(&member) {
        Err(Refusal::ReferralCycle)
    } else {
        Err(Refusal::ReferralNotNew)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_is_read_as_people_write_it() {
        let code = ReferralCode::find("01AB9XYZ7K").unwrap();
        assert_eq!(code.to_string(), "01AB9XYZ7K");
        for same in ["01ab9xyz7k", "01AB9-XYZ7K", "oiab9xyz7k", "Ol-AB-9X-YZ-7K", "OLAB9XYZ7K-"] {
            assert_eq!(ReferralCode::find(same), Some(code), "{same}");
        }
        for none in
            ["", "-", "01AB9XYZ7", "01AB9XYZ7KK", "01AB9XYZ7U", "01AB9XYZ7 K", "零1AB9XYZ7K", "01AB9XYZ7*"]
        {
            assert_eq!(ReferralCode::find(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn every_code_is_found_again_and_tells_fifty_bits(random: u128) {
            let code = ReferralCode::of(Uuid::from_u128(random));
            prop_assert_eq!(ReferralCode::find(code.as_str()), Some(code));
            let other = ReferralCode::of(Uuid::from_u128(random ^ (1 << 49)));
            prop_assert_ne!(code, other);
        }
    }

    #[test]
    fn who_brought_a_member_in_is_said_once() {
        let [anna, bert, carl, dora] = [1, 2, 3, 4].map(Uuid::from_u128);
        for (member, referrer, known, above, judged) in [
            (anna, anna, None, vec![], Err(Refusal::ReferralSelf)),
            (anna, bert, Some(bert), vec![], Ok(())),
            (anna, bert, Some(bert), vec![carl], Ok(())),
            (anna, bert, None, vec![], Err(Refusal::ReferralNotNew)),
            (anna, bert, Some(carl), vec![dora], Err(Refusal::ReferralNotNew)),
            (anna, bert, None, vec![anna], Err(Refusal::ReferralCycle)),
            (anna, dora, Some(carl), vec![bert, anna], Err(Refusal::ReferralCycle)),
        ] {
            assert_eq!(judge(member, referrer, known, &above), judged);
        }
    }
}
