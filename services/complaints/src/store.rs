//! Queries over one borrowed connection.

pub mod complaint;
pub mod figures;
pub mod list;
pub mod timeline;
