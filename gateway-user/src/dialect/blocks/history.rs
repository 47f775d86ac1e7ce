//! The conversation so far.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

use super::{
    super::{
        Asking, NotUnderstood, attached::Attachments, draft::Draft, json::given, wished::Wished,
    },
    Block, Message, Told,
};
use crate::{
    call::{self, Prompt, Role, Segments},
    limits,
};

/// The messages, each reduced as soon as it is parsed, so that only one is in memory.
#[derive(Debug, Default)]
pub(in crate::dialect) struct History {
    messages: Vec<call::Message>,
    wished: Wished,
    too_many: bool,
    segments: Segments,
    attached: Attachments,
    sample: Asking,
}

/// A history, from an array of messages whose blocks are written as `B`, or from `null`.
#[derive(Debug)]
pub(in crate::dialect) struct Messages<B> {
    pub(in crate::dialect) history: History,
    of: PhantomData<B>,
}

impl History {
    /// What the next message says: its results, each a message, and then the rest, if there is any
    /// or were no results.
    fn push<'b>(&mut self, role: &str, blocks: &'b [Block<'b>]) {
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
        if draft.role() == Role::User {
            self.wished.hear(texts(blocks));
        }
        self.add(told.finish(draft));
    }

    /// Instructions that stand apart from the messages: they come first.
    pub(in crate::dialect) fn instruct<'b>(&mut self, blocks: &'b [Block<'b>]) {
        let told = Told::of(blocks.iter());
        if told.has_blocks() {
            self.count(Role::System, blocks);
            self.messages.insert(0, told.finish(Draft::new("system")));
        }
    }

    /// Puts it into a prompt, and some of what it says into a sample.
    pub(in crate::dialect) fn tell(
        self,
        prompt: &mut Prompt,
        sample: &mut Asking,
    ) -> Result<(), NotUnderstood> {
        if self.too_many {
            return Err(NotUnderstood::TooLarge);
        }
        prompt.messages = self.messages;
        prompt.wish = self.wished.first;
        prompt.terms.latest = self.wished.latest;
        let Segments { system, messages, .. } = self.segments;
        prompt.terms.segments = Segments { system, messages, ..prompt.terms.segments };
        prompt.terms.other_parts = self.attached.count;
        let unmetered = &mut prompt.terms.unmetered;
        *unmetered = unmetered.or(self.attached.unmetered());
        *sample = self.sample;
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.messages.len() >= limits::MESSAGES_PER_PROMPT
    }

    fn add(&mut self, message: call::Message) {
        if self.is_full() {
            self.too_many = true;
        } else {
            self.messages.push(message);
        }
    }

    fn count(&mut self, role: Role, blocks: &[Block<'_>]) {
        let before = self.sample.bytes();
        for block in blocks {
            block.sample_into(&mut self.sample);
            self.attached.append(block.attached());
        }
        let segments = &mut self.segments;
        let bytes =
            if role == Role::System { &mut segments.system } else { &mut segments.messages };
        *bytes += self.sample.bytes() - before;
    }
}

impl<B> Default for Messages<B> {
    fn default() -> Self {
        Self { history: History::default(), of: PhantomData }
    }
}

impl<'de, B> Deserialize<'de> for Messages<B>
where
    B: Deserialize<'de> + From<Cow<'de, str>> + Into<Block<'de>>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MessagesVisitor<B>(PhantomData<B>);

        impl<'de, B> Visitor<'de> for MessagesVisitor<B>
        where
            B: Deserialize<'de> + From<Cow<'de, str>> + Into<Block<'de>>,
        {
            type Value = Messages<B>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of messages or null")
            }

            fn visit_unit<E>(self) -> Result<Messages<B>, E> {
                Ok(Messages::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Messages<B>, A::Error> {
                let mut messages = Messages::<B>::default();
                let history = &mut messages.history;
                while !history.is_full() {
                    let message: Option<Message<'de, B>> = seq.next_element()?;
                    let Some(message) = message else { return Ok(messages) };
                    let role = given(message.role.as_ref()).unwrap_or_default();
                    history.push(role, &message.content.known());
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    history.too_many = true;
                }
                Ok(messages)
            }
        }

        deserializer.deserialize_any(MessagesVisitor(PhantomData))
    }
}

/// What the blocks say in words.
fn texts<'b>(blocks: &'b [Block<'b>]) -> impl Iterator<Item = &'b str> {
    blocks.iter().filter_map(|block| match block {
        Block::Text(text) => Some(&**text),
        _ => None,
    })
}
