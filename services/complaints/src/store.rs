//! Queries over one borrowed connection.

pub mod clocks;
pub mod complaint;
pub mod figures;
pub mod list;
pub mod policy;
pub mod subject;
pub mod timeline;
