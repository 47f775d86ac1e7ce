//! The request: a text to go on with, or several.

use serde::Deserialize;

use super::super::{
    Asking, NotUnderstood,
    draft::Draft,
    input::Input,
    json::{Count, Maybe, Text, given},
};
use crate::{
    call::{Dialect, Name, Operation, Prompt, Segments, Terms},
    limits,
};

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    prompt: Option<Input<'a>>,
    stream: Option<bool>,
    stream_options: Option<Maybe<StreamOptions>>,
    max_tokens: Option<Count>,
    /// For each text.
    n: Option<Count>,
    #[serde(borrow)]
    service_tier: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// What the body asks.
pub(in crate::dialect) fn parse(body: &[u8], sample: &mut Asking) -> Result<Prompt, NotUnderstood> {
    let request: Request<'_> = serde_json::from_slice(body)?;
    let input = request.prompt.ok_or(NotUnderstood::NotThisShape)?;
    let stream = request.stream.unwrap_or(false);
    let options = request.stream_options.and_then(Maybe::known);
    let each = request.n.and_then(Count::get);
    let texts = input.count();
    let choices = each.or((texts > 1).then_some(1)).map(|each| each.saturating_mul(texts.max(1)));
    let mut draft = Draft::new("user");
    draft.said(input.hash());
    let prompt = Prompt {
        dialect: Dialect::OpenaiCompletions,
        operation: Operation::TextCompletion,
        model: given(request.model.as_ref()).map(Name::shared),
        stream,
        messages: vec![draft.finish()],
        tools_hash: None,
        wish: Some(input.text(limits::WISH_BYTES)).filter(|wish| !wish.is_empty()),
        client_retry: None,
        terms: Box::new(Terms {
            max_output: request.max_tokens.and_then(Count::get),
            choices,
            service_tier: given(request.service_tier.as_ref()).map(Name::shared),
            reports_usage: !stream || options.and_then(|it| it.include_usage).unwrap_or(false),
            segments: Segments { messages: input.size(), ..Segments::default() },
            ..Terms::default()
        }),
    };
    *sample = input.into_sample();
    Ok(prompt)
}
