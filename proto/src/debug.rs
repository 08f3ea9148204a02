//! `Debug` for the messages with personal fields. Messages inside them print through their own.

use std::fmt;
use std::marker::PhantomData;

/// Stands where a personal value would.
struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[personal]")
    }
}

/// Prints the name of an enum's value, or the number when this version does not know it.
struct EnumValue<E>(i32, PhantomData<E>);

impl<E> EnumValue<E> {
    fn new(number: i32) -> Self {
        Self(number, PhantomData)
    }
}

impl<E: TryFrom<i32> + fmt::Debug> fmt::Debug for EnumValue<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match E::try_from(self.0) {
            Ok(value) => value.fmt(f),
            Err(_) => self.0.fmt(f),
        }
    }
}

include!(concat!(env!("OUT_DIR"), "/debugs.rs"));
