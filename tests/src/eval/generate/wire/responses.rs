//! Responses.

use serde_json::{Value, json};

use super::{Ask, Body, Call, Reply, Turn};

pub(super) fn request(ask: &Ask<'_>) -> Value {
    let input: Vec<Value> = ask.turns.iter().flat_map(items).collect();
    let mut body = json!({ "model": ask.model, "input": input });
    if let Some(previous) = ask.previous {
        body["previous_response_id"] = previous.into();
    }
    if let Some(most) = ask.most {
        body["max_output_tokens"] = most.into();
    }
    body
}

fn items(turn: &Turn) -> Vec<Value> {
    match turn {
        Turn::System(text) => vec![json!({ "role": "system", "content": text })],
        Turn::User(text) => vec![json!({ "role": "user", "content": text })],
        Turn::Assistant(reply) => output(reply),
        Turn::Results(results) => results
            .iter()
            .map(
                |it| json!({ "type": "function_call_output", "call_id": it.id, "output": it.text }),
            )
            .collect(),
    }
}

fn output(reply: &Reply) -> Vec<Value> {
    let content = || json!([{ "type": "output_text", "text": reply.text, "annotations": [] }]);
    let message = || json!({ "type": "message", "role": "assistant", "content": content() });
    let text = (!reply.text.is_empty()).then(message);
    text.into_iter().chain(reply.calls.iter().map(call)).collect()
}

fn call(call: &Call) -> Value {
    let arguments = call.arguments.to_string();
    json!({ "type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments })
}

pub(super) fn answer(id: &str, model: &str, reply: &Reply) -> Value {
    json!({
        "id": format!("resp_{id}"),
        "object": "response",
        "status": "completed",
        "model": model,
        "output": output(reply),
        "usage": { "input_tokens": 100, "output_tokens": 20, "total_tokens": 120 },
    })
}

pub(super) fn stream(id: &str, model: &str, reply: &Reply) -> Body {
    let whole = answer(id, model, reply);
    let mut begun = whole.clone();
    (begun["status"], begun["output"]) = ("in_progress".into(), json!([]));
    let event = |kind: &'static str, rest: (&str, Value)| {
        let mut data = json!({ "type": kind });
        data[rest.0] = rest.1;
        (Some(kind), data)
    };
    let mut events = vec![event("response.created", ("response", begun))];
    for (index, item) in output(reply).into_iter().enumerate() {
        let mut done = event("response.output_item.done", ("item", item));
        done.1["output_index"] = index.into();
        events.push(done);
    }
    events.push(event("response.completed", ("response", whole)));
    Body::events(events)
}
