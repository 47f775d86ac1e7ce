// npm's SDKs of model servers as they are published, each in a small agent: as dialects.py.
// dialects.mjs [--double | --strict] SERVER SCRIPT CASE...

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire("/opt/node/");
const load = (name) => import(pathToFileURL(`/opt/node/node_modules/${name}/dist/index.js`));
const OpenAI = require("openai");
const Anthropic = require("@anthropic-ai/sdk");
const [{ generateText, streamText, embed, tool, jsonSchema, isStepCount }, aiOpenAI, aiAnthropic] =
  await Promise.all(["ai", "@ai-sdk/openai", "@ai-sdk/anthropic"].map(load));

const words = process.argv.slice(2);
const option = words[0].startsWith("--") ? words.shift() : null;
// Of these SDKs `ai` is always strict, and the others never are.
const doubles = option === "--double";
const [server, script, ...cases] = words;
const MODEL = "scripted-1";
const SYSTEM = "You are a careful researcher. Use the tools.";
const SCHEMA = { type: "object", properties: { query: { type: "string" } }, required: ["query"] };
const TOOLS = { search: "Search the archive", read: "Read a document" };
const tools = (make) => Object.entries(TOOLS).map(([name, description]) => make(name, description));
const found = (name, { query }) => `${name} of ${query}: nothing unusual`;

// Says the first thing that a JSON object says once more, as some programs do that write theirs by
// hand.
function doubled(body) {
  const [[name, value]] = Object.entries(JSON.parse(body));
  return `{${JSON.stringify(name)}:${JSON.stringify(value)},${body.slice(1)}`;
}

class Case {
  seen = { response_ids: [], calls: [], texts: [], attempts: 0, errors: [] };
  begun = false;
  fetch = (address, options) => {
    this.seen.attempts += 1;
    if (!doubles) return fetch(address, options);
    return fetch(address, { ...options, body: doubled(options.body) });
  };

  constructor(name) {
    this.name = name;
    this.stream = name.endsWith("-stream");
    this.wish = `What does the archive hold? [tag=${name} ${script}]`;
    this.messages = [{ role: "user", content: this.wish }];
  }

  async run() {
    try {
      while (await this.ask());
    } catch (error) {
      this.failed(error);
    }
    this.say({ event: "end", ...this.seen });
  }

  failed(error) {
    const more = error?.lastError ?? error?.cause;
    this.seen.errors.push(`${error?.name}: ${error?.message} ${error?.responseBody ?? ""}`);
    if (more) this.failed(more);
  }

  streaming() {
    if (!this.begun) this.say({ event: "streaming" });
    this.begun = true;
  }

  async *pieces(stream) {
    for await (const piece of stream) {
      this.streaming();
      yield piece;
    }
  }

  say(words) {
    console.log(JSON.stringify({ case: this.name, ...words }));
  }

  answered(id, text) {
    if (id) this.seen.response_ids.push(id);
    if (text) this.seen.texts.push(text);
  }

  called(id, name) {
    this.seen.calls.push([id, name]);
  }
}

class OpenAICase extends Case {
  client = new OpenAI({ baseURL: `${server}/v1`, apiKey: "sk-none", fetch: this.fetch });
}

class Chat extends OpenAICase {
  async ask() {
    const ask = {
      model: MODEL,
      messages: this.messages,
      tools: tools((name, description) => ({
        type: "function",
        function: { name, description, parameters: SCHEMA },
      })),
    };
    let answer;
    if (this.stream) {
      const options = { stream_options: { include_usage: true } };
      const events = this.client.chat.completions.stream({ ...ask, ...options });
      for await (const _ of this.pieces(events));
      answer = await events.finalChatCompletion();
    } else {
      answer = await this.client.chat.completions.create(ask);
    }
    const { message } = answer.choices[0];
    this.answered(answer.id, message.content);
    this.messages.push(message);
    for (const { id, function: call } of message.tool_calls ?? []) {
      this.called(id, call.name);
      const content = found(call.name, JSON.parse(call.arguments));
      this.messages.push({ role: "tool", tool_call_id: id, content });
    }
    return message.tool_calls?.length > 0;
  }
}

class Responses extends OpenAICase {
  async ask() {
    const ask = {
      model: MODEL,
      instructions: SYSTEM,
      input: this.messages,
      store: false,
      tools: tools((name, description) => ({
        type: "function", name, description, parameters: SCHEMA, strict: false,
      })),
    };
    let answer = await this.client.responses.create({ ...ask, stream: this.stream });
    if (this.stream) {
      for await (const event of this.pieces(answer)) answer = event.response;
    }
    const calls = answer.output.filter((item) => item.type === "function_call");
    const texts = answer.output.filter((item) => item.type === "message");
    this.answered(answer.id, texts.map((item) => item.content[0].text).join(""));
    this.messages.push(...answer.output);
    for (const { call_id, name, arguments: words } of calls) {
      this.called(call_id, name);
      const output = found(name, JSON.parse(words));
      this.messages.push({ type: "function_call_output", call_id, output });
    }
    return calls.length > 0;
  }
}

class Completions extends OpenAICase {
  async ask() {
    const ask = { model: MODEL, prompt: this.wish, max_tokens: 100, stream: this.stream };
    const options = this.stream ? { stream_options: { include_usage: true } } : {};
    const answer = await this.client.completions.create({ ...ask, ...options });
    let [id, text] = [null, ""];
    for await (const piece of this.stream ? this.pieces(answer) : [answer]) {
      id = piece.id;
      text += piece.choices.map((choice) => choice.text).join("");
    }
    this.answered(id, text);
  }
}

class Embeddings extends OpenAICase {
  async ask() {
    const answer = await this.client.embeddings.create({ model: MODEL, input: this.wish });
    this.answered(null, String(answer.data[0].embedding));
  }
}

class Messages extends Case {
  client = new Anthropic({ baseURL: server, apiKey: "sk-none", fetch: this.fetch });
  request = {
    model: MODEL,
    system: [{ type: "text", text: SYSTEM, cache_control: { type: "ephemeral" } }],
    tools: tools((name, description) => ({ name, description, input_schema: SCHEMA })),
  };

  async ask() {
    const ask = { ...this.request, max_tokens: 1000, messages: this.messages };
    let answer;
    if (this.stream) {
      const events = this.client.messages.stream(ask);
      for await (const _ of this.pieces(events));
      answer = await events.finalMessage();
    } else {
      answer = await this.client.messages.create(ask);
    }
    const texts = answer.content.filter((block) => block.type === "text");
    this.answered(answer.id, texts.map((block) => block.text).join(""));
    this.messages.push({ role: "assistant", content: answer.content });
    const content = [];
    for (const { id, name, input } of answer.content.filter((it) => it.type === "tool_use")) {
      this.called(id, name);
      content.push({ type: "tool_result", tool_use_id: id, content: found(name, input) });
    }
    if (content.length > 0) this.messages.push({ role: "user", content });
    return content.length > 0;
  }
}

class CountTokens extends Messages {
  async ask() {
    const ask = { ...this.request, messages: this.messages };
    this.answered(null, String((await this.client.messages.countTokens(ask)).input_tokens));
  }
}

// Vercel's, which loops by itself.
class Ai extends Case {
  openai = aiOpenAI.createOpenAI({ baseURL: `${server}/v1`, apiKey: "none", fetch: this.fetch });
  anthropic = aiAnthropic.createAnthropic({
    baseURL: `${server}/v1`, apiKey: "none", fetch: this.fetch,
  });

  async ask() {
    const offered = tools((name, description) => [
      name,
      tool({ description, inputSchema: jsonSchema(SCHEMA), execute: (it) => found(name, it) }),
    ]);
    const ask = {
      model: this.model(),
      instructions: SYSTEM,
      prompt: this.wish,
      tools: Object.fromEntries(offered),
      stopWhen: isStepCount(5),
    };
    let answer;
    if (this.stream) {
      let broken = false;
      answer = streamText({ ...ask, onError: () => {} });
      for await (const part of answer.fullStream) {
        if (part.type === "text-delta") this.streaming();
        if (part.type !== "error") continue;
        this.failed(part.error);
        broken = true;
      }
      if (broken) return;
    } else {
      answer = await generateText(ask);
    }
    for (const step of await answer.steps) {
      this.answered(step.response.id, step.text);
      for (const call of step.toolCalls) this.called(call.toolCallId, call.toolName);
    }
  }
}

class AiChat extends Ai {
  model = () => this.openai.chat(MODEL);
}

class AiResponses extends Ai {
  model = () => this.openai.responses(MODEL);
}

class AiMessages extends Ai {
  model = () => this.anthropic(MODEL);
}

class AiEmbeddings extends Ai {
  async ask() {
    const answer = await embed({ model: this.openai.embedding(MODEL), value: this.wish });
    this.answered(null, String(answer.embedding));
  }
}

const CASES = {
  "js-openai-chat": Chat,
  "js-openai-responses": Responses,
  "js-openai-completions": Completions,
  "js-openai-embeddings": Embeddings,
  "js-anthropic-messages": Messages,
  "js-anthropic-count-tokens": CountTokens,
  "ai-openai-chat": AiChat,
  "ai-openai-responses": AiResponses,
  "ai-openai-embeddings": AiEmbeddings,
  "ai-anthropic-messages": AiMessages,
};

await Promise.all(cases.map((name) => new CASES[name.replace(/-stream$/, "")](name).run()));
