// What the official TypeScript client does with a server, as one JSON document.
//
//     node clients.mjs INGRESS KEY

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.env.NODE_MODULES}/x.js`));
const clients = require("@restatedev/restate-sdk-clients");

const [ingress, key] = process.argv.slice(2);
const client = clients.connect({ url: ingress });
const util = client.serviceClient({ name: "Util" });
const counter = client.objectClient({ name: "Counter" }, key);
const counterSend = client.objectSendClient({ name: "Counter" }, key);
const flow = client.workflowClient({ name: "Flow" }, key);
const said = {};

said.call = await util.echo({ a: [1, "ü"] });
said.object = await counter.add(1);
said.once = [
  await counter.add(10, clients.rpc.opts({ idempotencyKey: key })),
  await counter.add(10, clients.rpc.opts({ idempotencyKey: key })),
];
const sent = await counterSend.add(100, clients.rpc.sendOpts({ idempotencyKey: `${key}-sent` }));
said.sent = [sent.status, sent.attachable, await client.result(sent)];
const delayed = await counterSend.add(1000, clients.rpc.sendOpts({ idempotencyKey: `${key}-delayed`, delay: 100 }));
said.delayed = await client.result(delayed);
try {
  await util.fail({ message: "no", code: 418 });
} catch (error) {
  said.failure = [error.status, JSON.parse(error.responseText).message];
}
const submitted = await flow.workflowSubmit("in");
said.submitted = submitted.status;
said.pending = await flow.workflowOutput();
said.again = (await flow.workflowSubmit("in")).status;
await flow.resolve("out");
said.attached = await flow.workflowAttach();
said.output = await flow.workflowOutput();
const waiting = await client.serviceSendClient({ name: "Util" }).awaits(key, clients.rpc.sendOpts({ idempotencyKey: `${key}-w` }));
let id = "";
// Not with the client: it names a content type where a handler takes no input, which the Python SDK's handlers refuse.
while (!id.startsWith('"')) id = await (await fetch(`${ingress}/Holder/${key}/get`, { method: "POST" })).text();
id = JSON.parse(id);
await client.resolveAwakeable(id, "woken");
said.awakeable = await client.result(waiting);
delete said.pending.result;
console.log(JSON.stringify(said));
process.exit(0);
