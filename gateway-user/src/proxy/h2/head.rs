//! Heads: what of them is checked, understood and counted.

use std::sync::Arc;

use ::h2::ext::Protocol;
use http::{
    HeaderMap, HeaderName, Method, Request, Response,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION},
    uri::{Authority, Scheme},
};

use crate::{
    call::Signal,
    dialect::{self, signals},
    proxy::{countermand::Retained, exchange},
};

/// The request names no host, so nothing can be sent for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoAuthority;

/// Makes a request fit to be sent. `h2` has refused what RFC 9113, section 8.2 forbids before.
///
/// A request may name its host by Host alone; whoever passes it on puts that into `:authority`
/// (RFC 9113, section 8.3.1). `h2` drops the scheme of such a request, which then is the
/// connection's. Says whether its `:authority` and Host contradict each other.
pub(super) fn prepare<T>(request: &mut Request<T>, scheme: &Scheme) -> Result<bool, NoAuthority> {
    let host = request.headers().get(HOST).map(http::HeaderValue::as_bytes);
    if let Some(authority) = request.uri().authority() {
        let same = |host: &[u8]| host.eq_ignore_ascii_case(authority.as_str().as_bytes());
        return Ok(!host.is_none_or(same));
    }
    let authority = host.and_then(|host| Authority::try_from(host).ok()).ok_or(NoAuthority)?;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.authority = Some(authority);
    let is_connect = request.method() == Method::CONNECT;
    if !is_connect || request.extensions().get::<Protocol>().is_some() {
        parts.scheme = Some(scheme.clone());
    }
    *request.uri_mut() = parts.try_into().map_err(|_| NoAuthority)?;
    Ok(false)
}

/// What of a head's fields has to be put together before an exchange can have it.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    codings: Option<String>,
    signals: Vec<Signal>,
    /// Of a request, if one of the gateway's own may follow.
    retained: Option<Arc<Retained>>,
}

impl Gathered {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut signals = Vec::new();
        for (name, value) in headers {
            signals::note(&mut signals, name.as_str().as_bytes(), value.as_bytes());
        }
        Self { codings: joined(headers, &CONTENT_ENCODING), signals, retained: None }
    }

    /// Of a request.
    pub(super) fn of_request<T>(request: &Request<T>) -> Self {
        let (headers, target) = (request.headers(), target(request));
        let may = dialect::may_follow(request.method().as_str(), target, content_type(headers));
        let all = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let retained = may.then(|| Retained::of(all)).flatten();
        Self { retained, ..Self::of(headers) }
    }
}

/// A request, as an exchange needs it.
pub(super) fn begin<'a, T>(
    request: &'a Request<T>,
    gathered: &'a Gathered,
    stream_id: u32,
) -> exchange::Request<'a> {
    let uri = request.uri();
    exchange::Request {
        method: request.method().as_str(),
        target: target(request),
        host: uri.authority().map(|authority| authority.as_str().to_owned()),
        content_type: content_type(request.headers()),
        content_encoding: gathered.codings.as_deref(),
        content_length: request
            .headers()
            .get(http::header::CONTENT_LENGTH)
            .and_then(|it| it.to_str().ok()?.parse().ok()),
        retry_count: request
            .headers()
            .get(RETRY_COUNT)
            .and_then(|it| it.to_str().ok()?.parse().ok()),
        signals: &gathered.signals,
        retained: gathered.retained.as_ref(),
        stream_id: Some(stream_id),
    }
}

/// A response, as an exchange needs it.
pub(super) fn answer<'a, T>(
    response: &'a Response<T>,
    gathered: &'a Gathered,
) -> exchange::Response<'a> {
    exchange::Response {
        status: response.status().as_u16(),
        content_type: content_type(response.headers()),
        content_encoding: gathered.codings.as_deref(),
        location: Some(response)
            .filter(|response| response.status().is_redirection())
            .and_then(|response| response.headers().get(LOCATION)?.to_str().ok()),
        signals: &gathered.signals,
    }
}

fn target<T>(request: &Request<T>) -> &str {
    request.uri().path_and_query().map_or("", http::uri::PathAndQuery::as_str)
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

/// Bytes of a head before compression: names and values.
pub(super) fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Bytes of a request's pseudo-headers' values, and of its fields.
pub(super) fn request_size<T>(request: &Request<T>) -> usize {
    let uri = request.uri();
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let scheme = uri.scheme_str().map_or(0, str::len);
    request.method().as_str().len() + path + authority + scheme + size(request.headers())
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut joined = values.next()?.to_owned();
    for value in values {
        joined.push_str(", ");
        joined.push_str(value);
    }
    Some(joined)
}

const RETRY_COUNT: HeaderName = HeaderName::from_static("x-stainless-retry-count");

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, host: Option<&str>) -> Request<()> {
        let mut builder = Request::builder().uri(uri);
        if let Some(host) = host {
            builder = builder.header(HOST, host);
        }
        builder.body(()).expect("a request")
    }

    #[test]
    fn host_takes_the_place_of_a_missing_authority() {
        let mut asked = request("/a?b", Some("example.com:8443"));
        assert_eq!(prepare(&mut asked, &Scheme::HTTPS), Ok(false));
        assert_eq!(asked.uri(), "https://example.com:8443/a?b");
    }

    #[test]
    fn without_any_host_a_request_is_unfit() {
        for host in [None, Some(""), Some("a b")] {
            let outcome = prepare(&mut request("/", host), &Scheme::HTTP);
            assert_eq!(outcome, Err(NoAuthority), "{host:?}");
        }
    }

    #[test]
    fn a_host_that_contradicts_is_noticed_and_case_is_not() {
        for (host, differs) in [("a.example", false), ("A.example", false), ("b.example", true)] {
            let outcome = prepare(&mut request("https://a.example/", Some(host)), &Scheme::HTTPS);
            assert_eq!(outcome, Ok(differs), "{host}");
        }
    }

    #[test]
    fn codings_in_several_fields_are_one_list() {
        let mut headers = HeaderMap::new();
        assert_eq!(joined(&headers, &CONTENT_ENCODING), None);
        for coding in ["gzip", "br"] {
            headers.append(CONTENT_ENCODING, coding.parse().expect("a value"));
        }
        assert_eq!(joined(&headers, &CONTENT_ENCODING).as_deref(), Some("gzip, br"));
    }
}
