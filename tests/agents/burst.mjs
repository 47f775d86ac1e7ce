// Many calls at once, by npm's `openai` as it is published: as burst.py.
// burst.mjs [--stream] [--max-tokens N] [--patience SECONDS] openai SERVER CALLS SCRIPT

import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const OpenAI = createRequire("/opt/node/")("openai");
const options = {
  stream: { type: "boolean" },
  "max-tokens": { type: "string" },
  patience: { type: "string" },
};
const { values, positionals } = parseArgs({ options, allowPositionals: true });
const [, server, calls, script] = positionals;
const limit = values["max-tokens"] ? { max_tokens: Number(values["max-tokens"]) } : {};
const patience = values.patience ? { timeout: 1000 * Number(values.patience) } : {};

let attempts = 0;
const client = new OpenAI({
  baseURL: `${server}/v1`,
  apiKey: "sk-none",
  ...patience,
  fetch: (...request) => {
    attempts += 1;
    return fetch(...request);
  },
});

function say(words) {
  console.log(JSON.stringify(words));
}

async function answer(ask, seen) {
  if (!values.stream) {
    const { choices } = await client.chat.completions.create(ask);
    return choices[0].message.content;
  }
  for await (const piece of await client.chat.completions.create({ ...ask, stream: true })) {
    seen.pieces += 1;
    if (seen.pieces === 1) say({ begun: true });
    seen.delivered += piece.choices[0].delta.content ?? "";
  }
  return seen.delivered;
}

async function call(number) {
  const seen = { pieces: 0, words: null, delivered: "" };
  const content = `What does shelf ${number} hold? [${script}]`;
  const ask = { model: "scripted-1", messages: [{ role: "user", content }], ...limit };
  try {
    seen.words = (await answer(ask, seen)).split(/\s+/).length;
  } catch (error) {
    const kind = error?.constructor?.name;
    const text = `${error?.message} (${error?.code ?? error?.cause})`;
    seen.error = { kind, status: error?.status ?? null, text };
  }
  seen.delivered = seen.delivered.split(/\s+/).filter(Boolean).length;
  say(seen);
}

await Promise.all(Array.from({ length: Number(calls) }, (_, number) => call(number)));
say({ attempts });
