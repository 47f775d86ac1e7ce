// npm's openai as it is published. It says "ready", waits for a line, calls, and prints what it saw
// as one line of JSON: client.mjs URL WISH [--stream]

import { createHash } from "node:crypto";
import { subscribe } from "node:diagnostics_channel";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const OpenAI = createRequire("/opt/node/")("openai");
const [url, wish, stream] = process.argv.slice(2);
const seen = { tries: 0, errors: [] };

// The client under the SDK is node's own fetch, which tells of its sockets here.
subscribe("undici:client:connected", ({ socket }) => {
  seen.issuer = socket.getPeerCertificate?.().issuer.CN;
  seen.version = socket.alpnProtocol;
});
subscribe("undici:client:connectError", ({ error }) => {
  seen.errors.push(`${error.code}: ${error.message}`);
});

let hash;

async function noted(address, options) {
  seen.tries += 1;
  seen.request_sha256 = createHash("sha256").update(options.body).digest("hex");
  const answer = await fetch(address, options);
  hash = createHash("sha256");
  const copied = new TransformStream({
    transform(piece, out) {
      hash.update(piece);
      out.enqueue(piece);
    },
  });
  seen.status = answer.status;
  return new Response(answer.body.pipeThrough(copied), answer);
}

console.log("ready");
const lines = createInterface({ input: process.stdin });
await new Promise((resolve) => lines.once("line", resolve).once("close", resolve));
lines.close();
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "sk-none", fetch: noted });
const messages = [{ role: "user", content: wish }];
const usage = { stream: true, stream_options: { include_usage: true } };
const ask = { model: "scripted-1", messages, ...(stream === "--stream" ? usage : {}) };
try {
  const answer = await client.chat.completions.create(ask);
  for await (const part of ask.stream ? answer : [answer]) seen.response_id = part.id;
} catch (error) {
  seen.errors.push(String(error));
}
seen.response_sha256 = hash?.digest("hex");
console.log(JSON.stringify(seen));
