//! A content: as it is written, and as the messages that it comes to.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::super::{
    Asking,
    arguments::Arguments,
    attached::{Attached, Attachments},
    canonical::{self, Fields, Json},
    draft::Draft,
    json::{Gather, Gathered, Text, given},
    keys::Keys,
    wished::Wished,
};
use crate::{
    call::{Message, Role},
    limits,
};

/// What one side says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Content<'a> {
    #[serde(borrow)]
    pub(super) role: Option<Text<'a>>,
    #[serde(borrow)]
    parts: Gathered<Parts<'a>>,
}

impl<'a> Content<'a> {
    pub(super) fn pieces(&self) -> &[Piece<'a>] {
        &self.parts.0.pieces
    }

    /// What of it is no text.
    pub(super) fn attached(&self) -> Attachments {
        let mut attachments = Attachments::default();
        for piece in self.pieces() {
            match piece {
                Piece::Media(media, _) => attachments.append(Attachments::of(*media)),
                Piece::Outcome(Outcome { parts: Some(parts), .. }) => {
                    attachments.append(Attachments::of(*parts));
                }
                _ => {}
            }
        }
        attachments
    }

    fn is_models(&self) -> bool {
        given(self.role.as_ref()) == Some("model")
    }

    /// What it says in words.
    fn texts(&self) -> impl Iterator<Item = &str> {
        self.pieces().iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(&**text),
            _ => None,
        })
    }
}

/// The parts of a content, while there is room.
#[derive(Debug, Default)]
struct Parts<'a> {
    pieces: Vec<Piece<'a>>,
    too_many: bool,
}

impl<'de: 'a, 'a> Gather<'de> for Parts<'a> {
    type Item = Piece<'de>;

    fn is_full(&self) -> bool {
        self.pieces.len() >= limits::PARTS_PER_MESSAGE
    }

    fn push(&mut self, piece: Piece<'de>) {
        self.pieces.push(piece);
    }

    fn overflow(&mut self) {
        self.too_many = true;
    }
}

/// One part. What is beside it does not count: signatures, thoughts, metadata.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    Text(Cow<'a, str>),
    /// What the model thought. Clients send it back or don't.
    Thought(Cow<'a, str>),
    Call(Call<'a>),
    /// The result of a call.
    Outcome(Outcome<'a>),
    /// Code that the model ran, or the like, hashed.
    Other(Json),
    /// An image, a file or the like: hashed, and how many bytes of data it holds.
    Media(Attached, u64),
}

/// A `functionCall`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Call<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    args: Option<Arguments>,
    /// Only a part of the arguments is there: the model streams them.
    #[serde(rename = "partialArgs", alias = "partial_args")]
    partial_args: Option<IgnoredAny>,
    #[serde(rename = "willContinue", alias = "will_continue")]
    will_continue: Option<bool>,
}

impl Call<'_> {
    pub(super) fn arguments(&self) -> Cow<'_, Arguments> {
        self.args.as_ref().map_or_else(Cow::default, Cow::Borrowed)
    }

    /// How much they say.
    pub(super) fn size(&self) -> usize {
        self.args.as_ref().map_or(0, |args| args.bytes)
    }

    /// Whether its arguments come piece by piece.
    pub(super) fn is_partial(&self) -> bool {
        self.partial_args.is_some() || self.will_continue == Some(true)
    }
}

/// A `functionResponse`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Outcome<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    response: Option<Json>,
    /// Images and the like.
    parts: Option<Attached>,
}

impl Outcome<'_> {
    fn message(&self) -> Message {
        let mut draft = Draft::new("tool");
        draft.name(given(self.name.as_ref()));
        let mut content = canonical::Content::default();
        let parts = self.parts.map(|it| it.hash);
        for piece in [self.response, parts].into_iter().flatten() {
            content.other(piece);
        }
        draft.content(content);
        draft.answers(given(self.id.as_ref()));
        draft.finish()
    }
}

/// `inlineData` or `fileData`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Media<'a> {
    #[serde(borrow, rename = "mimeType", alias = "mime_type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow, rename = "fileUri", alias = "file_uri")]
    uri: Option<Text<'a>>,
}

impl Media<'_> {
    fn attached(&self) -> Attached {
        let text = |text: &Option<Text<'_>>| given(text.as_ref()).map(Json::text);
        let mut fields = Fields::default();
        fields.add_some("mimeType", text(&self.kind));
        fields.add_some("data", given(self.data.as_ref()).map(base64));
        fields.add_some("fileUri", text(&self.uri));
        Attached { hash: fields.hash(), elsewhere: self.uri.is_some() }
    }

    fn size(&self) -> u64 {
        self.data.as_ref().map_or(0, |Text(data)| data.len() as u64)
    }
}

/// Data in Base64, in whichever alphabet, padded or not: the API writes the standard one, and its SDKs
/// write it back in the one for URLs.
fn base64(data: &str) -> Json {
    let data = data.trim_end_matches('=');
    if data.contains(['-', '_']) {
        Json::text(&data.replace('-', "+").replace('_', "/"))
    } else {
        Json::text(data)
    }
}

/// A side's contents, in canonical form, in the making.
#[derive(Debug)]
pub(super) struct Turn {
    draft: Draft,
    content: canonical::Content,
    is_empty: bool,
}

impl Turn {
    pub(super) fn of(role: &str) -> Self {
        let draft = Draft::new(role);
        Self { draft, content: canonical::Content::default(), is_empty: true }
    }

    pub(super) fn add(&mut self, piece: &Piece<'_>) {
        match piece {
            Piece::Text(text) => self.content.text(text),
            Piece::Thought(_) | Piece::Outcome(_) => return,
            Piece::Call(call) => {
                let name = given(call.name.as_ref()).unwrap_or_default();
                self.draft.call_by_name(given(call.id.as_ref()), name, call.arguments().json);
            }
            Piece::Other(piece) => self.content.other(*piece),
            Piece::Media(media, _) => self.content.other(media.hash),
        }
        self.is_empty = false;
    }

    pub(super) fn finish(mut self) -> Message {
        self.draft.content(self.content);
        self.draft.finish()
    }
}

/// A conversation's contents, each reduced as soon as it is parsed, so that only one is in memory.
#[derive(Debug, Default)]
pub(super) struct History {
    messages: Vec<Message>,
    /// What the model said last, while it may go on.
    model: Option<Turn>,
    pub(super) wished: Wished,
    pub(super) too_many: bool,
    /// Bytes of images, files and the like.
    pub(super) media_bytes: u64,
    pub(super) attached: Attachments,
    pub(super) sample: Asking,
}

impl History {
    /// The messages, behind those of the instructions.
    pub(super) fn messages(mut self, instructions: Option<Message>) -> Vec<Message> {
        self.end_turn();
        self.messages.splice(0..0, instructions);
        self.messages
    }

    fn end_turn(&mut self) {
        self.messages.extend(self.model.take().map(Turn::finish));
    }

    /// A content of the user's: the results of calls are messages of their own.
    fn user(&mut self, content: &Content<'_>) {
        let role = match given(content.role.as_ref()) {
            None | Some("function") => "user",
            Some(role) => role,
        };
        let mut turn = Turn::of(role);
        let mut outcomes = false;
        for piece in content.pieces() {
            if let Piece::Outcome(outcome) = piece {
                outcomes = true;
                if !turn.is_empty {
                    self.messages.push(std::mem::replace(&mut turn, Turn::of(role)).finish());
                }
                self.messages.push(outcome.message());
            } else {
                turn.add(piece);
            }
        }
        if outcomes && turn.is_empty {
            return;
        }
        if turn.draft.role() == Role::User {
            self.wished.hear(content.texts());
        }
        self.messages.push(turn.finish());
    }
}

impl<'de> Gather<'de> for History {
    type Item = Content<'de>;

    fn is_full(&self) -> bool {
        self.messages.len() >= limits::MESSAGES_PER_PROMPT
    }

    fn push(&mut self, content: Content<'de>) {
        self.too_many |= content.parts.0.too_many;
        for piece in content.pieces() {
            match piece {
                Piece::Text(text) => self.sample.push(text),
                Piece::Media(_, size) => self.media_bytes += size,
                _ => {}
            }
        }
        self.attached.append(content.attached());
        if content.is_models() {
            let turn = self.model.get_or_insert_with(|| Turn::of("assistant"));
            content.pieces().iter().for_each(|piece| turn.add(piece));
        } else {
            self.end_turn();
            self.user(&content);
        }
    }

    fn overflow(&mut self) {
        self.too_many = true;
    }
}

impl<'de> Deserialize<'de> for Piece<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PartVisitor;

        impl<'de> Visitor<'de> for PartVisitor {
            type Value = Piece<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a part")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Piece<'de>, A::Error> {
                let (mut text, mut said, mut thought) = (None, None, false);
                let mut others = Fields::default();
                let mut keys = Keys::default();
                while let Some(Text(name)) = map.next_key()? {
                    let name = in_camel_case(&name);
                    keys.once(name)?;
                    match name {
                        "text" => text = map.next_value::<Option<Text<'de>>>()?,
                        "thought" => thought = map.next_value::<Option<bool>>()? == Some(true),
                        "functionCall" => {
                            said = map.next_value::<Option<_>>()?.map(Piece::Call).or(said);
                        }
                        "functionResponse" => {
                            said = map.next_value::<Option<_>>()?.map(Piece::Outcome).or(said);
                        }
                        "inlineData" | "fileData" => {
                            let media = map.next_value::<Option<Media<'de>>>()?;
                            said = media.map(|it| Piece::Media(it.attached(), it.size())).or(said);
                        }
                        name if says_something(name) => others.add(name, map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                let others = (!others.is_empty()).then(|| others.hash());
                Ok(match (said, text, others) {
                    (Some(said), _, _) => said,
                    (None, text, _) if thought => {
                        Piece::Thought(text.map(|Text(text)| text).unwrap_or_default())
                    }
                    (None, Some(Text(text)), _) => Piece::Text(text),
                    (None, None, Some(others)) => Piece::Other(others),
                    (None, None, None) => Piece::Text(Cow::default()),
                })
            }
        }

        deserializer.deserialize_map(PartVisitor)
    }
}

/// The name of a field of a part. The API takes both spellings of each.
fn in_camel_case(name: &str) -> &str {
    const NAMES: &[(&str, &str)] = &[
        ("function_call", "functionCall"),
        ("function_response", "functionResponse"),
        ("inline_data", "inlineData"),
        ("file_data", "fileData"),
        ("executable_code", "executableCode"),
        ("code_execution_result", "codeExecutionResult"),
    ];
    let known = NAMES.iter().find(|(snake, _)| *snake == name);
    known.map_or(name, |(_, camel)| camel)
}

/// Whether a field of a part is one that it may be there for, and not one about another.
fn says_something(name: &str) -> bool {
    let about = ["Signature", "_signature", "Metadata", "_metadata", "Resolution", "_resolution"];
    !about.iter().any(|end| name.ends_with(end))
}
