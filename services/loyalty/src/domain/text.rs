//! Texts for people.

/// A text in the suite's languages; without an English one the Chinese one is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    pub zh: String,
    /// Empty: there is none.
    pub en: String,
}
