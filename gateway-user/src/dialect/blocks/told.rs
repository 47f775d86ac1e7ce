//! What is said in one message, block by block: whole blocks of a document, or the parts of a
//! stream. Text is hashed as it passes, not kept; arguments that come in parts are kept until the
//! end, since only then they are JSON.

use std::borrow::Cow;

use super::{
    super::{
        NotUnderstood,
        arguments::Arguments,
        canonical::{self, Json},
        content::Content,
        draft::Draft,
        json::{Text, given},
    },
    Block, ToolUse,
};
use crate::{
    call::Answer,
    limits::{OBSERVED_RESPONSE_BYTES, TOOL_CALLS_PER_ANSWER},
};

/// One message in the making.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Told {
    content: canonical::Content,
    calls: Vec<Call>,
    /// Bytes of arguments that are kept.
    kept: usize,
    /// Whether anything was said, even if it is nothing but an empty text.
    has_blocks: bool,
}

/// A call, as far as it has come.
#[derive(Debug)]
struct Call {
    index: u64,
    id: Option<String>,
    name: String,
    input: Option<Arguments>,
    /// Arguments in parts: these hold if there are any.
    parts: String,
}

impl Told {
    /// These blocks, which are the whole message.
    pub(in crate::dialect) fn of<'b>(blocks: impl Iterator<Item = &'b Block<'b>> + Clone) -> Self {
        let mut told = Self::default();
        let mut contents = blocks.clone().filter(|block| block.is_content());
        // One text, as most have it, is hashed at once.
        let text = match (contents.next(), contents.next()) {
            (Some(Block::Text(text)), None) => Some(text),
            _ => None,
        };
        for (index, block) in (0..).zip(blocks) {
            if text.is_none() || !block.is_content() {
                told.block(index, block);
            }
        }
        if let Some(text) = text {
            told.has_blocks = true;
            told.content = canonical::Content::whole(text);
        }
        told
    }

    /// A block, or the beginning of one, at its place.
    pub(in crate::dialect) fn block(&mut self, index: u64, block: &Block<'_>) {
        self.has_blocks |= !matches!(block, Block::Unsaid);
        match block {
            Block::Text(text) => self.text(text),
            Block::Call(call) => self.call(index, call),
            Block::Result(result) => self.content.other(result.part()),
            Block::Summary(content) => {
                self.content.other(Json::text("summary"));
                self.more(content);
            }
            Block::Unsaid => {}
            Block::Other(piece) => self.content.other(piece.hash),
        }
    }

    /// More text.
    pub(in crate::dialect) fn text(&mut self, text: &str) {
        self.has_blocks = true;
        self.content.text(text);
    }

    /// More of a summary.
    pub(in crate::dialect) fn more(&mut self, content: &Content<'_>) {
        content.add_to(&mut self.content);
    }

    fn call(&mut self, index: u64, call: &ToolUse<'_>) {
        if self.calls.len() < TOOL_CALLS_PER_ANSWER {
            let text = |text: &Option<Text<'_>>| given(text.as_ref()).map(str::to_owned);
            self.calls.push(Call {
                index,
                id: text(&call.id),
                name: text(&call.name).unwrap_or_default(),
                input: call.input.clone(),
                parts: String::new(),
            });
        }
    }

    /// More of the arguments of the call at this place. Parts of other blocks say nothing: those
    /// of a tool that the server calls itself.
    pub(in crate::dialect) fn arguments(
        &mut self,
        index: u64,
        part: &str,
    ) -> Result<(), NotUnderstood> {
        let Some(call) = self.calls.iter_mut().rfind(|call| call.index == index) else {
            return Ok(());
        };
        if part.len() > OBSERVED_RESPONSE_BYTES - self.kept {
            return Err(NotUnderstood::TooLarge);
        }
        self.kept += part.len();
        call.parts.push_str(part);
        Ok(())
    }

    pub(super) fn has_blocks(&self) -> bool {
        self.has_blocks
    }

    /// As a message of a history.
    pub(super) fn finish(self, mut draft: Draft) -> crate::call::Message {
        draft.content(self.content);
        for call in &self.calls {
            draft.call(call.id.as_deref(), &call.name, call.arguments().json);
        }
        draft.finish()
    }

    /// As the answer of a model.
    pub(in crate::dialect) fn answer(self, role: Option<&str>, answer: &mut Answer) {
        let calls = self.calls.iter();
        let calls = calls.map(|call| call.arguments().of_call(call.id.as_deref(), &call.name));
        answer.tool_calls.extend(calls);
        answer.choices.push(self.finish(Draft::new(role.unwrap_or("assistant"))));
    }
}

impl Call {
    fn arguments(&self) -> Cow<'_, Arguments> {
        match &self.input {
            Some(input) if self.parts.is_empty() => Cow::Borrowed(input),
            _ => Cow::Owned(Arguments::in_text(&self.parts)),
        }
    }
}
