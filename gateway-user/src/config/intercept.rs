//! `[[intercept]]`: which TLS connections are decrypted.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::hosts::{HostList, NotAHost};

/// Every list of the file. One that is written takes the place of the one that ships.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<Intercept>", into = "Vec<Intercept>")]
pub struct Intercepts {
    written: Vec<Intercept>,
    hosts: Arc<HostList>,
}

/// One list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Intercept {
    /// Names (`api.example.com`), all names below one (`*.example.com`), and addresses.
    pub hosts: Vec<String>,
}

impl Intercepts {
    /// All hosts of all lists.
    #[must_use]
    pub fn hosts(&self) -> Arc<HostList> {
        Arc::clone(&self.hosts)
    }
}

impl TryFrom<Vec<Intercept>> for Intercepts {
    type Error = NotAHost;

    fn try_from(written: Vec<Intercept>) -> Result<Self, NotAHost> {
        let hosts = HostList::parse(written.iter().flat_map(|list| &list.hosts))?;
        Ok(Self { written, hosts: Arc::new(hosts) })
    }
}

impl From<Intercepts> for Vec<Intercept> {
    fn from(intercepts: Intercepts) -> Self {
        intercepts.written
    }
}

impl Default for Intercepts {
    fn default() -> Self {
        let hosts = MODELS.iter().chain(&TOOLS).map(|host| (*host).to_owned()).collect();
        // A test reads it; were it wrong, nothing would be decrypted.
        Self::try_from(vec![Intercept { hosts }])
            .unwrap_or_else(|_| Self { written: Vec::new(), hosts: Arc::default() })
    }
}

/// Where models are.
const MODELS: [&str; 84] = [
    "api.openai.com",
    "eu.api.openai.com",
    "us.api.openai.com",
    // Codex, when it is signed in by an account.
    "chatgpt.com",
    "*.openai.azure.com",
    "*.cognitiveservices.azure.com",
    "*.services.ai.azure.com",
    "*.inference.ai.azure.com",
    "models.inference.ai.azure.com",
    "models.github.ai",
    "api.githubcopilot.com",
    "*.githubcopilot.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "cloudcode-pa.googleapis.com",
    "aiplatform.googleapis.com",
    "us-central1-aiplatform.googleapis.com",
    "us-east1-aiplatform.googleapis.com",
    "us-east4-aiplatform.googleapis.com",
    "us-east5-aiplatform.googleapis.com",
    "us-south1-aiplatform.googleapis.com",
    "us-west1-aiplatform.googleapis.com",
    "us-west4-aiplatform.googleapis.com",
    "europe-west1-aiplatform.googleapis.com",
    "europe-west3-aiplatform.googleapis.com",
    "europe-west4-aiplatform.googleapis.com",
    "europe-west9-aiplatform.googleapis.com",
    "asia-northeast1-aiplatform.googleapis.com",
    "asia-southeast1-aiplatform.googleapis.com",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "bedrock-runtime.us-east-2.amazonaws.com",
    "bedrock-runtime.us-west-2.amazonaws.com",
    "bedrock-runtime.ca-central-1.amazonaws.com",
    "bedrock-runtime.sa-east-1.amazonaws.com",
    "bedrock-runtime.eu-central-1.amazonaws.com",
    "bedrock-runtime.eu-north-1.amazonaws.com",
    "bedrock-runtime.eu-west-1.amazonaws.com",
    "bedrock-runtime.eu-west-2.amazonaws.com",
    "bedrock-runtime.eu-west-3.amazonaws.com",
    "bedrock-runtime.ap-northeast-1.amazonaws.com",
    "bedrock-runtime.ap-northeast-2.amazonaws.com",
    "bedrock-runtime.ap-south-1.amazonaws.com",
    "bedrock-runtime.ap-southeast-1.amazonaws.com",
    "bedrock-runtime.ap-southeast-2.amazonaws.com",
    "bedrock-runtime.us-gov-west-1.amazonaws.com",
    "api.mistral.ai",
    "codestral.mistral.ai",
    "api.cohere.com",
    "api.cohere.ai",
    "api.x.ai",
    "api.deepseek.com",
    "api.groq.com",
    "api.together.xyz",
    "api.together.ai",
    "api.fireworks.ai",
    "api.perplexity.ai",
    "api.cerebras.ai",
    "api.sambanova.ai",
    "api.replicate.com",
    "api.deepinfra.com",
    "api.hyperbolic.xyz",
    "api.novita.ai",
    "api.nebius.com",
    "api.studio.nebius.com",
    "api.ai21.com",
    "api.voyageai.com",
    "api.jina.ai",
    "api.moonshot.ai",
    "api.moonshot.cn",
    "api.minimax.io",
    "api.minimaxi.com",
    "api.z.ai",
    "open.bigmodel.cn",
    "dashscope.aliyuncs.com",
    "dashscope-intl.aliyuncs.com",
    "ark.cn-beijing.volces.com",
    "integrate.api.nvidia.com",
    "api-inference.huggingface.co",
    "router.huggingface.co",
    "*.endpoints.huggingface.cloud",
    "openrouter.ai",
    "gateway.ai.cloudflare.com",
    "ai-gateway.vercel.sh",
    "ollama.com",
];

/// Where tools are that are called by MCP.
const TOOLS: [&str; 23] = [
    "mcp.notion.com",
    "mcp.linear.app",
    "mcp.atlassian.com",
    "mcp.asana.com",
    "mcp.sentry.dev",
    "mcp.stripe.com",
    "mcp.paypal.com",
    "mcp.squareup.com",
    "mcp.intercom.com",
    "mcp.vercel.com",
    "mcp.supabase.com",
    "mcp.neon.tech",
    "mcp.figma.com",
    "mcp.canva.com",
    "mcp.zapier.com",
    "mcp.hubspot.com",
    "mcp.context7.com",
    "mcp.deepwiki.com",
    "mcp.exa.ai",
    "mcp.tavily.com",
    "mcp.firecrawl.dev",
    "mcp.cloudflare.com",
    "*.mcp.cloudflare.com",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Intercepts, toml::de::Error> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            intercept: Intercepts,
        }
        toml::from_str::<File>(text).map(|file| file.intercept)
    }

    #[test]
    fn a_list_ships_and_is_whole() {
        let intercepts = parse("").expect("valid");
        let [list] = &intercepts.written[..] else { panic!("one list") };
        assert_eq!(list.hosts.len(), MODELS.len() + TOOLS.len());
        let hosts = intercepts.hosts();
        for name in ["api.openai.com", "eu.openai.azure.com", "API.Anthropic.com", "mcp.linear.app"]
        {
            assert!(hosts.contains(name), "{name}");
        }
        for name in ["github.com", "openai.com", "s3.amazonaws.com", "storage.googleapis.com"] {
            assert!(!hosts.contains(name), "{name}");
        }
    }

    #[test]
    fn lists_that_are_written_add_up_and_take_the_place_of_the_one_that_ships() {
        let text = "[[intercept]]\nhosts = [\"a.example\"]\n[[intercept]]\nhosts = [\"*.internal\", \"::1\"]";
        let intercepts = parse(text).expect("valid");
        let hosts = intercepts.hosts();
        assert!(hosts.contains("a.example") && hosts.contains("b.internal"));
        assert!(!hosts.contains("api.openai.com"));
        assert!(
            !parse("[[intercept]]\nhosts = []").expect("valid").hosts().contains("api.openai.com")
        );
        let error = parse("[[intercept]]\nhosts = [\"https://a\"]").expect_err("no host");
        assert!(error.to_string().contains("is no host"), "{error}");
    }
}
