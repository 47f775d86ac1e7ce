//! A call's place in its workflow and what became of it, as `turnpike trace --json` shows it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{
    Cancel, ConnectionId, Dialect, Digest, Micros, Name, NanoUsd, Operation, SideEffects, StepId,
    Timestamp, Unmetered, Usage, WorkflowId,
};

/// One step. A field that does not apply is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub step_id: StepId,
    /// What the step directly follows from: for a tool step the model call that emitted it; for a
    /// model call whose history ends in tool results those tool steps; for any other model call
    /// the call before it in its history. A retry has the parents of its first try.
    pub parent_step_ids: Vec<StepId>,
    pub confidence: Confidence,
    pub kind: StepKind,
    pub call: CallKind,
    pub agent: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_model: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_model: Option<Name>,
    /// The provider's own id of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
    /// Of the request body as the client sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_sha256: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<Tool>,
    /// The `Host` that the client named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_dst: Option<SocketAddr>,
    /// The address that upstream saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_local: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<ConnectionId>,
    /// The client's HTTP/2 stream that carried it; absent in HTTP/1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<u32>,
    /// The number of the exchange on its connection, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange_seq: Option<u64>,
    pub started_at: Timestamp,
    /// From the first byte of the request to the first byte of the answer's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<Micros>,
    /// Absent while the step runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<Micros>,
    /// The HTTP status; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finish_reasons: Vec<Name>,
    /// What the server calls the error that it answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Parts of the prompt that are no text (images, files, sound), which an estimate does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncounted_parts: Option<u64>,
    /// What it cost, by the usage above; absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<NanoUsd>,
    /// Whether nobody knows what the model's tokens cost.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unpriced: bool,
    /// Why it can't be told what the call costs, if it can't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmetered: Option<Unmetered>,
    /// Whether the call has ended and its usage is final.
    pub settled: bool,
    pub evidence: Vec<Evidence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What rules said of it, if they did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<Ruling>,
    /// How it was ended, if that was before its answer was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Box<Cancel>>,
    /// Tokens of output that came from upstream and did not go on, since the answer was cut. At least
    /// so many: what upstream generates after that is not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld_tokens: Option<u64>,
    /// What was said of it before more was known, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrections: Vec<Corrected>,
}

impl Step {
    /// One that begins, of which nothing else is known, and about which there is no doubt.
    #[must_use]
    pub fn new(
        step_id: StepId,
        (kind, call): (StepKind, CallKind),
        agent: Name,
        started_at: Timestamp,
    ) -> Self {
        Self {
            step_id,
            parent_step_ids: Vec::new(),
            confidence: Confidence::CERTAIN,
            kind,
            call,
            agent,
            started_at,
            finish_reasons: Vec::new(),
            unpriced: false,
            settled: false,
            evidence: Vec::new(),
            policy: Vec::new(),
            corrections: Vec::new(),
            dialect: None,
            operation: None,
            request_model: None,
            response_model: None,
            response_id: None,
            request_sha256: None,
            tool: None,
            host: None,
            original_dst: None,
            upstream_local: None,
            pid: None,
            connection_id: None,
            stream_id: None,
            exchange_seq: None,
            ttft_ms: None,
            duration_ms: None,
            status: None,
            error: None,
            usage: None,
            uncounted_parts: None,
            usd: None,
            unmetered: None,
            retry: None,
            cancel: None,
            withheld_tokens: None,
        }
    }
}

/// What a rule says of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// The budget's name, or the rule's.
    pub rule: Name,
    pub decision: Decision,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It was refused.
    Deny,
    /// It would have been, if that were enforced.
    WouldDeny,
    /// It may answer less than it asked for.
    Clamp,
    /// Its answer was ended where it came to more than was held for it.
    Cut,
    /// It would have been, if that were enforced.
    WouldCut,
}

impl Ruling {
    /// That what it may spend could not be written down.
    pub const STATE: &str = "state";
    /// That somebody killed it, or what it is a part of.
    pub const KILL: &str = "kill";
    /// What decides on calls that are made again.
    pub const ON_RETRY: &str = "on_retry";

    #[must_use]
    pub const fn new(rule: Name, decision: Decision) -> Self {
        Self { rule, decision }
    }
}

/// That something else was said of a step before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Corrected {
    pub at: Timestamp,
    pub was: Was,
}

/// What was said of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Was {
    Kind(StepKind),
    ParentStepIds(Vec<StepId>),
    WorkflowId(WorkflowId),
}

/// What a step's end adds to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    pub step_id: StepId,
    pub kind: StepKind,
    pub response_model: Option<Name>,
    pub response_id: Option<String>,
    pub finish_reasons: Vec<Name>,
    pub error: Option<Name>,
    /// Absent: it is still being estimated, and told later.
    pub spent: Option<Spent>,
    pub status: Option<u16>,
    pub ttft_ms: Option<Micros>,
    pub duration_ms: Option<Micros>,
    pub cancel: Option<Box<Cancel>>,
    /// Absent: its answer was as long as it might be, or nobody measured it.
    pub too_long: Option<TooLong>,
}

/// That an answer came to more than was held for its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLong {
    pub ruling: Ruling,
    /// [`Step::withheld_tokens`].
    pub withheld_tokens: Option<u64>,
}

/// What a call spent; nothing, if it was refused or costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub usage: Option<Usage>,
    /// [`Step::uncounted_parts`].
    pub uncounted_parts: Option<u64>,
    pub usd: Option<NanoUsd>,
    pub unpriced: bool,
}

impl Settlement {
    /// Brings the step into its final form.
    pub fn settle(self, step: &mut Step) {
        step.kind = self.kind;
        step.response_model = self.response_model;
        step.response_id = self.response_id;
        step.finish_reasons = self.finish_reasons;
        step.error = self.error;
        step.status = self.status;
        step.ttft_ms = self.ttft_ms;
        step.duration_ms = self.duration_ms;
        step.cancel = self.cancel;
        if let Some(TooLong { ruling, withheld_tokens }) = self.too_long {
            step.policy.push(ruling);
            step.withheld_tokens = withheld_tokens;
        }
        if let Some(spent) = self.spent {
            spent.settle(step);
        }
    }
}

impl Spent {
    /// Says so of the step, which is final then.
    pub const fn settle(self, step: &mut Step) {
        step.usage = self.usage;
        step.uncounted_parts = self.uncounted_parts;
        step.usd = self.usd;
        step.unpriced = self.unpriced;
        step.settled = true;
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What part a step plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A model call that decides what to do next: its answer calls tools, or is not known yet.
    Planner,
    /// A model call in a chain that another step started.
    Worker,
    /// A tool call.
    Tool,
    /// A model call whose text answers the wish.
    Final,
    /// Titles, summaries, classifiers.
    Utility,
}

/// What a call is made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    Model,
    Tool,
    Other,
}

/// How sure a placement is, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Confidence(f32);

impl Confidence {
    /// There is no doubt.
    pub const CERTAIN: Self = Self(1.0);

    /// A confidence from 0 to 1; what lies outside is brought to the nearer end, and what is not a
    /// number to 0.
    #[must_use]
    pub const fn new(value: f32) -> Self {
        if value >= 0.0 { Self(value.min(1.0)) } else { Self(0.0) }
    }

    /// From 0 to 1.
    #[must_use]
    pub const fn get(self) -> f32 {
        self.0
    }

    /// Whether it is surer than of one of two that could as well be meant.
    #[must_use]
    pub const fn is_likely(self) -> bool {
        self.0 > 0.5
    }
}

/// Why a step was placed where it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    pub kind: EvidenceKind,
    pub confidence: Confidence,
    /// The step that the evidence points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_step_id: Option<StepId>,
}

impl Evidence {
    #[must_use]
    pub const fn new(
        kind: EvidenceKind,
        confidence: Confidence,
        from_step_id: Option<StepId>,
    ) -> Self {
        Self { kind, confidence, from_step_id }
    }
}

/// What the evidence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// A tool-call id that a model issued came back with its result.
    ToolCallId,
    /// The history holds an answer that a model gave, word for word.
    AnswerEcho,
    /// The history begins with the one of an earlier call.
    HistoryPrefix,
    /// A model asked for a call of this tool with these arguments.
    ToolArguments,
    /// A model asked for a tool call that names the URL which was fetched.
    UrlFetched,
    /// A process ran the command that a model's tool call asked for.
    ProcessCommand,
    /// A process made the call that carries out a tool call, or that such a one started; or that was
    /// started while the tool call alone waited.
    ProcessTree,
    /// The request goes on from a response by the id that its server gave it.
    ResponseId,
    /// The request goes on with a conversation that its server keeps, by the id of that.
    ConversationId,
    /// The client says that it is in the session of an earlier call.
    SessionId,
    /// The client says that it is in the trace of an earlier call.
    TraceId,
    /// The same conversation was sent before: it failed, or was only to prepare this one.
    SameRequest,
    /// The conversation begins with an argument of a tool call that a model made.
    ArgumentPassed,
    /// The conversation begins with what a model answered.
    AnswerPassed,
    /// What a sub-agent answered came back as a tool's result.
    AnswerReturned,
    /// The conversation begins with what the user said in another one that was under way.
    WishQuoted,
    /// It came a moment after.
    Time,
    /// Nothing known leads here: the first call of a workflow.
    NewHistory,
}

/// The tool that a tool step calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    pub name: String,
    /// The model's id for the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The host that has the tool, where the call was seen to go to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Name>,
}

/// That a step repeats one that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    pub of_step_id: StepId,
    pub reason: RetryReason,
    /// The first retry is 1.
    pub attempt: u32,
    /// What the tries before it had done already. Known once the workflow is looked at as a whole.
    #[serde(default, skip_serializing_if = "SideEffects::is_none")]
    pub side_effects: SideEffects,
    /// Whether it was answered with what upstream has answered to a try before it, whose client had left: it
    /// spent nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
}

/// Why a step had to be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryReason {
    /// HTTP 429.
    RateLimit,
    /// HTTP 5xx.
    Overloaded,
    /// HTTP 408, or the client gave up before anything of an answer came.
    Timeout,
    /// HTTP 401 or 403.
    Auth,
    /// The connection ended before an answer.
    ConnReset,
    /// The answer ended before its end.
    StreamTruncated,
    /// The client gave up in the middle of the answer.
    ClientAbort,
    /// The try before failed, and this one asks another model.
    FallbackModel,
    /// Any other HTTP 4xx.
    Rejected,
    /// The answer was whole, and of no use to the client.
    ContentInvalid,
}
