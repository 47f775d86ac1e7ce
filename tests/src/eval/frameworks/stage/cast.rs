//! What a request offers to be called, and calls of it.

use serde_json::{Value, json};

use super::{Wrong, words};
use crate::{
    eval::generate::random::Random,
    model_server::{answer::Call, api::Api},
};

/// A tool on offer.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    name: String,
    namespace: Option<String>,
    /// Of its arguments, in JSON Schema.
    schema: Value,
}

pub(super) fn tools(api: &Api, request: &Value) -> Vec<Tool> {
    let schema = if matches!(api, Api::Messages) { "input_schema" } else { "parameters" };
    let tool = |tool: &Value, namespace: Option<&str>| {
        let tool = if matches!(api, Api::Chat) { &tool["function"] } else { tool };
        let name = tool["name"].as_str()?.to_owned();
        let namespace = namespace.map(str::to_owned);
        Some(Tool { name, namespace, schema: tool[schema].clone() })
    };
    let tools = request["tools"].as_array().into_iter().flatten();
    let tools = tools.flat_map(|it| match it["tools"].as_array() {
        Some(inner) => inner.iter().map(|inner| tool(inner, it["name"].as_str())).collect(),
        None => vec![tool(it, None)],
    });
    tools.flatten().collect()
}

/// Any tool that is nothing special.
pub(super) fn ordinary(tools: &[Tool], random: &mut Random) -> Result<Call, Wrong> {
    let known = |tool: &Tool| {
        let arguments = words::arguments(&tool.name, &mut random.clone())?;
        Some(call(tool, arguments))
    };
    let known: Vec<Call> = tools.iter().filter_map(known).collect();
    random.draw();
    if known.is_empty() { Err("no tool is known".into()) } else { Ok(random.pick(&known).clone()) }
}

/// How another agent is had to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Waiting,
    Launching,
    /// Launching, with all that was said so far.
    Forking,
}

/// The tool that has another agent do something.
pub(super) fn delegating(tools: &[Tool], task: &str, how: How) -> Result<Call, Wrong> {
    let mut known = tools.iter().filter(|tool| DELEGATING.contains(&&*tool.name));
    let tool = known.next().ok_or("nobody is there to have it done")?;
    let properties = &tool.schema["properties"];
    let main =
        ["prompt", "message", "task", "input"].into_iter().find(|it| properties[it].is_object());
    let main = main.ok_or("it is not clear how to say it")?;
    let mut arguments = json!({ main: task });
    for (name, value) in [("description", "Look it up"), ("subagent_type", "general-purpose")] {
        if properties[name].is_object() {
            arguments[name] = value.into();
        }
    }
    match how {
        How::Waiting if properties["run_in_background"].is_object() => {
            arguments["run_in_background"] = false.into();
        }
        How::Forking => arguments["fork_context"] = true.into(),
        How::Waiting | How::Launching => {}
    }
    Ok(call(tool, arguments))
}

/// Waits for an agent that was launched by this call, whose result names it.
pub(super) fn waiting(tools: &[Tool], launching: &str, request: &Value) -> Result<Call, Wrong> {
    let mut known = tools.iter().filter(|tool| tool.name == "wait_agent");
    let tool = known.next().ok_or("nobody can be waited for")?;
    let mut items = request["input"].as_array().into_iter().flatten();
    let result =
        items.find(|it| it["call_id"] == launching && it["type"] == "function_call_output");
    let text = result.and_then(|result| result["output"].as_str()).unwrap_or_default();
    let named: Value = serde_json::from_str(text).unwrap_or_default();
    let id = named["agent_id"].as_str().ok_or_else(|| format!("whom to wait for: {text:?}"))?;
    Ok(call(tool, json!({ "targets": [id], "timeout_ms": 60_000 })))
}

pub(super) fn hand_off(tools: &[Tool]) -> Result<Call, Wrong> {
    let mut known = tools.iter().filter(|tool| tool.name.starts_with("transfer_to_"));
    Ok(call(known.next().ok_or("nobody is there to take over")?, json!({})))
}

/// The answer in the form that is asked for, or in another one.
pub(super) fn formal(tools: &[Tool], summary: Option<&str>) -> Result<Call, Wrong> {
    let mut known = tools.iter().filter(|tool| FORMS.contains(&&*tool.name));
    let tool = known.next().ok_or("no form is asked for")?;
    let arguments = match summary {
        Some(summary) => json!({ "summary": summary, "pages": 3 }),
        None => json!({ "summary": words::ASIDE, "pages": "several" }),
    };
    Ok(call(tool, arguments))
}

fn call(tool: &Tool, arguments: Value) -> Call {
    let (name, namespace) = (tool.name.clone(), tool.namespace.clone());
    Call { id: String::new(), name, namespace, arguments }
}

const DELEGATING: &[&str] = &["ask_researcher", "ask_checker", "Task", "Agent", "spawn_agent"];
const FORMS: &[&str] = &["final_result", "Briefing"];
