//! `OpenAI` Completions, the API before chat: a model goes on with a text. The text is one message of
//! the user's, and what follows it one of the assistant's, so that a retry is known as one.

mod request;
mod response;

pub(super) use request::parse as request;
pub(super) use response::{Stream, parse as response};

#[cfg(test)]
mod tests;
