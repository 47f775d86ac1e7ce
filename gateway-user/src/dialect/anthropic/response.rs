//! The response in one JSON document.

use serde::Deserialize;

use super::super::{
    Answering, NotUnderstood,
    blocks::{Blocks, Told},
    json::{Count, ErrorReport, Maybe, Text, given},
};
use super::{
    message::Block,
    usage::{Figures, Usage},
};
use crate::call::{Answer, Name};

/// What the body answers.
pub(in crate::dialect) fn parse(
    body: &[u8],
    sample: &mut Answering,
) -> Result<Answer, NotUnderstood> {
    let message: Message<'_> = serde_json::from_slice(body)?;
    let usage = message.usage.and_then(Maybe::known).unwrap_or_default();
    let mut figures = Figures::default();
    figures.report(&usage);
    let mut answer = Answer {
        model: given(message.model.as_ref()).map(Name::shared),
        response_id: given(message.id.as_ref()).map(str::to_owned),
        finish_reasons: given(message.stop_reason.as_ref()).map(Name::shared).into_iter().collect(),
        usage: figures.normalised(),
        service_tier: usage.tier(),
        error: message.error.as_ref().map(ErrorReport::name),
        complete: message.error.is_none(),
        ..Answer::default()
    };
    match message.content {
        Some(content) => {
            let blocks = content.known();
            for block in &blocks {
                block.sample_into(sample);
            }
            Told::of(blocks.iter()).answer(given(message.role.as_ref()), &mut answer);
        }
        // Some servers report an error with status 200.
        None if message.error.is_some() => {}
        None => return Err(NotUnderstood::NotThisShape),
    }
    Ok(answer)
}

/// What the body answers to the question how many tokens a conversation has: nothing that would
/// have been spent.
pub(in crate::dialect) fn counted(body: &[u8]) -> Result<Answer, NotUnderstood> {
    let counted: Counted<'_> = serde_json::from_slice(body)?;
    if counted.input_tokens.and_then(Count::get).is_none() && counted.error.is_none() {
        return Err(NotUnderstood::NotThisShape);
    }
    let error = counted.error.as_ref().map(ErrorReport::name);
    Ok(Answer { complete: error.is_none(), error, ..Answer::default() })
}

/// The message, or the error in place of it.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) model: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) role: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<Blocks<Block<'a>>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) usage: Option<Maybe<Usage<'a>>>,
    #[serde(borrow)]
    error: Option<ErrorReport<'a>>,
}

#[derive(Deserialize)]
struct Counted<'a> {
    input_tokens: Option<Count>,
    #[serde(borrow)]
    error: Option<ErrorReport<'a>>,
}
