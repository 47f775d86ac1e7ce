//! However the bodies of MCP and A2A exchanges are cut, they must be read alike, and fail on none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::{
    call::Signal,
    dialect::{
        Answered, Known, NotUnderstood, Observer, RequestInfo, ResponseInfo, Traffic, What, detect,
        template,
    },
};

// The first byte says where to cut, the second how the exchanges are framed; then come the body of
// a request, the body of its response, and a stream that the server sends beside it, with NULs
// between them.
fuzz_target!(|data: &[u8]| {
    let [cut, framing, bodies @ ..] = data else { return };
    let mut bodies = bodies.splitn(3, |byte| *byte == 0);
    let [request, response, stream] = [(); 3].map(|()| bodies.next().unwrap_or_default());

    let slice = usize::from(*cut) + 1;
    let whole = read(*framing, [request], [response], [stream]);
    for slice in [slice, 1] {
        let pieces = [request, response, stream].map(|body| body.chunks(slice));
        let [request, response, stream] = pieces;
        assert_eq!(whole, read(*framing, request, response, stream));
    }
    if let Ok(target) = str::from_utf8(stream) {
        let template = template::path(target);
        assert!(template.len() <= turnpike::limits::OTHER_PATH_BYTES + 4);
    }
});

type Read = (Result<Vec<What>, NotUnderstood>, Traffic, Vec<Answered>);

fn read<'a>(
    framing: u8,
    request: impl IntoIterator<Item = &'a [u8]>,
    response: impl IntoIterator<Item = &'a [u8]>,
    stream: impl IntoIterator<Item = &'a [u8]>,
) -> Read {
    let is = |bit: u8| framing & (1 << bit) != 0;
    let mut known = Known::default();
    let session = [Signal { name: "mcp-session-id", value: "s".to_owned() }];
    let signals = if is(0) { &session[..] } else { &[] };
    let status = if is(1) { 202 } else { 200 };
    let events = Some("text/event-stream");
    let kind = if is(2) { events } else { Some("application/json") };

    let mut listening = observer("GET", "/sse", signals);
    listening.response_head(&head(200, events));
    let mut answered = Vec::new();
    let mut asking = observer("POST", "/messages?id=1", signals);
    for bytes in request {
        asking.request_body(bytes);
    }
    let asked = asking.request_end(&mut known);
    asking.response_head(&head(status, kind));
    for bytes in response {
        asking.response_body(bytes);
        answered.extend(asking.answered(&mut known));
    }
    let traffic = asking.traffic();
    answered.extend(asking.response_end(!is(3), &mut known));
    for bytes in stream {
        listening.response_body(bytes);
        answered.extend(listening.answered(&mut known));
    }
    answered.extend(listening.response_end(true, &mut known));
    let asked = asked.map(|asked| asked.into_iter().map(|asked| asked.what).collect());
    (asked, traffic, answered)
}

fn observer(method: &str, target: &str, signals: &[Signal]) -> Observer {
    let content_type = (method == "POST").then_some("application/json");
    let info = RequestInfo {
        method,
        target,
        host: None,
        content_type,
        content_encoding: None,
        content_length: None,
        client_retry: None,
        signals,
    };
    detect(&info).expect("it may be")
}

fn head(status: u16, content_type: Option<&str>) -> ResponseInfo<'_> {
    ResponseInfo { status, content_type, content_encoding: None, signals: &[] }
}
