//! What is true of messages without a database, a clock or a network.

pub mod contact;
pub mod delivery;
pub mod inbox;
pub mod message;
pub mod template;
pub mod text;
