//! The request: a conversation, or a text that is to be gone on with.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::super::{
    Asking, NotUnderstood,
    canonical::Json,
    draft::Draft,
    json::{Count, Gathered, Maybe, Text, given},
    keys::Keys,
};
use super::{
    Method,
    message::{History, Images, content},
};
use crate::call::{Dialect, Name, Prompt, Segments, Terms};

/// What the body asks of this method; `None` if it is another program's.
pub(in crate::dialect) fn parse(
    method: Method,
    body: &[u8],
    sample: &mut Asking,
) -> Result<Option<Prompt>, NotUnderstood> {
    let names: Names = serde_json::from_slice(body).unwrap_or_default();
    let has = |name| names.known.contains(&name);
    let is_ollamas = has("model")
        && match method {
            Method::Chat => has("messages"),
            Method::Generate => has("prompt"),
            Method::Embed => has("prompt") || has("input"),
        };
    if !is_ollamas {
        return Ok(None);
    }
    if let Some(reason) = names.lost {
        return Err(reason);
    }
    let mut request: Request<'_> = serde_json::from_slice(body)?;
    if request.messages.0.too_many {
        return Err(NotUnderstood::TooLarge);
    }
    *sample = std::mem::take(&mut request.messages.0.sample);
    match method {
        Method::Chat => {}
        Method::Generate => {
            for Text(text) in [&request.system, &request.prompt].into_iter().flatten() {
                sample.push(text);
            }
        }
        // Its size is that of the body, and so is what is read of it.
        Method::Embed => sample.push_bytes(body),
    }
    Ok(Some(request.prompt(method, body.len())))
}

/// Which of the fields that are read there are. Ollama reads names in any case, so what is spelled
/// otherwise is its own, too, though it is not read here, and comes twice if both spellings do.
#[derive(Default)]
struct Names {
    known: Vec<&'static str>,
    lost: Option<NotUnderstood>,
}

/// Fields that are read.
const FIELDS: &[&str] =
    &["model", "messages", "prompt", "input", "system", "images", "stream", "tools", "options"];

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(default)]
    messages: Gathered<History>,
    #[serde(borrow)]
    prompt: Option<Text<'a>>,
    #[serde(borrow)]
    system: Option<Text<'a>>,
    #[serde(borrow, default)]
    images: Images<'a>,
    stream: Option<bool>,
    tools: Option<Json>,
    options: Option<Maybe<Options>>,
}

#[derive(Deserialize)]
struct Options {
    /// Below 0: as many as it likes.
    num_predict: Option<Count>,
}

impl Request<'_> {
    fn prompt(self, method: Method, size: usize) -> Prompt {
        let options = self.options.and_then(Maybe::known);
        let Gathered(mut history) = self.messages;
        let mut segments =
            Segments { tools: 0, system: history.system_bytes, messages: history.message_bytes };
        let prompt = given(self.prompt.as_ref()).unwrap_or_default();
        match method {
            Method::Chat => {}
            Method::Generate => {
                let system = given(self.system.as_ref());
                if let Some(system) = system {
                    let mut draft = Draft::new("system");
                    draft.content(content(system, &Images::default()));
                    history.messages.push(draft.finish());
                }
                let mut draft = Draft::new("user");
                draft.content(content(prompt, &self.images));
                history.messages.push(draft.finish());
                history.wished.hear([prompt].into_iter());
                segments.system = system.map_or(0, str::len) as u64;
                segments.messages = prompt.len() as u64;
                history.other_parts = self.images.0.len() as u64;
            }
            // What is embedded is no conversation.
            Method::Embed => segments.messages = size as u64,
        }
        Prompt {
            dialect: Dialect::Ollama,
            operation: method.operation(),
            model: given(Some(&self.model)).map(Name::shared),
            stream: method != Method::Embed && self.stream.unwrap_or(true),
            messages: history.messages,
            tools_hash: self.tools.filter(|tools| !tools.is_empty_array()).map(Json::get),
            wish: history.wished.first,
            client_retry: None,
            terms: Box::new(Terms {
                max_output: options.and_then(|it| it.num_predict).and_then(Count::get),
                reports_usage: true,
                latest: history.wished.latest,
                segments,
                other_parts: history.other_parts,
                ..Terms::default()
            }),
        }
    }
}

/// A name as Go compares it: a long s and the sign for kelvins are letters like others to it.
fn folded(name: &str) -> String {
    name.to_lowercase().replace('\u{17f}', "s")
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;

        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Names::default();
                let mut keys = Keys::default();
                while let Some(Text(name)) = map.next_key()? {
                    map.next_value::<IgnoredAny>()?;
                    let folded = folded(&name);
                    if !keys.is_other(&folded) {
                        names.lost = Some(NotUnderstood::DuplicateKey);
                    } else if let Some(known) = FIELDS.iter().find(|known| **known == folded) {
                        names.known.push(*known);
                        if *known != name {
                            names.lost.get_or_insert(NotUnderstood::NotThisShape);
                        }
                    }
                }
                Ok(names)
            }
        }

        deserializer.deserialize_map(NamesVisitor)
    }
}
