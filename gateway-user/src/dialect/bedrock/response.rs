//! The response in one JSON document, and the usage that it has in common with the stream.

use serde::Deserialize;

use super::super::{
    Answering, NotUnderstood,
    blocks::{Message, Told},
    json::{Count, Maybe, Text, UpTo, given},
};
use super::{message::Block, request::ServiceTier};
use crate::{
    call::{self, Answer, Name},
    limits,
};

/// What the body answers.
pub(in crate::dialect) fn parse(
    body: &[u8],
    sample: &mut Answering,
) -> Result<Answer, NotUnderstood> {
    let response: Response<'_> = serde_json::from_slice(body)?;
    let message = response.output.message.ok_or(NotUnderstood::NotThisShape)?;
    let reason = given(response.stop_reason.as_ref()).map(Name::shared);
    let tier = response.service_tier.and_then(Maybe::known);
    let mut answer = Answer {
        finish_reasons: reason.into_iter().collect(),
        usage: response.usage.and_then(Maybe::known).and_then(Usage::normalised),
        service_tier: tier.and_then(|tier| tier.name()),
        complete: true,
        ..Answer::default()
    };
    let blocks = message.content.known();
    for block in &blocks {
        block.sample_into(sample);
    }
    Told::of(blocks.iter()).answer(given(message.role.as_ref()), &mut answer);
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    #[serde(borrow)]
    output: Output<'a>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    usage: Option<Maybe<Usage>>,
    #[serde(borrow)]
    service_tier: Option<Maybe<ServiceTier<'a>>>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Option<Message<'a, Block<'a>>>,
}

/// The `usage` object. It counts cached tokens apart from `inputTokens`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage {
    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
    cache_read_input_tokens: Option<Count>,
    cache_write_input_tokens: Option<Count>,
    cache_details: Option<UpTo<{ limits::PARTS_PER_MESSAGE }, CacheDetail>>,
}

/// How many tokens were written to the cache to be kept for so long.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CacheDetail {
    ttl: Option<String>,
    input_tokens: Option<Count>,
}

impl Usage {
    /// In the gateway's terms, if it says anything.
    pub(super) fn normalised(self) -> Option<call::Usage> {
        let count = |count: Option<Count>| count.and_then(Count::get);
        let (input, output) = (count(self.input_tokens), count(self.output_tokens));
        if input.is_none() && output.is_none() {
            return None;
        }
        let read = count(self.cache_read_input_tokens);
        let written = count(self.cache_write_input_tokens);
        let hours = self.cache_details.iter().flat_map(|details| &details.0);
        let hours = hours.filter(|detail| detail.ttl.as_deref() == Some("1h"));
        let hours = hours.filter_map(|detail| count(detail.input_tokens));
        let cached = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
        Some(call::Usage {
            input: input.unwrap_or(0).saturating_add(cached),
            output: output.unwrap_or(0),
            cache_read: read,
            cache_creation: written,
            cache_creation_1h: hours.reduce(u64::saturating_add),
            reasoning: None,
            estimated: false,
        })
    }
}
