// Workflows by Vercel's AI SDK: tools, tools that ask another model, sessions of several wishes. One
// process, and its one pool of connections, for all.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const load = (name) => import(pathToFileURL(`/opt/node/node_modules/${name}/dist/index.js`));
const [{ generateText, streamText, tool, isStepCount }, { createOpenAI }, { createAnthropic }] =
  await Promise.all(["ai", "@ai-sdk/openai", "@ai-sdk/anthropic"].map(load));
const { z } = createRequire("/opt/node/")("zod");

const INSTRUCTIONS =
  "You are the assistant of a small research office. Use your tools to find out what you need to " +
  "know, hand over what others know better, and answer in a few sentences.";
const RESEARCHER =
  "You are a researcher. You are given one question; look it up with your tools and say what you " +
  "found. Do not ask back.";
const CHECKER = "You check figures and quotations. Say briefly whether what you are given holds.";

const TOOLS = {
  search_documents: tool({
    description: "Search the documents and get the titles that match.",
    inputSchema: z.object({ query: z.string() }),
    execute: async ({ query }) => [1, 2, 3].map((place) => `${place}. ${query}, part ${place}`),
  }),
  read_document: tool({
    description: "Read a document, given its path.",
    inputSchema: z.object({ path: z.string() }),
    execute: async ({ path }) => ({ path, revised: "March", sections: path.length }),
  }),
  calculate: tool({
    description: "Work out an arithmetic expression.",
    inputSchema: z.object({ expression: z.string() }),
    execute: async ({ expression }) => `${expression} = ${expression.length * 1.7}`,
  }),
};

function asking(description, ask) {
  const inputSchema = z.object({ task: z.string().describe("What is to be done") });
  return tool({ description, inputSchema, execute: async ({ task }) => ask(task) });
}

// The agents of one customer: what the first of them says to a conversation.
function office(model, streamed) {
  const agent = (system, tools) => async (messages) => {
    const all = { model, instructions: system, tools, messages, stopWhen: isStepCount(12) };
    if (!streamed) return generateText(all);
    let failure;
    const result = streamText({ ...all, onError: ({ error }) => (failure = error) });
    await result.consumeStream();
    if (failure) throw failure;
    return { text: await result.text, responseMessages: await result.responseMessages };
  };
  const asked = (ask) => async (task) => (await ask([{ role: "user", content: task }])).text;
  const checker = asked(agent(CHECKER, TOOLS));
  const ask_checker = asking("Have a figure or a quotation checked.", checker);
  const researcher = asked(agent(RESEARCHER, { ...TOOLS, ask_checker }));
  const ask_researcher = asking("Have one question looked up.", researcher);
  return agent(INSTRUCTIONS, { ...TOOLS, ask_researcher });
}

function chatModel({ api, base_url }, key) {
  const baseURL = `${base_url}/v1`;
  if (api === "messages") return createAnthropic({ apiKey: key, baseURL })("claude-sonnet-4-5");
  return createOpenAI({ apiKey: key, baseURL })[api]("gpt-4.1");
}

async function done(order, job) {
  const ask = office(chatModel(order, job.key), order.streamed);
  const messages = [];
  const answers = [];
  for (const wish of job.wishes) {
    messages.push({ role: "user", content: wish });
    const result = await ask(messages);
    messages.push(...result.responseMessages);
    answers.push(result.text);
  }
  return answers;
}

const order = JSON.parse(readFileSync(0, "utf8"));
const waiting = [...order.jobs];
async function lane() {
  for (let job = waiting.shift(); job; job = waiting.shift()) {
    const line = await done(order, job).then(
      (answers) => ({ answers }),
      (error) => ({ error: `${error?.name}: ${error?.message} ${error?.responseBody ?? ""}` }),
    );
    console.log(JSON.stringify({ key: job.key, ...line }));
  }
}
await Promise.all(Array.from({ length: order.at_once }, lane));
