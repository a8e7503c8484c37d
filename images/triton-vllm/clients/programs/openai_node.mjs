// openai-node: chat, and a stream of it.
import assert from "node:assert";
import { createRequire } from "node:module";

const [host, , , model, key] = process.argv.slice(2);
const OpenAI = createRequire(`${process.cwd()}/`)("openai").default;
const client = new OpenAI({ baseURL: `${host}/v1`, apiKey: key, maxRetries: 0 });
const hello = { model, messages: [{ role: "user", content: "The quick brown fox" }], max_tokens: 8 };
assert((await client.chat.completions.create(hello)).choices[0].message.content);
let text = "";
for await (const part of await client.chat.completions.create({ ...hello, stream: true })) {
  text += part.choices[0]?.delta?.content ?? "";
}
assert(text);
assert.equal((await client.models.retrieve(model)).id, model);
