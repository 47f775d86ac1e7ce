//! The response: chunks, of which a document is a single one. Text is hashed as it passes, not kept.

use serde::{Deserialize, de::IgnoredAny};

use super::super::{
    Answering, NotUnderstood, Progress, Reading,
    json::{Count, ErrorReport, Maybe, Text, UpTo, given},
};
use super::content::{Content, Piece, Turn};
use crate::{
    call::{self, Answer, Name, ToolCall},
    limits::{self, OBSERVED_RESPONSE_BYTES, TOOL_CALLS_PER_ANSWER},
};

/// What the chunks so far add up to.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Stream {
    said: Answering,
    id: Option<String>,
    model: Option<Name>,
    usage: Option<call::Usage>,
    service_tier: Option<Name>,
    candidates: Vec<Candidate>,
    /// Tool calls in all candidates.
    calls: usize,
    /// Bytes of their ids and names that are kept.
    kept: usize,
    /// Why the prompt was not answered.
    blocked: Option<Name>,
    error: Option<Name>,
    /// A chunk was one of this API's.
    known: bool,
    /// All that was to be said is said: of tokens that were counted, and embeddings.
    done: bool,
    not_understood: Option<NotUnderstood>,
}

/// One of the answers.
#[derive(Debug)]
struct Candidate {
    index: u64,
    turn: Turn,
    calls: Vec<ToolCall>,
    finish_reason: Option<Name>,
}

impl Stream {
    pub(in crate::dialect) fn event(&mut self, data: &[u8]) {
        if let Err(reason) = self.read(data) {
            self.lose(reason);
        }
    }

    pub(super) fn read(&mut self, data: &[u8]) -> Result<(), NotUnderstood> {
        let chunk: Chunk<'_> = serde_json::from_slice(data)?;
        self.chunk(chunk);
        Ok(())
    }

    fn chunk(&mut self, mut chunk: Chunk<'_>) {
        if let Some(wrapped) = chunk.response.take() {
            self.chunk(*wrapped);
        }
        self.known |= chunk.is_known();
        self.done |= chunk.says_all();
        let error = chunk.error.as_ref().map(ErrorReport::name);
        self.error = self.error.take().or(error);
        if self.id.is_none() {
            let id = given(chunk.id.as_ref()).or(given(chunk.trace_id.as_ref()));
            self.id = id.map(str::to_owned);
        }
        first(&mut self.model, chunk.model.as_ref());
        let feedback = chunk.prompt_feedback.and_then(Maybe::known);
        first(&mut self.blocked, feedback.and_then(|it| it.block_reason).as_ref());
        if let Some(usage) = chunk.usage.and_then(Maybe::known) {
            first(&mut self.service_tier, usage.tier());
            // Each chunk reports all that was used so far.
            self.usage = usage.normalised().or(self.usage);
        }
        for part in chunk.candidates.0 {
            self.candidate(&part);
        }
    }

    fn candidate(&mut self, part: &CandidatePart<'_>) {
        let index = part.index.unwrap_or(0);
        let at = match self.candidates.iter().position(|it| it.index == index) {
            Some(at) => at,
            None if self.candidates.len() == limits::CHOICES_PER_ANSWER => return,
            None => {
                self.candidates.push(Candidate::new(index));
                self.candidates.len() - 1
            }
        };
        first(&mut self.candidates[at].finish_reason, part.finish_reason.as_ref());
        for piece in part.content.iter().flat_map(Content::pieces) {
            match piece {
                Piece::Text(text) => self.said.push(text),
                Piece::Thought(text) => self.said.think(text),
                _ => {}
            }
            if let Piece::Call(call) = piece {
                let (id, name) = (given(call.id.as_ref()), given(call.name.as_ref()));
                self.said.push(name.unwrap_or_default());
                self.said.pass(call.size());
                self.kept += id.map_or(0, str::len) + name.map_or(0, str::len);
                self.calls += 1;
                if call.is_partial() {
                    self.lose(NotUnderstood::NotThisShape);
                    continue;
                }
                if self.calls > TOOL_CALLS_PER_ANSWER {
                    continue;
                }
                if self.kept > OBSERVED_RESPONSE_BYTES {
                    self.lose(NotUnderstood::TooLarge);
                    continue;
                }
                let made = call.arguments().of_call(id, name.unwrap_or_default());
                self.candidates[at].calls.push(made);
            }
            self.candidates[at].turn.add(piece);
        }
    }

    /// How far it has come.
    pub(in crate::dialect) fn progress(&self) -> Progress {
        let mut candidates = self.candidates.iter();
        let finished = candidates.len() > 0 && candidates.all(|it| it.finish_reason.is_some());
        Progress::new(&self.said, self.usage, self.done || finished)
    }

    pub(in crate::dialect) fn lose(&mut self, reason: NotUnderstood) {
        self.not_understood.get_or_insert(reason);
    }

    /// What it said so far, of which some is kept, and its size. To be called once.
    pub(in crate::dialect) fn said(&mut self) -> Answering {
        std::mem::take(&mut self.said)
    }

    pub(in crate::dialect) fn end(mut self, whole: bool) -> Reading {
        if whole && !self.known && self.error.is_none() {
            self.lose(NotUnderstood::NotThisShape);
        }
        let finished = !self.candidates.is_empty()
            && self.candidates.iter().all(|it| it.finish_reason.is_some());
        let complete = whole
            && (finished || self.blocked.is_some() || self.done)
            && self.error.is_none()
            && self.not_understood.is_none();
        let mut answer = Answer {
            model: self.model,
            response_id: self.id,
            usage: self.usage.map(|usage| call::Usage { estimated: !complete, ..usage }),
            service_tier: self.service_tier,
            error: self.error,
            complete,
            ..Answer::default()
        };
        self.candidates.sort_unstable_by_key(|candidate| candidate.index);
        for candidate in self.candidates {
            answer.choices.push(candidate.turn.finish());
            answer.tool_calls.extend(candidate.calls);
            answer.finish_reasons.extend(candidate.finish_reason);
        }
        answer.finish_reasons.extend(self.blocked);
        Reading { answer, not_understood: self.not_understood }
    }
}

impl Candidate {
    fn new(index: u64) -> Self {
        Self { index, turn: Turn::of("assistant"), calls: Vec::new(), finish_reason: None }
    }
}

fn first(kept: &mut Option<Name>, text: Option<&Text<'_>>) {
    if kept.is_none() {
        *kept = given(text).map(Name::shared);
    }
}

#[derive(Deserialize)]
struct Chunk<'a> {
    /// Code Assist's wrapper, which has a trace id beside it.
    #[serde(borrow)]
    response: Option<Box<Chunk<'a>>>,
    #[serde(borrow, rename = "traceId")]
    trace_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    candidates: UpTo<{ limits::CHOICES_PER_ANSWER }, CandidatePart<'a>>,
    #[serde(borrow, rename = "usageMetadata")]
    usage: Option<Maybe<Usage<'a>>>,
    #[serde(borrow, rename = "promptFeedback")]
    prompt_feedback: Option<Maybe<Feedback<'a>>>,
    #[serde(borrow, rename = "modelVersion")]
    model: Option<Text<'a>>,
    #[serde(borrow, rename = "responseId")]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    error: Option<ErrorReport<'a>>,
    /// Of `countTokens`.
    #[serde(rename = "totalTokens")]
    total_tokens: Option<IgnoredAny>,
    /// Of `embedContent` and `batchEmbedContents`.
    #[serde(alias = "embeddings")]
    embedding: Option<IgnoredAny>,
}

impl Chunk<'_> {
    /// Whether it is one of this API's.
    const fn is_known(&self) -> bool {
        self.says_all()
            || !self.candidates.0.is_empty()
            || self.usage.is_some()
            || self.prompt_feedback.is_some()
    }

    const fn says_all(&self) -> bool {
        self.total_tokens.is_some() || self.embedding.is_some()
    }
}

#[derive(Deserialize)]
struct CandidatePart<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow, rename = "finishReason")]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Feedback<'a> {
    #[serde(borrow, rename = "blockReason")]
    block_reason: Option<Text<'a>>,
}

/// `usageMetadata`: `promptTokenCount` counts cached tokens, `candidatesTokenCount` no thoughts, and
/// what tools brought back into the prompt is counted apart.
#[derive(Deserialize)]
struct Usage<'a> {
    #[serde(rename = "promptTokenCount")]
    prompt: Option<Count>,
    #[serde(rename = "candidatesTokenCount", alias = "responseTokenCount")]
    candidates: Option<Count>,
    #[serde(rename = "thoughtsTokenCount")]
    thoughts: Option<Count>,
    #[serde(rename = "toolUsePromptTokenCount")]
    tool_use: Option<Count>,
    #[serde(rename = "cachedContentTokenCount")]
    cached: Option<Count>,
    #[serde(rename = "totalTokenCount")]
    total: Option<Count>,
    #[serde(borrow, rename = "serviceTier")]
    service_tier: Option<Text<'a>>,
    /// What Vertex AI calls it.
    #[serde(borrow, rename = "trafficType")]
    traffic_type: Option<Text<'a>>,
}

impl<'a> Usage<'a> {
    fn tier(&self) -> Option<&Text<'a>> {
        self.service_tier.as_ref().or(self.traffic_type.as_ref())
    }

    /// In the gateway's terms, if it says anything.
    fn normalised(&self) -> Option<call::Usage> {
        let count = |count: Option<Count>| count.and_then(Count::get);
        let (prompt, candidates) = (count(self.prompt), count(self.candidates));
        let (thoughts, cached) = (count(self.thoughts), count(self.cached));
        if [prompt, candidates, thoughts].iter().all(Option::is_none) {
            return None;
        }
        let input = prompt.unwrap_or(0).saturating_add(count(self.tool_use).unwrap_or(0));
        let candidates = candidates.unwrap_or(0);
        // Some models count their thoughts among the candidates' tokens: the total tells.
        let included = count(self.total) == Some(input.saturating_add(candidates));
        let apart = if included { 0 } else { thoughts.unwrap_or(0) };
        Some(call::Usage {
            input,
            output: candidates.saturating_add(apart),
            cache_read: cached,
            reasoning: thoughts,
            ..call::Usage::default()
        })
    }
}
