//! `OpenAI` Embeddings: texts become vectors, which nobody goes on from.

use serde::{Deserialize, de::IgnoredAny};

use super::{
    Asking, NotUnderstood,
    draft::Draft,
    input::Input,
    json::{ErrorReport, Maybe, Text, given},
    openai_chat::Usage,
};
use crate::call::{Answer, Dialect, Name, Operation, Prompt, Segments, Terms};

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    input: Option<Input<'a>>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    data: Option<IgnoredAny>,
    usage: Option<Maybe<Usage>>,
    #[serde(borrow)]
    error: Option<ErrorReport<'a>>,
}

/// What the body asks.
pub(super) fn request(body: &[u8], sample: &mut Asking) -> Result<Prompt, NotUnderstood> {
    let request: Request<'_> = serde_json::from_slice(body)?;
    let input = request.input.ok_or(NotUnderstood::NotThisShape)?;
    let mut draft = Draft::new("user");
    draft.said(input.hash());
    let prompt = Prompt {
        dialect: Dialect::OpenaiEmbeddings,
        operation: Operation::Embeddings,
        model: given(request.model.as_ref()).map(Name::shared),
        stream: false,
        messages: vec![draft.finish()],
        tools_hash: None,
        // Nobody wishes for anything.
        wish: None,
        client_retry: None,
        terms: Box::new(Terms {
            max_output: Some(0),
            reports_usage: true,
            segments: Segments { messages: input.size(), ..Segments::default() },
            ..Terms::default()
        }),
    };
    *sample = input.into_sample();
    Ok(prompt)
}

/// What the body answers: what it cost. The vectors are passed over.
pub(super) fn response(body: &[u8]) -> Result<Answer, NotUnderstood> {
    let response: Response<'_> = serde_json::from_slice(body)?;
    if response.data.is_none() && response.error.is_none() {
        return Err(NotUnderstood::NotThisShape);
    }
    Ok(Answer {
        model: given(response.model.as_ref()).map(Name::shared),
        usage: response.usage.and_then(Maybe::known).and_then(Usage::normalised),
        error: response.error.as_ref().map(ErrorReport::name),
        complete: response.error.is_none(),
        ..Answer::default()
    })
}

#[cfg(test)]
mod tests;
