//! The error that a response without an answer reports, whatever API it speaks.

use serde::{Deserialize, de::IgnoredAny};

use super::json::{ErrorCode, ErrorReport, UpTo};
use crate::call::Name;

/// What the body calls the error: `None` if it reports none.
pub(super) fn name(body: &[u8]) -> Option<Name> {
    // Google puts it into an array where the answer would have been one.
    let report = if body.trim_ascii_start().starts_with(b"[") {
        let reports: UpTo<1, Report<'_>> = serde_json::from_slice(body).ok()?;
        reports.0.into_iter().next()?
    } else {
        serde_json::from_slice(body).ok()?
    };
    report.name()
}

#[derive(Deserialize)]
struct Report<'a> {
    /// `OpenAI`, Anthropic, Google, Ollama, and most who speak like them.
    #[serde(borrow)]
    error: Option<ErrorReport<'a>>,
    /// Amazon: a name, behind its namespace.
    #[serde(borrow, rename = "__type")]
    amazon: Option<ErrorCode<'a>>,
    /// Servers that have no `error` around it.
    #[serde(borrow, rename = "type")]
    kind: Option<ErrorCode<'a>>,
    #[serde(borrow)]
    code: Option<ErrorCode<'a>>,
    #[serde(alias = "detail", alias = "Message")]
    message: Option<IgnoredAny>,
}

impl Report<'_> {
    fn name(&self) -> Option<Name> {
        if let Some(error) = &self.error {
            return Some(error.name());
        }
        let amazon = self.amazon.as_ref().and_then(ErrorCode::text);
        let amazon = amazon.map(|name| name.rsplit('#').next().unwrap_or(name));
        let texts = [&self.kind, &self.code].into_iter().flatten().find_map(ErrorCode::text);
        let number = self.code.as_ref().and_then(ErrorCode::number);
        let unnamed = || self.message.is_some().then(|| "error".into());
        amazon.or(texts).map(Name::shared).or(number).or_else(unnamed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_names_that_their_servers_give_them() {
        let bodies = [
            (
                r#"{"error":{"message":"m","type":"insufficient_quota","param":null,"code":"credit_balance_exhausted"}}"#,
                Some("credit_balance_exhausted"),
            ),
            (
                r#"{"error":{"message":"m","type":"invalid_request_error","param":null,"code":null}}"#,
                Some("invalid_request_error"),
            ),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"m"},"request_id":"r"}"#,
                Some("overloaded_error"),
            ),
            (
                r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[]}}"#,
                Some("RESOURCE_EXHAUSTED"),
            ),
            (
                "[{\n  \"error\": {\"code\": 400, \"status\": \"INVALID_ARGUMENT\"}\n}\n]",
                Some("INVALID_ARGUMENT"),
            ),
            (r#"{"error":"model 'x' not found"}"#, Some("error")),
            (r#"{"error":{"code":400,"message":"m"}}"#, Some("400")),
            (
                r#"{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}"#,
                Some("BadRequestError"),
            ),
            (
                r#"{"__type":"com.amazon.coral.service#ThrottlingException","message":"m"}"#,
                Some("ThrottlingException"),
            ),
            (r#"{"detail":[{"loc":["body"]}]}"#, Some("error")),
            (r#"{"ok":true}"#, None),
            ("[]", None),
            ("<html>", None),
            ("", None),
        ];
        for (body, expected) in bodies {
            assert_eq!(name(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }
}
