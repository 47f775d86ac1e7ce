//! Generated workflows, interleaved at random, against what they are known to be.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

/// A conversation as its client runs it. Those of one topic are equal word for word for as long as
/// their scripts are equal and their tools say the same.
#[derive(Clone, Debug)]
struct Script {
    topic: usize,
    wishes: Vec<Vec<Round>>,
    /// Whether its tools answer differently from those of its twins.
    own_results: bool,
    counts_retries: bool,
}

/// A model call that calls tools, before the one that answers the wish.
#[derive(Clone, Debug)]
struct Round {
    tools: usize,
    failures: usize,
}

/// The client of one script.
struct Client {
    script: Script,
    name: usize,
    history: Vec<Message>,
    wish: usize,
    round: usize,
    tries: usize,
    in_flight: Option<Placement>,
    first_try: Option<StepId>,
}

/// A call as the truth knows it: what was sent, and whether it failed.
type Fact = (Chain, bool);

#[derive(Default)]
struct Log {
    /// By session: its workflows in the order in which they opened, and the calls in each.
    placed: BTreeMap<SessionId, Vec<(WorkflowId, Vec<Fact>)>>,
    /// The chain after the answer that a step gave.
    answers: HashMap<StepId, Chain>,
    /// The step that emitted a tool step, and the id that it gave it.
    tools: HashMap<StepId, (StepId, String)>,
    all: Vec<Placement>,
}

impl Script {
    /// The calls of each wish, as they should come out.
    fn truth(&self, name: usize) -> Vec<Vec<Fact>> {
        let mut client = Client::new(self.clone(), name);
        let mut truth = vec![Vec::new(); self.wishes.len()];
        while let Some((messages, _)) = client.next_call() {
            let fails = client.fails();
            truth[client.wish].push((fingerprint(&messages), fails));
            client.ended(fails);
        }
        truth
    }
}

impl Client {
    fn new(script: Script, name: usize) -> Self {
        let history = vec![system("shared"), user(&format!("topic {}", script.topic))];
        let (in_flight, first_try) = (None, None);
        Self { script, name, history, wish: 0, round: 0, tries: 0, in_flight, first_try }
    }

    fn round(&self) -> Option<&Round> {
        self.script.wishes.get(self.wish)?.get(self.round)
    }

    fn next_call(&self) -> Option<(Vec<Message>, Option<u32>)> {
        self.script.wishes.get(self.wish)?;
        let tries = u32::try_from(self.tries).expect("few tries");
        Some((self.history.clone(), self.script.counts_retries.then_some(tries)))
    }

    fn fails(&self) -> bool {
        self.round().is_some_and(|round| self.tries < round.failures)
    }

    /// Tool-call ids start again with each answer.
    fn answer(&self) -> Message {
        let Some(round) = self.round() else { return says("done") };
        let ids: Vec<String> = (0..round.tools).map(|n| format!("call_{n}")).collect();
        calls("plan", &ids.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn ended(&mut self, failed: bool) {
        if failed {
            self.tries += 1;
            return;
        }
        let answer = self.answer();
        self.history.push(answer.clone());
        let by = if self.script.own_results { self.name } else { 0 };
        let text = format!("round {} by {by}", self.round);
        self.history.extend(answer.tool_calls.iter().map(|id| result(id, &text)));
        (self.tries, self.first_try) = (0, None);
        self.round += 1;
        if answer.tool_calls.is_empty() {
            (self.wish, self.round) = (self.wish + 1, 0);
            self.history.push(user(&format!("wish {}", self.wish)));
        }
    }
}

/// Runs all clients; `turns` says which one moves next.
fn run(scripts: &[Script], turns: &[usize]) -> Log {
    let mut traffic = Traffic::new();
    let mut log = Log::default();
    let new = |(name, script): (usize, &Script)| Client::new(script.clone(), name);
    let mut clients: Vec<Client> = scripts.iter().enumerate().map(new).collect();
    let mut turns = turns.iter().cycle();
    while !clients.is_empty() {
        let at = turns.next().expect("endless") % clients.len();
        let client = &mut clients[at];
        if let Some(call) = client.in_flight.take() {
            end(&mut traffic, client, &call, &mut log);
        } else if let Some((messages, tries)) = client.next_call() {
            let call = traffic.ask_again(&messages, tries);
            check(client, &messages, &call, &log);
            client.first_try = client.first_try.or(Some(call.step));
            log.add(client, &messages, &call);
            client.in_flight = Some(call);
        } else {
            clients.swap_remove(at);
        }
    }
    log
}

fn end(traffic: &mut Traffic, client: &mut Client, call: &Placement, log: &mut Log) {
    let failed = client.fails();
    if failed {
        traffic.fail(call, 503);
    } else {
        let answer = client.answer();
        let completion = traffic.answer(call, &answer);
        let chain = fingerprint(&join(&[&client.history, &[answer]]));
        log.answers.insert(call.step, chain);
        for tool in completion.tools {
            let id = tool.call_id.expect("all have ids");
            log.tools.insert(tool.step, (call.step, id));
        }
    }
    client.ended(failed);
}

/// What holds of each placement, whichever of its twins it was taken for.
fn check(client: &Client, messages: &[Message], call: &Placement, log: &Log) {
    assert_eq!(call.retry.map(|retry| retry.of_step_id), client.first_try);
    let Some(last) = messages.iter().rposition(|message| message.role == Role::Assistant) else {
        assert!(call.parents.is_empty(), "a first call has no parents");
        return;
    };
    let prefix = fingerprint(&messages[..=last]);
    let flows = log.placed.get(&call.session).expect("goes on in a session");
    let results: Vec<&Message> =
        messages[last + 1..].iter().filter(|message| message.role == Role::Tool).collect();
    if results.is_empty() {
        assert_eq!(call.parents.len(), 1);
        assert_eq!(log.answers.get(&call.parents[0]), Some(&prefix), "follows the answer before");
        assert_eq!(call.opens_workflow, call.retry.is_none());
        return;
    }
    assert!(flows.iter().any(|(workflow, _)| *workflow == call.workflow));
    assert_eq!(call.parents.len(), results.len());
    for (parent, result) in call.parents.iter().zip(results) {
        let (emitter, id) = &log.tools[parent];
        assert_eq!(Some(id), result.tool_result.as_ref());
        assert_eq!(log.answers.get(emitter), Some(&prefix), "follows the answer that called");
    }
}

impl Log {
    fn add(&mut self, client: &Client, messages: &[Message], call: &Placement) {
        let flows = self.placed.entry(call.session).or_default();
        assert_eq!(call.opens_workflow, !flows.iter().any(|(id, _)| *id == call.workflow));
        if call.opens_workflow {
            flows.push((call.workflow, Vec::new()));
        }
        let (_, facts) =
            flows.iter_mut().find(|(id, _)| *id == call.workflow).expect("is there by now");
        facts.push((fingerprint(messages), client.fails()));
        self.all.push(call.clone());
    }

    /// The sessions without their ids, in an order that depends on what is in them alone.
    fn shape(&self) -> Vec<Vec<Vec<Fact>>> {
        let shape = |flows: &Vec<(WorkflowId, Vec<Fact>)>| {
            flows.iter().map(|(_, facts)| sorted(facts.clone())).collect()
        };
        sorted(self.placed.values().map(shape).collect())
    }
}

/// Every workflow came out whole and apart: equal to the truth, save for who is who among those
/// that were equal word for word.
fn assert_whole(scripts: &[Script], log: &Log) {
    let truth = scripts
        .iter()
        .enumerate()
        .map(|(name, script)| script.truth(name).into_iter().map(sorted).collect::<Vec<_>>());
    assert_eq!(log.shape(), sorted(truth.collect()));
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

fn fingerprint(messages: &[Message]) -> Chain {
    History::new(0, 0, messages).whole()
}

fn script() -> impl Strategy<Value = Script> {
    let failures = prop_oneof![4 => Just(0_usize), 1 => 1..3_usize];
    let round = (1..4_usize, failures).prop_map(|(tools, failures)| Round { tools, failures });
    let wishes = prop::collection::vec(prop::collection::vec(round, 0..4), 1..3);
    (0..4_usize, wishes, any::<bool>(), any::<bool>()).prop_map(
        |(topic, wishes, own_results, counts_retries)| Script {
            topic,
            wishes,
            own_results,
            counts_retries,
        },
    )
}

/// Up to 50 scripts, some of them several times over. One that fails has a topic of its own: the
/// retry of one call and the first try of its twin can't be told apart.
fn scripts() -> impl Strategy<Value = Vec<Script>> {
    let copies = (script(), prop_oneof![3 => Just(1_usize), 1 => 2..6_usize]);
    prop::collection::vec(copies, 1..30).prop_map(|copies| {
        let mut all = Vec::new();
        for (mut script, count) in copies {
            let fails = script.wishes.iter().flatten().any(|round| round.failures > 0);
            if fails {
                script.topic = 1000 + all.len();
            }
            all.extend(std::iter::repeat_n(script, if fails { 1 } else { count }));
        }
        all.truncate(50);
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn interleaved_workflows_come_out_whole_and_apart(
        scripts in scripts(),
        turns in prop::collection::vec(any::<usize>(), 200),
    ) {
        assert_whole(&scripts, &run(&scripts, &turns));
    }

    #[test]
    fn the_same_log_gives_the_same_placements(
        scripts in scripts(),
        turns in prop::collection::vec(any::<usize>(), 200),
    ) {
        prop_assert_eq!(run(&scripts, &turns).all, run(&scripts, &turns).all);
    }
}

#[test]
fn twenty_equal_workflows_at_once_come_out_whole_and_apart() {
    let round = || Round { tools: 2, failures: 0 };
    let wishes = vec![vec![round(), round()], vec![round()]];
    let script = Script { topic: 0, wishes, own_results: false, counts_retries: true };
    let scripts = vec![script; 20];
    let turns: Vec<usize> = (0..997).map(|n| n * n * 31 + n).collect();
    assert_whole(&scripts, &run(&scripts, &turns));
}
