//! Queries over one borrowed connection.

pub mod complaint;
pub mod figures;
pub mod list;
pub mod subject;
pub mod timeline;
