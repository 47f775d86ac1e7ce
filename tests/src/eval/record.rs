//! What was on the wire, exchange by exchange, beside the truth of where each belongs: what the
//! generator makes, and what a recording of a real agent is. Kept as JSON Lines under zstd.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use turnpike::call::StepKind;

/// One exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number, unique in the corpus.
    pub exchange: u64,
    pub agent: String,
    /// What kind of program it is, for tables by that.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client: String,
    pub pid: u32,
    pub connection: u64,
    /// When its request was read, and when its end was noticed. By the gateway's clock, so an end may
    /// be noticed after what it brought about has begun.
    pub start_us: u64,
    pub end_us: u64,
    pub request: Request,
    /// Absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    #[serde(default)]
    pub ended: Ended,
    /// Whether whoever puts workflows together is not shown it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lost: bool,
    /// Absent if nobody knows it, or the exchange is no step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth: Option<Truth>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// Those that matter.
    pub headers: Headers,
    pub body: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    pub status: u16,
    pub headers: Headers,
    pub body: Bytes,
}

/// Names and values, in order.
pub type Headers = Vec<(String, String)>;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    #[default]
    Whole,
    /// The server's connection broke: before a response, or in it.
    Cut,
    ClientGone,
}

/// Where an exchange belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// Unique in the corpus.
    pub session: u64,
    pub workflow: u64,
    /// What kind of thing happens in its workflow.
    pub case: String,
    /// As a trace's `parent_step_ids` are defined.
    pub parents: Vec<StepRef>,
    /// Absent where the vocabulary leaves it open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<StepKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// A step, by what made it known: an exchange, or a tool call in the answer of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepRef {
    pub exchange: u64,
    /// The call's place among those of the answer, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The first try.
    pub of: u64,
    /// As traces name it. More reasons may be true than the engine has names for.
    pub reason: String,
}

impl StepRef {
    #[must_use]
    pub const fn exchange(exchange: u64) -> Self {
        Self { exchange, call: None }
    }

    #[must_use]
    pub const fn call(exchange: u64, call: usize) -> Self {
        Self { exchange, call: Some(call) }
    }
}

/// A body. Written as text where it is some, else in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written<'a> {
    Text(std::borrow::Cow<'a, str>),
    Base64 { base64: String },
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match str::from_utf8(&self.0) {
            Ok(text) => Written::Text(text.into()),
            Err(_) => Written::Base64 { base64: STANDARD.encode(&self.0) },
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Text(text) => Ok(Self(text.into_owned().into_bytes())),
            Written::Base64 { base64 } => {
                STANDARD.decode(base64).map(Self).map_err(serde::de::Error::custom)
            }
        }
    }
}

/// Writes the records to a file.
pub fn write(path: &Path, records: &[Record]) -> Result<()> {
    fs::write(path, pack(records)?).with_context(|| format!("writing {}", path.display()))
}

/// Reads what [`write`] wrote.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let packed = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    unpack(&packed).with_context(|| format!("{} is no corpus", path.display()))
}

fn pack(records: &[Record]) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for record in records {
        serde_json::to_writer(&mut lines, record)?;
        lines.push(b'\n');
    }
    let mut packed = vec![0; zstd_safe::compress_bound(lines.len())];
    let length = zstd_safe::compress(&mut *packed, &lines, LEVEL).map_err(failed)?;
    packed.truncate(length);
    Ok(packed)
}

fn unpack(packed: &[u8]) -> Result<Vec<Record>> {
    let size = zstd_safe::get_frame_content_size(packed).ok().flatten();
    let size = usize::try_from(size.context("its size is not told")?)?;
    ensure!(size <= MOST_BYTES, "it holds more than {MOST_BYTES} bytes");
    let mut lines = vec![0; size];
    let length = zstd_safe::decompress(&mut *lines, packed).map_err(failed)?;
    lines.truncate(length);
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let read =
        |(at, line)| serde_json::from_slice(line).with_context(|| format!("line {}", at + 1));
    lines.enumerate().map(read).collect()
}

fn failed(code: usize) -> anyhow::Error {
    anyhow::anyhow!(zstd_safe::get_error_name(code))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

const LEVEL: i32 = 10;
/// Far more than any corpus here.
const MOST_BYTES: usize = 4 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_as_they_were_written() {
        let request = Request {
            method: "POST".to_owned(),
            target: "/v1/chat/completions".to_owned(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes(b"{}".to_vec()),
        };
        let response = Response { status: 200, headers: vec![], body: Bytes(vec![0xff, 0]) };
        let truth = Truth {
            session: 1,
            workflow: 2,
            case: "tools".to_owned(),
            parents: vec![StepRef::call(1, 0)],
            kind: Some(StepKind::Final),
            retry: Some(Retry { of: 1, reason: "timeout".to_owned() }),
        };
        let whole = Record {
            exchange: 7,
            agent: "a".to_owned(),
            client: "sdk".to_owned(),
            pid: 1,
            connection: 2,
            start_us: 3,
            end_us: 4,
            request,
            response: Some(response),
            ended: Ended::Cut,
            lost: true,
            truth: Some(truth),
        };
        let bare = Record { response: None, truth: None, lost: false, ..whole.clone() };
        let records = [whole, bare];
        assert_eq!(unpack(&pack(&records).expect("packed")).expect("unpacked"), records);
        assert!(unpack(b"no zstd").is_err());
    }
}
