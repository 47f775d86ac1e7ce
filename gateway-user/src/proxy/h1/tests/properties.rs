//! Legal messages in odd forms are read alike however they are cut; other bytes do no harm.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;

/// The bytes of one side and what is to be seen in them.
#[derive(Clone, Debug, Default)]
struct Script {
    bytes: Vec<u8>,
    summary: Vec<String>,
}

/// A body as it is sent.
#[derive(Clone, Debug)]
struct Message {
    fields: String,
    wire: Vec<u8>,
    framing: Framing,
    body: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Exchange {
    request: Script,
    awaited: Awaited,
    response: Script,
}

fn pick(items: &'static [&'static str]) -> impl Strategy<Value = &'static str> + Clone {
    select(items)
}

fn space() -> impl Strategy<Value = &'static str> {
    pick(&["", " ", "\t", " \t "])
}

fn other_fields() -> impl Strategy<Value = String> {
    let field = (
        pick(&["X-Odd", "x!#$%&'*+-.^_`|~9", "Content-Length-X", "COOKIE", "Te"]),
        space(),
        pick(&["", "a", "a: b; c=\"d, e\"", "caf\u{e9}", "chunked", "5, 5"]),
        space(),
    );
    vec(field, 0..4).prop_map(|fields| {
        let line = |(name, before, value, after)| format!("{name}:{before}{value}{after}\r\n");
        fields.into_iter().map(line).collect()
    })
}

fn chunked(body: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let extension = pick(&["", ";a", " ; a=b", ";a=\"b;c\";d", "\t;", ";caf\u{e9}"]);
    let chunk = (1_usize..40, extension.clone(), 0_usize..3, any::<bool>());
    (vec(chunk, 1..8), extension, other_fields()).prop_map(move |(forms, last, trailers)| {
        let mut wire = Vec::new();
        let mut rest = &body[..];
        for (size, extension, zeros, upper) in forms.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (data, after) = rest.split_at(size.min(rest.len()));
            let hex = format!("{:x}", data.len());
            let hex = if upper { hex.to_uppercase() } else { hex };
            wire.extend_from_slice(format!("{}{hex}{extension}\r\n", "0".repeat(zeros)).as_bytes());
            wire.extend_from_slice(data);
            wire.extend_from_slice(b"\r\n");
            rest = after;
        }
        wire.extend_from_slice(format!("0{last}\r\n{trailers}\r\n").as_bytes());
        wire
    })
}

fn message() -> impl Strategy<Value = Message> {
    let none = Just(Message {
        fields: String::new(),
        wire: Vec::new(),
        framing: Framing::None,
        body: Vec::new(),
    });
    let name = pick(&["Content-Length", "content-length", "cOnTeNt-LeNgTh"]);
    let length =
        (vec(any::<u8>(), 0..200), name, space()).prop_map(|(body, name, space)| Message {
            fields: format!("{name}:{space}{}{space}\r\n", body.len()),
            wire: body.clone(),
            framing: Framing::Length(body.len() as u64),
            body,
        });
    let name = pick(&["Transfer-Encoding", "transfer-encoding", "TRANSFER-ENCODING"]);
    let coding = pick(&["chunked", "Chunked", "CHUNKED"]);
    let chunked = vec(any::<u8>(), 0..200)
        .prop_flat_map(|body| (Just(body.clone()), chunked(body)))
        .prop_flat_map(move |body| (Just(body), name.clone(), space(), coding.clone()))
        .prop_map(|((body, wire), name, space, coding)| Message {
            fields: format!("{name}:{space}{coding}{space}\r\n"),
            wire,
            framing: Framing::Chunked,
            body,
        });
    prop_oneof![none, length, chunked]
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let request = (
        0..=limits::EMPTY_LINES,
        pick(&["GET", "HEAD", "POST", "M-SEARCH"]),
        pick(&["/", "*", "/a?b=c#d", "http://a/b", "/caf\u{e9}"]),
        other_fields(),
        message(),
    );
    let response = (
        vec(select(&[100_u16, 102, 103][..]), 0..3),
        select(&[200_u16, 304, 404, 999][..]),
        pick(&["", " ", " OK", " caf\u{e9}\t!"]),
        other_fields(),
        message(),
    );
    (request, response).prop_map(|(request, response)| {
        let (empty_lines, method, target, others, message) = request;
        let method = Method::from(method);
        let request = request_script(empty_lines, &method, target, &others, &message);
        let (interim, status, reason, others, message) = response;
        let bodiless = method == Method::Head || status == 304;
        let response = response_script(&interim, status, reason, &others, &message, bodiless);
        Exchange { request, awaited: Awaited::new(&method, false), response }
    })
}

fn request_script(
    empty_lines: usize,
    method: &Method,
    target: &str,
    others: &str,
    message: &Message,
) -> Script {
    let mut script = Script::default();
    let empty = "\r\n".repeat(empty_lines);
    let head =
        format!("{empty}{} {target} HTTP/1.1\r\n{others}{}\r\n", method.as_str(), message.fields);
    script.bytes.extend_from_slice(head.as_bytes());
    script.bytes.extend_from_slice(&message.wire);
    script.summary.push(format!("{} {target} {:?}", method.as_str(), message.framing));
    script.end(&message.body);
    script
}

fn response_script(
    interim: &[u16],
    status: u16,
    reason: &str,
    others: &str,
    message: &Message,
    bodiless: bool,
) -> Script {
    let mut script = Script::default();
    for status in interim {
        let head = format!("HTTP/1.1 {status} wait\r\n{others}\r\n");
        script.bytes.extend_from_slice(head.as_bytes());
        script.summary.push(format!("interim {status}"));
    }
    // Without fields that delimit it, a body would go on until the close.
    let fields = match message.framing {
        Framing::None if !bodiless => "Content-Length: 0\r\n",
        _ => &message.fields,
    };
    let head = format!("HTTP/1.1 {status}{reason}\r\n{fields}{others}\r\n");
    script.bytes.extend_from_slice(head.as_bytes());
    script.summary.push(format!("{status} {}", !bodiless));
    if bodiless {
        script.end(&[]);
    } else {
        script.bytes.extend_from_slice(&message.wire);
        script.end(&message.body);
    }
    script
}

impl Script {
    fn end(&mut self, body: &[u8]) {
        if !body.is_empty() {
            self.summary.push(format!("{body:?}"));
        }
        self.summary.push("end".to_owned());
    }

    fn join(parts: impl Iterator<Item = Self>) -> Self {
        parts.fold(Self::default(), |mut all, part| {
            all.bytes.extend(part.bytes);
            all.summary.extend(part.summary);
            all
        })
    }
}

fn summary(seen: &[Seen]) -> Vec<String> {
    let line = |seen: &Seen| match seen {
        Seen::Request(head) => {
            format!("{} {} {:?}", head.method.as_str(), head.target, head.framing)
        }
        Seen::Interim(status) => format!("interim {status}"),
        Seen::Response(head) => format!("{} {}", head.status, head.framing != Framing::None),
        Seen::Body(body) => format!("{body:?}"),
        Seen::End => "end".to_owned(),
        Seen::Tunnel => "tunnel".to_owned(),
    };
    seen.iter().map(line).collect()
}

/// The bytes in slices that end at the cuts, in whatever order these are.
fn slices<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let starts = std::iter::once(0).chain(ends.clone());
    starts.zip(ends).map(|(start, end)| &bytes[start..end]).collect()
}

/// What a connection may end in, after its exchanges.
fn tail() -> impl Strategy<Value = (Option<Awaited>, &'static str, &'static [&'static str], Eof)> {
    let switch = "HTTP/1.1 101 \r\n\r\n\nraw\0";
    let established = "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n\nraw\0";
    prop_oneof![
        Just((None, "", &[][..], Eof::Clean)),
        Just((Some(get()), "HTTP/1.1 200 \r\n\r\n", &["200 true"][..], Eof::Complete)),
        Just((
            Some(get()),
            "HTTP/1.0 200 \r\n\r\nraw",
            &["200 true", "[114, 97, 119]"][..],
            Eof::Complete
        )),
        Just((
            Some(Awaited::new(&Method::Get, true)),
            switch,
            &["101 false", "tunnel"][..],
            Eof::Clean
        )),
        Just((
            Some(Awaited::new(&Method::Connect, false)),
            established,
            &["200 false", "tunnel"][..],
            Eof::Clean
        )),
    ]
}

proptest! {
    #[test]
    fn legal_requests_are_read_alike_however_they_are_cut(
        exchanges in vec(exchange(), 1..5),
        cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let script = Script::join(exchanges.into_iter().map(|exchange| exchange.request));
        let whole = requests([&script.bytes[..]]);
        prop_assert_eq!(whole.1, Ok(Eof::Clean));
        prop_assert_eq!(summary(&whole.0), script.summary);
        prop_assert_eq!(&requests(slices(&script.bytes, &cuts)), &whole);
        prop_assert_eq!(&requests(script.bytes.chunks(1)), &whole);
    }

    #[test]
    fn legal_responses_are_read_alike_however_they_are_cut(
        exchanges in vec(exchange(), 1..5),
        (last, bytes, seen, eof) in tail(),
        cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let awaited: Vec<Awaited> =
            exchanges.iter().map(|exchange| exchange.awaited).chain(last).collect();
        let mut script = Script::join(exchanges.into_iter().map(|exchange| exchange.response));
        script.bytes.extend_from_slice(bytes.as_bytes());
        script.summary.extend(seen.iter().map(ToString::to_string));
        let whole = responses(&awaited, [&script.bytes[..]]);
        prop_assert_eq!(whole.1, Ok(eof));
        prop_assert_eq!(summary(&whole.0), script.summary);
        prop_assert_eq!(&responses(&awaited, slices(&script.bytes, &cuts)), &whole);
        prop_assert_eq!(&responses(&awaited, script.bytes.chunks(1)), &whole);
    }

    #[test]
    fn any_bytes_are_read_alike_however_they_are_cut_and_without_panic(
        start in option::of(pick(&[
            "GET / HTTP/1.1\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ])),
        noise in vec(prop_oneof![any::<u8>(), select(&b"\r\n\r\n:; \t05aX"[..])], 0..200),
        cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = [start.unwrap_or_default().as_bytes(), &noise].concat();
        let whole = requests([&bytes[..]]);
        prop_assert_eq!(&requests(slices(&bytes, &cuts)), &whole);
        prop_assert_eq!(&requests(bytes.chunks(1)), &whole);
        let awaited = [get(), Awaited::new(&Method::Connect, true)];
        let whole = responses(&awaited, [&bytes[..]]);
        prop_assert_eq!(&responses(&awaited, slices(&bytes, &cuts)), &whole);
        prop_assert_eq!(&responses(&awaited, bytes.chunks(1)), &whole);
    }
}
