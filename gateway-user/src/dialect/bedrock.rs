//! Amazon Bedrock Converse and `ConverseStream`, read only: requests are signed over their bytes, so
//! none can be changed on its way.
//!
//! Fields and events as in the service model of `bedrock-runtime` (2023-09-30) in botocore 1.44.

mod message;
mod request;
mod response;
mod stream;

pub(super) use request::parse as request;
pub(super) use response::parse as response;
pub(super) use stream::Stream;

#[cfg(test)]
mod tests;
