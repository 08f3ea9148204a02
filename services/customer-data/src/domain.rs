//! What a customer, a purchase and an interaction are. Pure: no I/O, no clock, no wire types.

pub mod birthday;
pub mod contact;
pub mod customer;
pub mod erasure;
pub mod interaction;
pub mod merge;
pub mod profile;
pub mod purchase;
pub mod receipt;
