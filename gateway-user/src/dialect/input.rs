//! Texts that a model is given outside of a conversation, as the APIs for completions and embeddings
//! take them.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use super::{
    Asking,
    canonical::{Content, Items, Json, JsonVisitor},
};

/// A text, some texts, the tokens of one or of some. One text means the same in a list or alone.
#[derive(Debug, Default)]
pub(super) struct Input<'a> {
    items: Items,
    count: u64,
    /// The first item, if it is a text.
    first: Option<Cow<'a, str>>,
    /// Of the texts.
    sample: Asking,
}

impl Input<'_> {
    /// How many texts there are.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The same for what means the same, and that of a message's content where it is one text.
    pub(super) fn hash(&self) -> Option<Json> {
        match &self.first {
            Some(text) if self.count == 1 => Content::whole(text).if_any(),
            _ => self.items.if_any(),
        }
    }

    /// Bytes of the texts.
    pub(super) fn size(&self) -> u64 {
        self.sample.bytes()
    }

    /// Some of the texts.
    pub(super) fn into_sample(self) -> Asking {
        self.sample
    }

    /// The first text, up to `limit` bytes.
    pub(super) fn text(&self, limit: usize) -> String {
        let text = self.first.as_deref().unwrap_or_default();
        text[..text.floor_char_boundary(limit)].to_owned()
    }
}

/// One of a list.
enum Item<'a> {
    Text(Cow<'a, str>),
    /// One of a text's tokens.
    Token(Json),
    /// A text's tokens, or what is not text.
    Other(Json),
}

impl<'de: 'a, 'a> Deserialize<'de> for Input<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InputVisitor;

        impl<'de> Visitor<'de> for InputVisitor {
            type Value = Input<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an array of strings or of tokens")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Input<'de>, E> {
                Ok(Input::of(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Input<'de>, E> {
                Ok(Input::of(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Input<'de>, A::Error> {
                let mut input = Input::default();
                let mut tokens = false;
                while let Some(item) = items.next_element()? {
                    tokens |= matches!(item, Item::Token(_));
                    input.push(item);
                }
                if tokens {
                    input.count = 1;
                }
                Ok(input)
            }
        }

        deserializer.deserialize_any(InputVisitor)
    }
}

impl<'a> Input<'a> {
    fn of(text: Cow<'a, str>) -> Self {
        let mut input = Self::default();
        input.push(Item::Text(text));
        input
    }

    fn push(&mut self, item: Item<'a>) {
        match item {
            Item::Text(text) => {
                self.items.push(Json::text(&text));
                self.sample.push(&text);
                if self.count == 0 {
                    self.first = Some(text);
                }
            }
            Item::Token(hash) | Item::Other(hash) => self.items.push(hash),
        }
        self.count += 1;
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Item<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;

        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a token or an array of tokens")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Item<'de>, E> {
                Ok(Item::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Item<'de>, E> {
                Ok(Item::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_u64<E: serde::de::Error>(self, token: u64) -> Result<Item<'de>, E> {
                JsonVisitor(&mut ()).visit_u64(token).map(Item::Token)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Item<'de>, A::Error> {
                JsonVisitor(&mut ()).visit_seq(seq).map(Item::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item<'de>, A::Error> {
                JsonVisitor(&mut ()).visit_map(map).map(Item::Other)
            }
        }

        deserializer.deserialize_any(ItemVisitor)
    }
}
