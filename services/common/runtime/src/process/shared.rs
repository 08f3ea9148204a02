//! What the shards of one service share within a process.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One value of each type, the same for every shard. A service is put together anew on each of them; what must be one
/// for all, such as the place where the requests of all connections meet, is taken from here.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>>);

impl Shared {
    /// The value of this type, made by the first who asks.
    pub fn of<T: Clone + Default + Send + Sync + 'static>(&self) -> T {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = values.entry(TypeId::of::<T>()).or_insert_with(|| Box::new(T::default()));
        value.downcast_ref::<T>().expect("a value under its own type").clone()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gets_the_same_value() {
        let shared = Shared::default();
        let (one, other): (Arc<u8>, Arc<u8>) = (shared.of(), shared.clone().of());
        assert!(Arc::ptr_eq(&one, &other));
        assert!(!Arc::ptr_eq(&one, &Shared::default().of()), "another process, another value");
    }
}
