//! HTTP/1 as others read it: one parser with the leniencies that servers and clients in use have,
//! or had, each for itself.

/// How one implementation reads what the standard does not allow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leniency {
    pub(crate) name: &'static str,
    pub(crate) lines: Lines,
    pub(crate) fold: Fold,
    pub(crate) space_before_colon: Space,
    pub(crate) length: Length,
    pub(crate) number: Number,
    pub(crate) coding: Coding,
    pub(crate) both: Both,
    /// Which of several hosts counts.
    pub(crate) host: Host,
    /// `_` in a name is `-`.
    pub(crate) underscore: bool,
    /// A field that the Connection names is taken out first.
    pub(crate) connection_strips: bool,
    /// Chunked is read in HTTP/1.0 too.
    pub(crate) chunked_in_1_0: bool,
    pub(crate) chunk_end: ChunkEnd,
    /// A quoted string in a chunk's extension goes on to its closing quote.
    pub(crate) quotes: bool,
    /// A message that can have no content has what it announces.
    pub(crate) forbidden_content: bool,
    /// The request of an upgrade or a CONNECT is the last of HTTP.
    pub(crate) switches: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Lines {
    CrLf,
    Lf,
    CrOrLf,
}
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fold {
    Reject,
    Join,
    Skip,
}
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Space {
    Reject,
    Strip,
    OtherField,
}
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Length {
    Reject,
    First,
    Last,
}
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Strict,
    /// As `strtol`: space and sign before it, and anything behind it.
    Prefix,
    /// As `strtol` with base 0.
    Based,
    /// In 32 bits.
    Wrapping,
}
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Coding {
    Strict,
    Contains,
    LastOfList,
    /// The last field alone counts.
    LastField,
    Ignored,
}
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Both {
    Reject,
    CodingWins,
    LengthWins,
}
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Host {
    Reject,
    First,
    Last,
    /// Whatever an absolute target says.
    FieldOnly,
}
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ChunkEnd {
    Strict,
    /// Two bytes, whatever they are.
    TwoBytes,
    /// Everything up to a line's end.
    ToLineEnd,
}

const STRICT: Leniency = Leniency {
    name: "strict",
    lines: Lines::CrLf,
    fold: Fold::Reject,
    space_before_colon: Space::Reject,
    length: Length::Reject,
    number: Number::Strict,
    coding: Coding::Strict,
    both: Both::Reject,
    host: Host::Reject,
    underscore: false,
    connection_strips: false,
    chunked_in_1_0: true,
    chunk_end: ChunkEnd::Strict,
    quotes: false,
    forbidden_content: false,
    switches: false,
};

/// Accepts what it can, in the most common ways.
const LAX: Leniency = Leniency {
    name: "lax",
    lines: Lines::Lf,
    fold: Fold::Join,
    space_before_colon: Space::Strip,
    length: Length::First,
    number: Number::Prefix,
    coding: Coding::Contains,
    both: Both::CodingWins,
    host: Host::First,
    ..STRICT
};

/// Every behaviour that is played.
pub(crate) const ALL: [Leniency; 22] = [
    STRICT,
    LAX,
    Leniency { name: "LF ends lines", lines: Lines::Lf, ..STRICT },
    Leniency { name: "CR ends lines", lines: Lines::CrOrLf, ..LAX },
    Leniency { name: "last length", length: Length::Last, ..LAX },
    Leniency { name: "first length", length: Length::First, ..STRICT },
    Leniency { name: "coding wins", both: Both::CodingWins, ..STRICT },
    Leniency { name: "length wins", both: Both::LengthWins, ..LAX },
    Leniency { name: "no coding", coding: Coding::Ignored, both: Both::LengthWins, ..LAX },
    Leniency { name: "last coding", coding: Coding::LastOfList, ..LAX },
    Leniency { name: "last coding field", coding: Coding::LastField, ..LAX },
    Leniency { name: "fold skipped", fold: Fold::Skip, ..LAX },
    Leniency { name: "space in name", space_before_colon: Space::OtherField, ..LAX },
    Leniency { name: "any base", number: Number::Based, ..LAX },
    Leniency { name: "32 bits", number: Number::Wrapping, ..LAX },
    Leniency { name: "last host", host: Host::Last, ..LAX },
    Leniency { name: "host field", host: Host::FieldOnly, ..LAX },
    Leniency { name: "underscores", underscore: true, ..LAX },
    Leniency { name: "hop by hop", connection_strips: true, ..LAX },
    Leniency { name: "two bytes after chunks", chunk_end: ChunkEnd::TwoBytes, ..LAX },
    Leniency { name: "line after chunks", chunk_end: ChunkEnd::ToLineEnd, quotes: true, ..LAX },
    Leniency {
        name: "old",
        chunked_in_1_0: false,
        forbidden_content: true,
        switches: true,
        lines: Lines::CrOrLf,
        ..LAX
    },
];

/// A whole message, as one implementation read it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Read {
    /// The target, or the status.
    pub(crate) what: String,
    pub(crate) host: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// What a response's reader knows of the request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Asked {
    Request,
    Get,
    Head,
    Connect,
}

#[derive(Debug)]
enum Body {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// The whole messages at the beginning of the bytes. `None` in place of what is refused or
/// incomplete.
pub(crate) fn read(bytes: &[u8], by: &Leniency, asked: &[Asked]) -> Vec<Read> {
    let (mut input, mut messages) = (bytes, Vec::new());
    let mut asked = asked.iter().copied();
    let mut current = asked.next();
    while let Some(kind) = current
        && !input.is_empty()
    {
        let Some((read, last, interim)) = message(&mut input, by, kind) else { break };
        messages.push(read);
        if last {
            break;
        }
        if !interim {
            current = if kind == Asked::Request { current } else { asked.next() };
        }
    }
    messages
}

/// One message, whether it is the last of HTTP, and whether another answers the same request.
fn message(input: &mut &[u8], by: &Leniency, asked: Asked) -> Option<(Read, bool, bool)> {
    let mut first = line(input, by)?;
    while first.is_empty() && asked == Asked::Request {
        first = line(input, by)?;
    }
    let first = String::from_utf8_lossy(&first).into_owned();
    let mut words = first.split_ascii_whitespace();
    let (a, b) = (words.next()?.to_owned(), words.next()?.to_owned());
    let fields = fields(input, by)?;
    let value = |name: &str| -> Vec<&String> {
        fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value).collect()
    };
    let is_request = asked == Asked::Request;
    let version = if is_request { words.next()?.to_owned() } else { a.clone() };
    let framing = framing(&value, by, &version)?;
    let status: u16 = if is_request { 0 } else { b.parse().ok()? };
    let interim = (100..200).contains(&status) && status != 101;
    let connected = asked == Asked::Connect && (200..300).contains(&status);
    let forbidden = interim || matches!(status, 101 | 204) || connected || a == "CONNECT";
    let has_none = (forbidden && !by.forbidden_content) || status == 304 || asked == Asked::Head;
    let framing = match framing {
        _ if has_none => Body::None,
        Body::None if !is_request && !forbidden => Body::UntilClose,
        framing => framing,
    };
    let body = body(input, by, &framing)?;
    let upgrades = a == "CONNECT" || !value("upgrade").is_empty();
    let last = (is_request && upgrades && by.switches) || status == 101 || connected;
    let host = if is_request { host(&value("host"), &b, &a, by)? } else { None };
    Some((Read { what: b, host, body }, last, interim))
}

/// A line without its end.
fn line(input: &mut &[u8], by: &Leniency) -> Option<Vec<u8>> {
    let is_end = |byte: &u8| match by.lines {
        Lines::CrLf | Lines::Lf => *byte == b'\n',
        Lines::CrOrLf => matches!(byte, b'\r' | b'\n'),
    };
    let end = input.iter().position(is_end)?;
    let (line, rest) = input.split_at(end);
    let crlf = by.lines == Lines::CrOrLf && rest.starts_with(b"\r\n");
    *input = &rest[if crlf { 2 } else { 1 }..];
    match (by.lines, line.strip_suffix(b"\r")) {
        (Lines::CrLf, None) => None,
        (_, stripped) => {
            let line = stripped.unwrap_or(line);
            let bare = by.lines == Lines::CrLf && line.contains(&b'\r');
            (!bare).then(|| line.to_vec())
        }
    }
}

fn fields(input: &mut &[u8], by: &Leniency) -> Option<Vec<(String, String)>> {
    let mut fields: Vec<(String, String)> = Vec::new();
    loop {
        let line = line(input, by)?;
        if line.is_empty() {
            break;
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.starts_with([' ', '\t']) {
            match (by.fold, fields.last_mut()) {
                (Fold::Join, Some((_, value))) => {
                    value.push(' ');
                    value.push_str(line.trim());
                }
                (Fold::Skip, _) => {}
                _ => return None,
            }
            continue;
        }
        let (name, value) = line.split_once(':')?;
        let spaced = name.ends_with([' ', '\t']);
        let name = match by.space_before_colon {
            Space::Reject if spaced => return None,
            Space::Strip => name.trim_end(),
            _ => name,
        };
        let name = name.to_ascii_lowercase();
        let name = if by.underscore { name.replace('_', "-") } else { name };
        fields.push((name, value.trim_matches([' ', '\t', '\u{b}', '\u{c}', '\0']).to_owned()));
    }
    if by.connection_strips {
        let named = fields.iter().filter(|(name, _)| name == "connection");
        let named: Vec<String> = named
            .flat_map(|(_, value)| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
            .collect();
        fields.retain(|(name, _)| !named.contains(name));
    }
    Some(fields)
}

fn framing<'a>(
    value: &impl Fn(&str) -> Vec<&'a String>,
    by: &Leniency,
    version: &str,
) -> Option<Body> {
    let codings = value("transfer-encoding");
    let lengths = value("content-length");
    let lower: Vec<String> = codings.iter().map(|coding| coding.to_ascii_lowercase()).collect();
    let chunked = match (by.coding, lower.last()) {
        (Coding::Ignored, _) | (_, None) => false,
        (Coding::Strict, Some(_)) if lower == ["chunked"] => true,
        (Coding::Strict, Some(_)) => return None,
        (Coding::Contains, Some(_)) => lower.iter().any(|coding| coding.contains("chunked")),
        (Coding::LastField, Some(last)) => last == "chunked",
        (Coding::LastOfList, Some(_)) => {
            lower.join(",").rsplit(',').next().is_some_and(|last| last.trim() == "chunked")
        }
    };
    // Whoever knows no coding refuses what has nothing else.
    if by.coding == Coding::Ignored && lengths.is_empty() && !codings.is_empty() {
        return None;
    }
    let chunked = chunked && (version != "HTTP/1.0" || by.chunked_in_1_0);
    let length = match (by.length, lengths.len()) {
        (_, 0) => None,
        (Length::Reject, 2..) => return None,
        (Length::Last, _) => Some(number(lengths.last()?, 10, by.number)?),
        _ => Some(number(lengths.first()?, 10, by.number)?),
    };
    Some(match (chunked, length, by.both) {
        (true, Some(_), Both::Reject) => return None,
        (true, None, _) | (true, _, Both::CodingWins) => Body::Chunked,
        (_, Some(length), _) => Body::Length(length),
        (false, None, _) => Body::None,
    })
}

fn number(text: &str, base: u32, how: Number) -> Option<u64> {
    if how == Number::Strict {
        let all = !text.is_empty() && text.chars().all(|digit| digit.is_digit(base));
        return u64::from_str_radix(text, base).ok().filter(|_| all);
    }
    let text = text.trim_start().trim_start_matches('+');
    let (text, base) = match (how, text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Number::Based, Some(hex), _) => (hex, 16),
        (Number::Based, None, Some(octal)) if base == 10 && !octal.is_empty() => (octal, 8),
        _ => (text, base),
    };
    let digits = text.chars().map_while(|digit| digit.to_digit(base));
    let value = digits
        .fold(0_u64, |value, digit| value.wrapping_mul(base.into()).wrapping_add(digit.into()));
    Some(if how == Number::Wrapping { value & 0xffff_ffff } else { value })
}

fn body(input: &mut &[u8], by: &Leniency, framing: &Body) -> Option<Vec<u8>> {
    match framing {
        Body::None => Some(Vec::new()),
        Body::Length(length) => take(input, *length),
        Body::UntilClose => Some(std::mem::take(input).to_vec()),
        Body::Chunked => {
            let mut body = Vec::new();
            loop {
                let size = chunk_line(input, by)?;
                let size = size.split([';', ' ', '\t']).next()?.to_owned();
                let size = match by.number {
                    Number::Strict => number(&size, 16, by.number)?,
                    how => number(&size, 16, how)?,
                };
                if size == 0 {
                    fields(input, by)?;
                    return Some(body);
                }
                body.extend(take(input, size)?);
                match by.chunk_end {
                    ChunkEnd::Strict => line(input, by).filter(Vec::is_empty).map(drop)?,
                    ChunkEnd::TwoBytes => take(input, 2).map(drop)?,
                    ChunkEnd::ToLineEnd => line(input, by).map(drop)?,
                }
            }
        }
    }
}

fn chunk_line(input: &mut &[u8], by: &Leniency) -> Option<String> {
    let mut whole = line(input, by)?;
    while by.quotes && whole.iter().filter(|&&byte| byte == b'"').count() % 2 == 1 {
        whole.push(b'\n');
        whole.extend(line(input, by)?);
    }
    Some(String::from_utf8_lossy(&whole).into_owned())
}

fn take(input: &mut &[u8], count: u64) -> Option<Vec<u8>> {
    let (taken, rest) = input.split_at_checked(usize::try_from(count).ok()?)?;
    *input = rest;
    Some(taken.to_vec())
}

fn host(fields: &[&String], target: &str, method: &str, by: &Leniency) -> Option<Option<String>> {
    let named = target.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    let named = named.map(|named| named.rsplit('@').next().unwrap_or(named));
    let named = named.or((method == "CONNECT").then_some(target));
    let field = match by.host {
        Host::Reject if fields.len() > 1 => return None,
        Host::Last => fields.last(),
        _ => fields.first(),
    };
    let field = field.map(|host| host.to_ascii_lowercase());
    Some(match by.host {
        Host::FieldOnly => field,
        _ => named.map(str::to_ascii_lowercase).or(field),
    })
}
