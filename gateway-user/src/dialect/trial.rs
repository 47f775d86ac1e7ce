//! Exchanges for tests, from their bytes to what was read of them.

use super::{Known, NotUnderstood, Observer, Reading, RequestInfo, ResponseInfo, What, detect};
use crate::call::Prompt;

/// A request whose head says so much.
pub(super) fn observer(target: &str, content_encoding: Option<&str>) -> Observer {
    detect(&RequestInfo {
        method: "POST",
        target,
        content_type: Some("application/json"),
        content_encoding,
        content_length: None,
        client_retry: None,
        signals: &[],
    })
    .expect("the path of a known API")
}

/// What is asked, by an agent that nothing is known of; `None`: it is other traffic.
pub(super) fn ask<'a>(
    target: &str,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<Prompt>, NotUnderstood> {
    let mut observer = observer(target, None);
    for piece in pieces {
        observer.request_body(piece);
    }
    let mut asked = observer.request_end(&mut Known::default())?;
    assert_eq!(observer.is_other(), asked.is_empty());
    Ok(asked.pop().map(|asked| match asked.what {
        What::Model(prompt) => prompt,
        What::Tool(tool) => panic!("no model: {tool:?}"),
    }))
}

/// What a response of this status and type says to a request.
pub(super) fn read<'a>(
    (target, request): (&str, &str),
    (status, content_type): (u16, Option<&str>),
    whole: bool,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Reading {
    let mut observer = observer(target, None);
    observer.request_body(request.as_bytes());
    assert_eq!(observer.request_end(&mut Known::default()).map(|asked| asked.len()), Ok(1));
    observer.response_head(&ResponseInfo {
        status,
        content_type,
        content_encoding: None,
        signals: &[],
    });
    for piece in pieces {
        observer.response_body(piece);
    }
    observer.response_end(whole, &mut Known::default()).remove(0).reading
}
