use super::*;
use crate::call::Usage;

/// 2026-11-30T12:00:00Z.
const NOON: Timestamp = Timestamp(1_796_040_000_000_000);

const USAGE: Usage = Usage {
    input: 100_000,
    output: 10_000,
    cache_read: None,
    cache_creation: None,
    cache_creation_1h: None,
    reasoning: None,
    estimated: false,
};

fn cost(purchase: &Purchase<'_>) -> Option<String> {
    Prices::default().cost(purchase, &USAGE).map(|cost| cost.to_string())
}

fn of(host: &str, model: &str) -> Option<String> {
    let host = Some(host).filter(|host| !host.is_empty());
    cost(&Purchase { host, request_model: Some(model), ..Purchase::at(NOON) })
}

#[test]
fn models_are_priced_as_their_hosts_sell_them() {
    // 0.1 M in and 0.01 M out, at the providers' list prices.
    for (host, model, usd) in [
        ("api.openai.com", "gpt-4o", "0.35"),
        ("api.openai.com:443", "gpt-4o-2024-08-06", "0.35"),
        ("api.openai.com", "gpt-4o-2024-05-13", "0.65"),
        ("api.openai.com", "gpt-4o-mini", "0.021"),
        ("api.openai.com", "gpt-4.1-nano-2025-04-14", "0.014"),
        ("api.openai.com", "gpt-5-2025-08-07", "0.225"),
        ("api.openai.com", "gpt-5-20250807", "0.225"),
        ("API.OpenAI.com", "GPT-5", "0.225"),
        ("api.openai.com", "text-embedding-3-small", "0.002"),
        ("api.anthropic.com", "claude-sonnet-4-5-20250929", "0.45"),
        ("api.anthropic.com", "claude-haiku-4-5", "0.15"),
        ("api.anthropic.com", "claude-3-5-haiku-20241022", "0.12"),
        ("api.anthropic.com", "claude-opus-4-1-20250805", "2.25"),
        ("generativelanguage.googleapis.com", "gemini-2.5-pro", "0.225"),
        ("us-central1-aiplatform.googleapis.com", "gemini-2.5-flash", "0.055"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "us.amazon.nova-pro-v1:0", "0.112"),
        ("my-resource.openai.azure.com", "gpt-4o", "0.35"),
        ("openrouter.ai", "openai/gpt-4o", "0.35"),
        ("api.mistral.ai", "mistral-small-latest", "0.021"),
        ("api.deepseek.com", "deepseek-v4-pro", "0.0858"),
    ] {
        assert_eq!(of(host, model).as_deref(), Some(usd), "{host} {model}");
    }
}

#[test]
fn where_the_host_is_not_known_the_api_and_the_name_tell() {
    let by = |dialect, model| {
        cost(&Purchase {
            host: Some("llm.internal"),
            dialect: Some(dialect),
            request_model: Some(model),
            ..Purchase::at(NOON)
        })
    };
    assert_eq!(by(Dialect::OpenaiChat, "gpt-4o").as_deref(), Some("0.35"));
    assert_eq!(by(Dialect::OpenaiChat, "claude-haiku-4-5").as_deref(), Some("0.15"));
    assert_eq!(by(Dialect::OpenaiChat, "anthropic/claude-haiku-4-5").as_deref(), Some("0.15"));
    assert_eq!(by(Dialect::OpenaiChat, "openai/gpt-4o").as_deref(), Some("0.35"));
    assert_eq!(by(Dialect::AnthropicMessages, "claude-haiku-4-5").as_deref(), Some("0.15"));
    assert_eq!(by(Dialect::Gemini, "gemini-2.5-pro").as_deref(), Some("0.225"));
    // Served where it runs: nobody is paid by the token, and what it costs is not known here.
    assert_eq!(by(Dialect::Ollama, "deepseek-r1"), None);
    assert_eq!(by(Dialect::OpenaiChat, "meta-llama/Llama-3.1-8B-Instruct"), None);
    assert_eq!(by(Dialect::OpenaiChat, "my-own-model"), None);
}

#[test]
fn a_host_that_is_known_does_not_sell_what_others_do() {
    assert_eq!(of("api.openai.com", "claude-haiku-4-5"), None);
    assert_eq!(of("api.openai.com.example.com", "my-own-model"), None);
    assert_eq!(of("", ""), None);
}

#[test]
fn the_answer_says_better_than_the_question_which_model_it_was() {
    let purchase = Purchase {
        host: Some("my-resource.openai.azure.com"),
        request_model: Some("my-deployment"),
        response_model: Some("gpt-4o-2024-08-06"),
        ..Purchase::at(NOON)
    };
    assert_eq!(cost(&purchase).as_deref(), Some("0.35"));
    let purchase =
        Purchase { response_model: Some("unheard-of"), request_model: Some("gpt-4o"), ..purchase };
    assert_eq!(cost(&purchase).as_deref(), Some("0.35"));
}

#[test]
fn service_tiers_have_prices_of_their_own_where_the_provider_sells_them() {
    let tier = |host, model, tier| {
        cost(&Purchase {
            host: Some(host),
            request_model: Some(model),
            service_tier: Some(tier),
            ..Purchase::at(NOON)
        })
    };
    for (name, usd) in [
        ("default", "0.3"),
        ("standard", "0.3"),
        ("flex", "0.15"),
        ("batch", "0.15"),
        ("priority", "0.6"),
    ] {
        assert_eq!(tier("api.openai.com", "gpt-6-sol", name).as_deref(), Some(usd), "{name}");
    }
    assert_eq!(tier("api.anthropic.com", "claude-opus-4-8", "fast").as_deref(), Some("1.5"));
}

#[test]
fn prices_change_with_the_hour() {
    let at = |minutes: u64| {
        let at = Timestamp(NOON.0 / 86_400_000_000 * 86_400_000_000 + minutes * 60_000_000);
        cost(&Purchase {
            host: Some("api.deepseek.com"),
            request_model: Some("deepseek-v4-pro"),
            ..Purchase::at(at)
        })
    };
    let peak = at(60);
    assert_eq!(peak.as_deref(), Some("0.1716"));
    assert_eq!((at(59), at(239), at(240)), (at(0), peak.clone(), at(0)));
    assert_eq!((at(360), at(600)), (peak, at(0)));
}

#[test]
fn rules_go_before_the_table() {
    let glob = |text: &str| Some(text.parse::<Glob>().expect("a pattern"));
    let rate = |usd: &str| Some(Rate::flat(usd.parse().expect("money")));
    let rule = |model: Option<Glob>, host: Option<Glob>, usd: &str| Rule {
        model,
        host,
        rates: Rates { input: rate(usd), output: rate("0"), ..Rates::default() },
    };
    let prices = Prices::new(vec![
        rule(glob("gpt-4o*"), glob("api.openai.com"), "1"),
        rule(None, glob("*.internal"), "0"),
        rule(glob("my-*"), None, "2"),
    ]);
    let of = |host, model| {
        let purchase =
            Purchase { host: Some(host), request_model: Some(model), ..Purchase::at(NOON) };
        prices.cost(&purchase, &USAGE).map(|cost| cost.to_string())
    };
    assert_eq!(of("API.openai.com:443", "gpt-4o").as_deref(), Some("0.1"));
    assert_eq!(of("llm.internal:8000", "gpt-4o").as_deref(), Some("0"));
    assert_eq!(of("elsewhere", "my-model").as_deref(), Some("0.2"));
    assert_eq!(of("openrouter.ai", "openai/gpt-4o").as_deref(), Some("0.35"));
    assert_eq!(of("elsewhere", "another"), None);
}

#[test]
fn the_table_is_whole() {
    let text = include_str!("../../data/prices/prices.json");
    let providers: Vec<serde_json::Value> = serde_json::from_str(text).expect("JSON");
    assert!(providers.len() > 20);
    serde_json::from_str::<Table>(text).expect("as it is read");
}
