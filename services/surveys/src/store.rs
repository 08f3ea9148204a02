//! The tables: free functions over one borrowed connection.

pub mod figures;
pub mod invitations;
pub mod questionnaires;
pub mod responses;
pub mod subjects;
pub mod summary;
