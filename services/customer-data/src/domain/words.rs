//! Closed sets of values that are stored as words.

/// Declares an enum with the word that each value is stored under: the name in the contract without its prefix.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$value_doc])* $value,)+
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$value,)+];

            /// The word that it is stored under.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }

            /// The inverse of [`Self::word`].
            pub fn find(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.word() == word)
            }
        }
    };
}

pub(super) use words;
