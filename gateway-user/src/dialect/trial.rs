//! For tests of dialects: a request and a response are put before an observer.

use serde_json::Value;

use super::{
    Answered, Known, NotUnderstood, Observer, Reading, RequestInfo, ResponseInfo, Traffic, What,
    detect,
};
use crate::call::{Answer, Message, Prompt};

pub(super) const JSON: &str = "application/json";
pub(super) const EVENTS: &str = "text/event-stream; charset=utf-8";
pub(super) const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// A request whose head says so much.
pub(super) fn observer(target: &str, content_encoding: Option<&str>) -> Observer {
    detect(&RequestInfo {
        method: "POST",
        target,
        host: None,
        content_type: Some("application/json"),
        content_encoding,
        content_length: None,
        client_retry: None,
        signals: &[],
    })
    .expect("the path of a known API")
}

/// What is under this target, and a request to it that will be answered.
#[derive(Clone, Copy)]
pub(super) struct Trial<'a>(pub(super) &'a str, pub(super) &'a str);

impl Trial<'_> {
    /// What is read of a request that comes in these pieces, from an agent that nothing is known of;
    /// `None`: it is other traffic.
    pub(super) fn look_at<'p>(
        self,
        pieces: impl IntoIterator<Item = &'p [u8]>,
    ) -> Result<Option<Prompt>, NotUnderstood> {
        let mut observer = observer(self.0, None);
        for piece in pieces {
            observer.request_body(piece);
        }
        let mut asked = observer.request_end(&mut Known::default())?;
        assert_eq!(observer.traffic() == Traffic::Other, asked.is_empty());
        Ok(asked.pop().map(|asked| match asked.what {
            What::Model(prompt) => prompt,
            What::Tool(tool) => panic!("no model: {tool:?}"),
        }))
    }

    /// The same of one that can't be other traffic.
    pub(super) fn ask_in<'p>(
        self,
        pieces: impl IntoIterator<Item = &'p [u8]>,
    ) -> Result<Prompt, NotUnderstood> {
        Ok(self.look_at(pieces)?.expect("the path is this API's own"))
    }

    pub(super) fn try_ask(self, body: &Value) -> Result<Prompt, NotUnderstood> {
        self.ask_in([body.to_string().as_bytes()])
    }

    pub(super) fn ask(self, body: &Value) -> Prompt {
        self.try_ask(body).expect("a prompt")
    }

    /// What a history comes to that has these messages.
    pub(super) fn messages(self, messages: &Value) -> Vec<Message> {
        self.ask(&serde_json::json!({"messages": messages})).messages
    }

    /// What is read of a response that comes in these pieces.
    pub(super) fn read<'p>(
        self,
        content_type: &str,
        whole: bool,
        pieces: impl IntoIterator<Item = &'p [u8]>,
    ) -> Reading {
        self.read_of(200, content_type, whole, pieces)
    }

    /// The same of one of this status.
    pub(super) fn read_of<'p>(
        self,
        status: u16,
        content_type: &str,
        whole: bool,
        pieces: impl IntoIterator<Item = &'p [u8]>,
    ) -> Reading {
        let Self(target, request) = self;
        let mut observer = observer(target, None);
        observer.request_body(request.as_bytes());
        assert_eq!(observer.request_end(&mut Known::default()).map(|asked| asked.len()), Ok(1));
        observer.response_head(&ResponseInfo {
            status,
            content_type: Some(content_type),
            content_encoding: None,
            signals: &[],
        });
        for piece in pieces {
            observer.response_body(piece);
        }
        let [Answered { reading, .. }] = &*observer.response_end(whole, &mut Known::default())
        else {
            panic!("not one answer")
        };
        reading.clone()
    }

    /// What a response says that is understood.
    pub(super) fn answer(self, content_type: &str, body: impl AsRef<[u8]>) -> Answer {
        let reading = self.read(content_type, true, [body.as_ref()]);
        assert_eq!(reading.not_understood, None);
        reading.answer
    }
}

/// The value with the keys of all objects in reverse order, spaces, and all text escaped.
pub(super) fn respelled(value: &Value) -> String {
    let text = |text: &str| {
        let units: Vec<_> = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        format!("\"{}\"", units.concat())
    };
    match value {
        Value::Array(items) => {
            format!("[ {} ]", items.iter().map(respelled).collect::<Vec<_>>().join(" , "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by(|(a, _), (b, _)| b.cmp(a));
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| format!("{} : {}", text(name), respelled(value)))
                .collect();
            format!("{{ {} }}", fields.join(" , "))
        }
        Value::String(value) => text(value),
        leaf => leaf.to_string(),
    }
}
