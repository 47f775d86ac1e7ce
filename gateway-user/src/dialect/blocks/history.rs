//! The conversation so far.

use super::{
    super::{NotUnderstood, draft::Draft},
    Block, Told,
};
use crate::{
    call::{Message, Prompt, Role, Segments},
    limits,
};

/// The messages, each reduced as soon as it is parsed, so that only one is in memory.
#[derive(Debug, Default)]
pub(in crate::dialect) struct History {
    messages: Vec<Message>,
    wish: Option<String>,
    user_spoke: bool,
    too_many: bool,
    segments: Segments,
}

impl History {
    /// What the next message says: its results, each a message, and then the rest, if there is any
    /// or were no results.
    pub(in crate::dialect) fn push<'b>(&mut self, role: &str, blocks: &'b [Block<'b>]) {
        let draft = Draft::new(role);
        self.count(draft.role(), blocks);
        // An assistant's results are those of tools that the server called itself.
        let splits = draft.role() != Role::Assistant;
        let mut has_results = false;
        for block in blocks {
            if let (Block::Result(result), true) = (block, splits) {
                has_results = true;
                self.add(result.message());
            }
        }
        let rest = blocks.iter().filter(|block| !splits || !matches!(block, Block::Result(_)));
        let told = Told::of(rest);
        if has_results && !told.has_blocks() {
            return;
        }
        if draft.role() == Role::User && !self.user_spoke {
            self.user_spoke = true;
            self.wish = Some(text(blocks)).filter(|it| !it.is_empty());
        }
        self.add(told.finish(draft));
    }

    /// Instructions that stand apart from the messages: they come first.
    pub(in crate::dialect) fn instruct<'b>(&mut self, blocks: &'b [Block<'b>]) {
        let told = Told::of(blocks);
        if told.has_blocks() {
            self.count(Role::System, blocks);
            self.messages.insert(0, told.finish(Draft::new("system")));
        }
    }

    /// Bytes of the tools on offer.
    pub(in crate::dialect) fn offer(&mut self, bytes: u64) {
        self.segments.tools += bytes;
    }

    /// Puts it into a prompt.
    pub(in crate::dialect) fn tell(self, prompt: &mut Prompt) -> Result<(), NotUnderstood> {
        if self.too_many {
            return Err(NotUnderstood::TooLarge);
        }
        prompt.messages = self.messages;
        prompt.wish = self.wish;
        prompt.terms.segments = self.segments;
        Ok(())
    }

    fn add(&mut self, message: Message) {
        if self.messages.len() < limits::MESSAGES_PER_PROMPT {
            self.messages.push(message);
        } else {
            self.too_many = true;
        }
    }

    fn count(&mut self, role: Role, blocks: &[Block<'_>]) {
        let segments = &mut self.segments;
        let bytes =
            if role == Role::System { &mut segments.system } else { &mut segments.messages };
        *bytes += blocks.iter().map(Block::size).sum::<u64>();
    }
}

/// The text of the blocks, up to the bytes of a wish.
fn text(blocks: &[Block<'_>]) -> String {
    let mut text = String::new();
    for block in blocks {
        if let Block::Text(piece) = block {
            text.push_str(&piece[..piece.floor_char_boundary(limits::WISH_BYTES - text.len())]);
        }
    }
    text
}
