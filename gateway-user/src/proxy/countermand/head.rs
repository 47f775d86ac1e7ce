//! What is kept of the head of a call's request.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Errands;
use crate::{
    call::Name,
    dialect::{self, Session},
    limits,
    proxy::{
        admit::Redial,
        exchange::{Connection, Server},
        inbox::Address,
        recording::Recording,
    },
};

/// The fields of a request that are said again by one that follows it: a line for each.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::proxy) struct Retained(Box<[u8]>);

/// Where a call's request went, and with what in its head.
pub(in crate::proxy) struct Letter {
    /// It may have a key in it.
    target: Box<str>,
    host: Box<str>,
    /// In whose stream it is answered, where that is not its own.
    session: Option<Session>,
    fields: Arc<Retained>,
    pub(super) redial: Redial,
    /// Not held here: it knows the agents, and they their calls.
    recording: Weak<Recording>,
    /// Whose TLS was decrypted, and at which port.
    pub(super) server: Option<(Server, u16)>,
}

impl Retained {
    /// `None` over [`limits::COUNTERMAND_HEAD_BYTES`].
    pub(in crate::proxy) fn of<'a>(
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Option<Arc<Self>> {
        let mut lines = Vec::new();
        for (name, value) in fields.filter(|(name, _)| dialect::carries(name)) {
            if lines.len() + name.len() + value.len() + 2 > limits::COUNTERMAND_HEAD_BYTES {
                return None;
            }
            lines.extend_from_slice(name.as_bytes());
            lines.push(b':');
            lines.extend_from_slice(value);
            lines.push(b'\n');
        }
        Some(Arc::new(Self(lines.into())))
    }

    /// They, as far as they can be sent; no log shows their values.
    fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for line in self.0.split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = line.split_at(colon);
            let name = HeaderName::from_bytes(name);
            let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default());
            if let (Ok(name), Ok(mut value)) = (name, value) {
                value.set_sensitive(true);
                fields.append(name, value);
            }
        }
        fields
    }
}

impl Letter {
    /// Of a request to that host. `None` where nothing could follow it.
    pub(in crate::proxy) fn of(
        connection: &Connection,
        (target, host): (&str, Option<&str>),
        session: Option<Session>,
        fields: Option<&Arc<Retained>>,
    ) -> Option<Arc<Self>> {
        let fields = Arc::clone(fields?);
        let redial = connection.redial()?.clone();
        let port = connection.whither.to.port();
        let server = connection.server.clone().map(|server| (server, port));
        let (target, host) = (target.into(), host?.into());
        let recording = Arc::downgrade(&connection.recording);
        Some(Arc::new(Self { target, host, session, fields, redial, recording, server }))
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// The stream in which its answer is waited for, if that is another's.
    pub(super) fn inbox(&self) -> Option<Address> {
        Some((Some(Name::shared(&self.host)), self.session?))
    }

    pub(super) fn recording(&self) -> Option<Arc<Recording>> {
        self.recording.upgrade()
    }

    pub(super) fn errands(&self) -> Errands {
        self.redial.errands().clone()
    }

    /// The fields of a request that follows.
    pub(super) fn fields(&self) -> HeaderMap {
        let mut fields = self.fields.fields();
        if let Ok(host) = HeaderValue::from_str(&self.host) {
            fields.insert(http::header::HOST, host);
        }
        fields
    }
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, fields, .. } = self;
        f.debug_struct("Letter").field("host", host).field("fields", fields).finish_non_exhaustive()
    }
}

/// They are credentials, among other things.
impl fmt::Debug for Retained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Retained({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lets_a_request_in_is_kept_and_shown_to_nobody() {
        let fields: [(&str, &[u8]); 6] = [
            ("Authorization", b"Bearer secret"),
            ("content-length", b"7"),
            ("X-Empty", b""),
            ("Cookie", b"a=1"),
            ("Cookie", b"b=\xe4:2"),
            ("Idempotency-Key", b"k"),
        ];
        let kept = Retained::of(fields.into_iter()).expect("small");
        assert!(!format!("{kept:?}").contains("secret"));
        let shown = kept.fields();
        assert!(!format!("{shown:?}").contains("secret"));
        let all: Vec<_> =
            shown.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let expected: [(&str, &[u8]); 4] = [
            ("authorization", b"Bearer secret"),
            ("x-empty", b""),
            ("cookie", b"a=1"),
            ("cookie", b"b=\xe4:2"),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_large_head_is_not_kept() {
        let value = vec![b'x'; limits::COUNTERMAND_HEAD_BYTES];
        assert_eq!(Retained::of([("a", &value[..])].into_iter()), None);
    }
}
