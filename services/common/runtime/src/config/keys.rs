//! Lists of secret keys. The first one is used and all are known, so that a key can be replaced while what was made by it
//! is still about.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use super::ConfigError;

/// As many characters as 192 random bits take in base64: a shorter key could be guessed.
pub const SHORTEST: usize = 32;

/// Reads a list, or one text with commas: the environment has no lists. For `deserialize_with`.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SecretString>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Text(SecretString),
        List(Vec<SecretString>),
    }
    Ok(match Given::deserialize(deserializer)? {
        Given::List(keys) => keys,
        Given::Text(text) => text
            .expose_secret()
            .split(',')
            .map(str::trim)
            .filter(|key| !key.is_empty())
            .map(SecretString::from)
            .collect(),
    })
}

/// Refuses a key that could be guessed. `key`: what the list is called in the file.
pub fn check(key: &'static str, keys: &[SecretString]) -> Result<(), ConfigError> {
    if keys.iter().any(|one| one.expose_secret().chars().count() < SHORTEST) {
        return Err(ConfigError::refused(key, format!("must be of {SHORTEST} characters or more each")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn keys_are_a_list_or_a_text_with_commas_and_are_not_shown() {
        for given in [json!([KEY, "short"]), json!(format!("{KEY}, short,"))] {
            let keys = read(given).unwrap();
            let clear: Vec<&str> = keys.iter().map(|key| key.expose_secret()).collect();
            assert_eq!(clear, [KEY, "short"]);
            assert!(!format!("{keys:?}").contains("short"));
        }
        assert!(read(json!("")).unwrap().is_empty());
        assert!(read(json!(7)).is_err());
    }

    #[test]
    fn a_key_that_could_be_guessed_is_refused_by_name() {
        let check =
            |keys: &[&str]| check("service.keys", &keys.iter().map(|key| (*key).into()).collect::<Vec<_>>());
        assert!(check(&[]).is_ok() && check(&[KEY]).is_ok());
        let refused = check(&[KEY, &KEY[1..]]).unwrap_err().to_string();
        assert!(refused.contains("service.keys") && !refused.contains(&KEY[1..]), "{refused}");
    }
}
