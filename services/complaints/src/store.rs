//! Queries over one borrowed connection.

pub mod complaint;
pub mod list;
pub mod timeline;
