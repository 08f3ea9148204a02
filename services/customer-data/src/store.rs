//! Queries: free functions over one borrowed connection. Personal data leaves its wrapper here and nowhere else on
//! the way to the disk, so the row types print nothing: they have no `Debug`.

pub mod bulk;
mod columns;
pub mod customer;
pub mod erasure;
pub mod interaction;
pub mod merge;
pub mod purchase;
