//! What the targets of dialects have in common: however the bodies of an exchange are cut, they must
//! be read alike, and fail on none.

use turnpike::dialect::{Answered, Known, NotUnderstood, RequestInfo, ResponseInfo, What, detect};

/// How a request is asked, and what its response says of itself.
pub struct Exchange {
    pub method: &'static str,
    pub target: &'static str,
    pub status: u16,
    pub content_type: &'static str,
    /// Whether the response comes to its end.
    pub whole: bool,
}

impl Exchange {
    pub const JSON: &str = "application/json";

    /// A request to post, whose response is one document.
    pub const fn posted(target: &'static str) -> Self {
        Self { method: "POST", target, status: 200, content_type: Self::JSON, whole: true }
    }

    /// The same, whose response is a stream of this type or one document, and may be cut.
    pub const fn answered(self, streams: bool, stream: &'static str, whole: bool) -> Self {
        let content_type = if streams { stream } else { Self::JSON };
        Self { content_type, whole, ..self }
    }

    /// Holds the exchange to what it must be. Of the data the first byte says where to cut, the second
    /// what is asked and how the response is framed; then come the request's body and the response's,
    /// with a NUL between them, which neither holds by rights.
    pub fn check(data: &[u8], of: impl Fn(u8) -> Self, frame: impl Fn(u8, &[u8]) -> Vec<u8>) {
        let [cut, kind, bodies @ ..] = data else { return };
        let middle = bodies.iter().position(|byte| *byte == 0).unwrap_or(bodies.len());
        let (request, response) = bodies.split_at(middle);
        let response = frame(*kind, response.get(1..).unwrap_or_default());

        let exchange = of(*kind);
        let slice = usize::from(*cut) + 1;
        let whole = exchange.read([request].into_iter(), [&*response].into_iter());
        for slice in [slice, 1] {
            assert_eq!(whole, exchange.read(request.chunks(slice), response.chunks(slice)));
        }
    }

    fn read<'a>(
        &self,
        request: impl Iterator<Item = &'a [u8]>,
        response: impl Iterator<Item = &'a [u8]>,
    ) -> (Result<Vec<What>, NotUnderstood>, Vec<Answered>) {
        let mut known = Known::default();
        let mut observer = detect(&RequestInfo {
            method: self.method,
            target: self.target,
            host: None,
            content_type: Some(Self::JSON),
            content_encoding: None,
            content_length: None,
            client_retry: None,
            signals: &[],
        })
        .expect("an API that is known");
        request.for_each(|bytes| observer.request_body(bytes));
        let asked = observer.request_end(&mut known);
        let asked = asked.map(|asked| asked.into_iter().map(|asked| asked.what).collect());
        observer.response_head(&ResponseInfo {
            status: self.status,
            content_type: Some(self.content_type),
            content_encoding: None,
            signals: &[],
        });
        response.for_each(|bytes| observer.response_body(bytes));
        (asked, observer.response_end(self.whole, &mut known))
    }
}
