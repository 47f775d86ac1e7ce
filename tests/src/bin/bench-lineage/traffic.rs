//! The calls of many tool loops: each turn of a workflow brings the last tool's result, and is answered with
//! the next tool call.

use turnpike::{
    call::{Answer, Dialect, Message, Name, Operation, Prompt, Role, Timestamp, ToolCall, Value},
    limits,
    lineage::Outcome,
};

/// Model calls of each workflow.
pub(crate) const TURNS: u64 = 20;

/// So many workflows at once.
#[derive(Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) workflows: u64,
}

impl Traffic {
    /// What one agent is given of them at most: all that lineage remembers of it.
    pub(crate) const PER_AGENT: u64 = limits::LINEAGE_ENTRIES as u64 / TURNS;

    /// The least that all of them fit in.
    pub(crate) const fn agents(self) -> u64 {
        self.workflows.div_ceil(Self::PER_AGENT)
    }

    /// The workflows' calls of that turn, with the agent of each: each agent has its turn.
    pub(crate) fn calls(self, turn: u64) -> impl Iterator<Item = (usize, Call)> {
        (0..self.workflows).map(move |workflow| {
            let at = Timestamp(START + (turn * self.workflows + workflow) * APART_MICROS);
            #[allow(clippy::cast_possible_truncation, reason = "there are few agents")]
            let agent = (workflow % self.agents()) as usize;
            (agent, Call { workflow, turn, at })
        })
    }
}

/// A model call.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    workflow: u64,
    turn: u64,
    pub(crate) at: Timestamp,
}

impl Call {
    pub(crate) fn prompt(self) -> Prompt {
        let mut messages = vec![message(Role::System, 1), self.message(Role::User, 0)];
        for turn in 0..self.turn {
            let before = Self { turn, ..self };
            messages.push(before.answer());
            let result = before.message(Role::Tool, 2 * turn + 2);
            messages.push(Message { tool_result: Some(before.id()), ..result });
        }
        Prompt {
            dialect: Dialect::OpenaiChat,
            operation: Operation::Chat,
            model: Some(Name::shared("gpt-4o-mini")),
            stream: true,
            messages,
            tools_hash: Some(7),
            wish: Some(format!("Tidy project {:08}, file by file.", self.workflow)),
            client_retry: None,
            terms: Box::default(),
        }
    }

    pub(crate) fn outcome(self) -> Outcome {
        let Self { workflow, turn, .. } = self;
        let path = format!("src/{workflow:08}/part_{turn:02}.rs");
        let call = ToolCall {
            id: Some(self.id()),
            name: "read_file".to_owned(),
            arguments: self.hash(100 + turn),
            values: Value::of(&path).into_iter().collect(),
            commands: Vec::new(),
            urls: Vec::new(),
        };
        let answer = Answer {
            response_id: Some(format!("chatcmpl-{workflow:016}{turn:012}")),
            choices: vec![self.answer()],
            tool_calls: vec![call],
            values: Value::all_in(&format!("Part {turn:02} of project {workflow:08} is next.")),
            complete: true,
            ..Answer::default()
        };
        Outcome { answer, status: Some(200), failure: None }
    }

    fn answer(self) -> Message {
        let answer = self.message(Role::Assistant, 2 * self.turn + 1);
        Message { tool_calls: vec![self.id()], ..answer }
    }

    /// Of the tool call that it is answered with.
    fn id(self) -> String {
        format!("call_{:012}{:012}", self.workflow, self.turn)
    }

    fn message(self, role: Role, place: u64) -> Message {
        message(role, self.hash(place))
    }

    fn hash(self, place: u64) -> u128 {
        // Spread over all bits, as hashes are.
        u128::from((self.workflow + 1) << 8 | place).wrapping_mul(GOLDEN)
    }
}

fn message(role: Role, hash: u128) -> Message {
    Message { role, hash, content: None, tool_calls: Vec::new(), tool_result: None }
}

const START: u64 = 1_796_040_000_000_000;
/// Between two calls.
const APART_MICROS: u64 = 50;
const GOLDEN: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
