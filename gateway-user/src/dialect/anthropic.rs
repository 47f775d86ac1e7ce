//! Anthropic Messages, with its count of tokens, as Anthropic documents it and as others speak it:
//! Vertex AI and Bedrock, with the model in the path, and servers that took it over
//! (`LiteLLM`, vLLM, llama.cpp, …).
//!
//! Fields and events as in the types of `anthropic` 2.14 for Python.

mod attribution;
mod message;
mod request;
mod response;
mod stream;
mod usage;

pub(super) use request::parse as request;
pub(super) use response::{counted, parse as response};
pub(super) use stream::Stream;

#[cfg(test)]
mod tests;
