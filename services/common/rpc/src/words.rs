//! Closed sets of values that are stored, told and compared by a word.

/// Declares enums whose values have a word each: the name in the contract without its prefix, as it stands in rows,
/// events and facts. Adds `ALL`, `name` and `find`, its inverse.
///
/// ```
/// cqm_rpc::words! {
///     /// Whether somebody can log in.
///     pub enum State {
///         Active = "ACTIVE",
///         /// Not for now.
///         Frozen = "FROZEN",
///     }
/// }
/// assert_eq!(State::Frozen.name(), "FROZEN");
/// assert_eq!(State::find("ACTIVE"), Some(State::Active));
/// assert_eq!(State::find("GONE"), None);
/// assert_eq!(State::ALL, [State::Active, State::Frozen]);
/// ```
#[macro_export]
macro_rules! words {
    ($(
        $(#[$about:meta])*
        $visible:vis enum $set:ident { $($(#[$meaning:meta])* $value:ident = $word:literal),+ $(,)? }
    )+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visible enum $set {
            $($(#[$meaning])* $value,)+
        }

        impl $set {
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            /// Its word.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }

            /// The inverse of [`Self::name`]; `None` for a word that this version does not know.
            pub fn find(name: &str) -> Option<Self> {
                match name {
                    $($word => Some(Self::$value),)+
                    _ => None,
                }
            }
        }
    )+};
}
