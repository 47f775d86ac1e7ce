//! The response in one JSON document, and the usage that it has in common with the stream.

use serde::Deserialize;

use super::super::{
    Answering, NotUnderstood,
    arguments::Arguments,
    json::{Count, ErrorReport, Maybe, Text, UpTo, given},
};
use super::message::Message;
use crate::{
    call::{self, Answer, Name},
    limits::{self, TOOL_CALLS_PER_ANSWER},
};

/// What the body answers.
pub(in crate::dialect) fn parse(
    body: &[u8],
    sample: &mut Answering,
) -> Result<Answer, NotUnderstood> {
    let completion: Completion<'_> = serde_json::from_slice(body)?;
    let mut answer = Answer {
        model: given(completion.model.as_ref()).map(Name::shared),
        response_id: given(completion.id.as_ref()).map(str::to_owned),
        usage: completion.usage.and_then(Maybe::known).and_then(Usage::normalised),
        service_tier: given(completion.service_tier.as_ref()).map(Name::shared),
        error: completion.error.as_ref().map(ErrorReport::name),
        complete: completion.error.is_none(),
        ..Answer::default()
    };
    let choices = match completion.choices {
        Some(choices) => choices.0,
        // Some servers report an error with status 200.
        None if completion.error.is_some() => Vec::new(),
        None => return Err(NotUnderstood::NotThisShape),
    };
    for choice in &choices {
        answer.finish_reasons.extend(given(choice.finish_reason.as_ref()).map(Name::shared));
        let Some(message) = &choice.message else { continue };
        answer.choices.push(message.draft("assistant").finish());
        message.texts().for_each(|text| sample.push(text));
        for call in &message.tool_calls.0 {
            emit(&mut answer, given(call.id.as_ref()), call.name(), &call.arguments());
        }
        if let Some(call) = &message.function_call {
            let name = given(call.name.as_ref()).unwrap_or_default();
            emit(&mut answer, None, name, &call.arguments.0);
        }
    }
    Ok(answer)
}

/// Adds a tool call to the answer, while there is room.
pub(super) fn emit(answer: &mut Answer, id: Option<&str>, name: &str, arguments: &Arguments) {
    if answer.tool_calls.len() < TOOL_CALLS_PER_ANSWER {
        answer.tool_calls.push(arguments.of_call(id, name));
    }
}

#[derive(Deserialize)]
struct Completion<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    choices: Option<UpTo<{ limits::CHOICES_PER_ANSWER }, Choice<'a>>>,
    #[serde(borrow)]
    service_tier: Option<Text<'a>>,
    usage: Option<Maybe<Usage>>,
    #[serde(borrow)]
    error: Option<ErrorReport<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

/// The `usage` object: `prompt_tokens` counts cached tokens, `completion_tokens` reasoning.
#[derive(Debug, Deserialize)]
pub(in crate::dialect) struct Usage {
    prompt_tokens: Option<Count>,
    completion_tokens: Option<Count>,
    prompt_tokens_details: Option<Maybe<Details>>,
    completion_tokens_details: Option<Maybe<Details>>,
}

#[derive(Debug, Default, Deserialize)]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
struct Details {
    cached_tokens: Option<Count>,
    cache_write_tokens: Option<Count>,
    reasoning_tokens: Option<Count>,
}

impl Usage {
    /// In the gateway's terms, if it says anything.
    pub(in crate::dialect) fn normalised(self) -> Option<call::Usage> {
        let count = |count: Option<Count>| count.and_then(Count::get);
        let details = |it: Option<Maybe<Details>>| it.and_then(Maybe::known).unwrap_or_default();
        let input = count(self.prompt_tokens);
        let output = count(self.completion_tokens);
        if input.is_none() && output.is_none() {
            return None;
        }
        let prompt = details(self.prompt_tokens_details);
        Some(call::Usage {
            input: input.unwrap_or(0),
            output: output.unwrap_or(0),
            cache_read: count(prompt.cached_tokens),
            cache_creation: count(prompt.cache_write_tokens),
            cache_creation_1h: None,
            reasoning: count(details(self.completion_tokens_details).reasoning_tokens),
            estimated: false,
        })
    }
}
