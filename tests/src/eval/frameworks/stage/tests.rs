use serde_json::{Value, json};

use super::{super::plot::Part, *};

/// A client of Chat Completions with a conversation of its own.
#[derive(Clone)]
struct Client {
    key: String,
    messages: Vec<Value>,
}

impl Client {
    fn told(text: &str) -> Self {
        let messages = [("system", "Be brief."), ("user", text)];
        let messages = messages.map(|(role, text)| json!({ "role": role, "content": text }));
        Self { key: key(1), messages: messages.into() }
    }

    fn ask(&self, stage: &mut Stage) -> Result<Cue, Wrong> {
        let parameters = json!({ "properties": { "input": { "type": "string" } } });
        let tool = |name| json!({ "function": { "name": name, "parameters": parameters } });
        let tools = ["search_documents", "ask_researcher"].map(tool);
        let request = json!({ "model": "m", "messages": self.messages, "tools": tools });
        stage.ask(&self.key, &Api::Chat, &request)
    }

    /// Asks, is answered, and has the results of what was called.
    fn turn(&mut self, stage: &mut Stage) -> Cue {
        let cue = self.ask(stage).expect("an answer");
        stage.ended(&self.key, cue.exchange, End::Whole);
        let document = cue.answer.document(&Api::Chat, &Value::Null);
        let document: Value = serde_json::from_slice(&document).expect("JSON");
        self.messages.push(document["choices"][0]["message"].clone());
        for id in &cue.calls {
            self.messages.push(json!({ "role": "tool", "tool_call_id": id, "content": "found" }));
        }
        cue
    }
}

fn scene(act: Act) -> Scene {
    Scene { act, faults: Vec::new() }
}

fn part(text: &str, acts: Vec<Act>) -> Part {
    Part { text: text.to_owned(), scenes: acts.into_iter().map(scene).collect() }
}

fn stage(wishes: Vec<Part>) -> Stage {
    Stage::new(vec![Plot { case: "c", wishes, is_formal: false }], 1, Ids::Unique)
}

#[test]
fn calls_lead_to_what_follows_them_and_answers_to_the_next_wish() {
    let one = part("One.", vec![Act::Tools(2), Act::Answer]);
    let mut stage = stage(vec![one, part("Two.", vec![Act::Answer])]);
    let mut client = Client::told("One.");
    let first = client.turn(&mut stage);
    assert_eq!((first.truth.parents, first.truth.kind), (vec![], Some(StepKind::Planner)));
    let second = client.turn(&mut stage);
    let calls = [0, 1].map(|at| StepRef::call(first.exchange, at));
    assert_eq!((&*second.truth.parents, second.truth.kind), (&calls[..], Some(StepKind::Final)));
    client.messages.push(json!({ "role": "user", "content": "Two." }));
    let third = client.turn(&mut stage);
    assert_eq!(third.truth.parents, [StepRef::exchange(second.exchange)]);
    assert_eq!(third.truth.session, first.truth.session);
    assert_eq!(second.truth.workflow, first.truth.workflow);
    assert_ne!(third.truth.workflow, first.truth.workflow);
    assert_eq!(stage.played().expect("all")[&key(1)].len(), 2);
}

#[test]
fn a_sub_agent_follows_the_call_that_holds_its_task() {
    let tasks = ["Left.", "Right."].map(|text| part(text, vec![Act::Answer]));
    let acts = vec![Act::Delegate(tasks.into()), Act::Answer];
    let mut stage = stage(vec![part("Both.", acts)]);
    let mut main = Client::told("Both.");
    let first = main.turn(&mut stage);
    let right = Client::told("Right.").turn(&mut stage);
    let left = Client::told("Left.").turn(&mut stage);
    assert_eq!(right.truth.parents, [StepRef::call(first.exchange, 1)]);
    assert_eq!(left.truth.parents, [StepRef::call(first.exchange, 0)]);
    assert_eq!(left.truth.kind, Some(StepKind::Worker));
    assert_eq!(main.turn(&mut stage).truth.kind, Some(StepKind::Final));
    assert!(stage.played().is_ok());
}

#[test]
fn what_has_failed_is_tried_again_for_the_last_reason() {
    let faults = vec![Fault::Status(429), Fault::Reset];
    let scenes = vec![Scene { act: Act::Tools(1), faults }, scene(Act::Answer)];
    let mut stage = stage(vec![Part { text: "One.".to_owned(), scenes }]);
    let mut client = Client::told("One.");
    let mut reasons = Vec::new();
    let mut first = 0;
    for _ in 0..2 {
        let cue = client.ask(&mut stage).expect("a fault");
        let fault = cue.fault.expect("a fault");
        stage.ended(&client.key, cue.exchange, End::Faulty(fault));
        reasons.push(cue.truth.retry.map(|retry| retry.reason));
        first = if first == 0 { cue.exchange } else { first };
    }
    let last = client.turn(&mut stage);
    let retry = last.truth.retry.clone().expect("a retry");
    reasons.push(Some(retry.reason));
    assert_eq!(reasons, [None, Some("rate_limit".to_owned()), Some("conn_reset".to_owned())]);
    assert_eq!((retry.of, last.fault), (first, None));
}

#[test]
fn what_cannot_be_explained_is_an_error() {
    let mut stage = stage(vec![part("One.", vec![Act::Tools(1), Act::Answer])]);
    let mut client = Client::told("One.");
    assert!(Client::told("Another.").ask(&mut stage).is_err());
    assert!(Client { key: key(2), ..client.clone() }.ask(&mut stage).is_err());
    let before = client.clone();
    client.turn(&mut stage);
    // It was answered, so nobody has a reason to ask again.
    assert!(before.ask(&mut stage).is_err());
    let mut forged = client.clone();
    forged.messages[2]["tool_calls"][0]["id"] = "call_other".into();
    forged.messages[3]["tool_call_id"] = "call_other".into();
    assert!(forged.ask(&mut stage).is_err());
    assert!(client.ask(&mut stage).is_ok());
    assert!(stage.played().is_err());
}

#[test]
fn what_is_launched_is_told_of_when_it_is_done() {
    let launched = part("Look.", vec![Act::Answer]);
    let acts = vec![Act::Tools(1), Act::Launch(vec![launched])];
    let mut stage = stage(vec![part("Go.", acts)]);
    let mut main = Client::told("Go.");
    main.turn(&mut stage);
    let launching = main.turn(&mut stage);
    let waiting = main.turn(&mut stage);
    assert_eq!(waiting.truth.kind, None);
    let worker = Client::told("Look.").turn(&mut stage);
    assert_eq!(worker.truth.parents, [StepRef::call(launching.exchange, 0)]);
    let notice = "<task-notification>done</task-notification>";
    main.messages.push(json!({ "role": "user", "content": notice }));
    let last = main.turn(&mut stage);
    assert_eq!(last.truth.kind, Some(StepKind::Final));
    assert_eq!(last.truth.parents, [StepRef::exchange(waiting.exchange)]);
    assert_eq!(last.truth.workflow, launching.truth.workflow);
}

#[test]
fn a_fork_follows_the_call_that_made_it_and_not_its_history() {
    let forked = part("Now look.", vec![Act::Tools(1), Act::Answer]);
    let mut stage = stage(vec![part("Go.", vec![Act::Tools(1), Act::Fork(vec![forked])])]);
    let mut main = Client::told("Go.");
    main.turn(&mut stage);
    let mut fork = main.clone();
    let forking = main.turn(&mut stage);
    fork.messages.push(json!({ "role": "user", "content": "Now look." }));
    let first = fork.turn(&mut stage);
    assert_eq!(first.truth.parents, [StepRef::call(forking.exchange, 0)]);
    assert_eq!(first.truth.kind, Some(StepKind::Worker));
    let second = fork.turn(&mut stage);
    assert_eq!(second.truth.parents, [StepRef::call(first.exchange, 0)]);
}

#[test]
fn a_server_s_tool_is_called_for_the_answer_that_asked_for_it() {
    let mut stage = stage(vec![part("One.", vec![Act::Tools(1), Act::Answer])]);
    let mut client = Client::told("One.");
    let cue = client.turn(&mut stage);
    let call = &client.messages[2]["tool_calls"][0]["function"];
    let arguments: Value =
        serde_json::from_str(call["arguments"].as_str().expect("a text")).expect("JSON");
    let (exchange, truth) =
        stage.tool(&client.key, "search_documents", &arguments).expect("a call");
    assert_eq!((exchange, truth.kind), (cue.exchange + 1, Some(StepKind::Tool)));
    assert_eq!(truth.parents, [StepRef::exchange(cue.exchange)]);
    assert!(stage.tool(&client.key, "search_documents", &json!({})).is_err());
    client.turn(&mut stage);
    assert!(stage.tool(&client.key, "search_documents", &arguments).is_err());
}
