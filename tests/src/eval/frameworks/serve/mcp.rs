//! A tool server, as MCP has it over HTTP, at a path of its own.

use std::sync::Arc;

use hyper::{Response, StatusCode, header::HeaderName};
use serde_json::{Value, json};

use super::{Begun, Line, Server, refusal, thinking, told::Told};
use crate::eval::record;

impl Server {
    /// Answers one message.
    pub(super) async fn tool_server(
        self: &Arc<Self>,
        key: &str,
        request: record::Request,
        message: &Value,
        line: Line,
    ) -> Response<Told> {
        if request.method != "POST" {
            // It has nothing to say unasked.
            return refusal(405, &Value::Null);
        }
        let method = message["method"].as_str().unwrap_or_default();
        let (exchange, truth) = if method == "tools/call" {
            let params = &message["params"];
            let name = params["name"].as_str().unwrap_or_default();
            let told = self.stage().tool(key, name, &params["arguments"]);
            match told {
                Ok((exchange, truth)) => (exchange, Some(truth)),
                Err(wrong) => {
                    self.is_wrong(&wrong, &request);
                    return refusal(400, &Value::Null);
                }
            }
        } else {
            (self.stage().number(), None)
        };
        let begun = Begun { exchange, truth, calls: Vec::new(), fault: None };
        let mut noted = self.note(key, begun, request, line);
        if method == "tools/call" {
            tokio::time::sleep(thinking(exchange)).await;
        }
        let (status, text) = match result(method, &message["params"]) {
            Some(result) => {
                let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
                (200, answer.to_string())
            }
            None => (202, String::new()),
        };
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        if method == "initialize" {
            headers.push(("mcp-session-id".to_owned(), format!("session-of-{exchange}")));
        }
        noted.begins_with(status, headers.clone());
        let mut response = Response::new(Told::whole(vec![text.into()], true, noted));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        for (name, value) in headers {
            let name = HeaderName::try_from(name);
            if let (Ok(name), Ok(value)) = (name, value.try_into()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// None for a notification.
fn result(method: &str, params: &Value) -> Option<Value> {
    let tool = |(name, description, argument): (&str, &str, &str)| {
        let properties = json!({ argument: { "type": "string" } });
        let schema = json!({ "type": "object", "properties": properties, "required": [argument] });
        json!({ "name": name, "description": description, "inputSchema": schema })
    };
    Some(match method {
        "initialize" => json!({
            "protocolVersion": params["protocolVersion"],
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "office", "version": "1.0" },
        }),
        "tools/list" => json!({ "tools": TOOLS.map(tool) }),
        "tools/call" => {
            let text =
                format!("{} of {}: two sections are open", params["name"], params["arguments"]);
            json!({ "content": [{ "type": "text", "text": text }], "isError": false })
        }
        _ => return None,
    })
}

pub(super) const PATH: &str = "/mcp";

const TOOLS: [(&str, &str, &str); 3] = [
    ("search_documents", "Search the documents and get the titles that match.", "query"),
    ("read_document", "Read a document, given its path.", "path"),
    ("calculate", "Work out an arithmetic expression.", "expression"),
];
