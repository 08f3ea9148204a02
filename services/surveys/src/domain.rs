//! What surveys are, without any I/O: time comes in as an argument, decisions go out as values.

pub mod answer;
pub mod invitation;
pub mod questionnaire;
pub mod response;
pub mod statistics;
pub mod summary;
pub mod token;
