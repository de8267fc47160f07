// The services of the conformance suite, written with the official TypeScript SDK; `services.py` has the same in Python's.
//
//     node services.mjs PORT

import { appendFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { services as wide } from "./wide.mjs";

const require = createRequire(pathToFileURL(`${process.env.NODE_MODULES}/x.js`));
const restate = require("@restatedev/restate-sdk");
const { TerminalError, RestatePromise } = restate;

const VERSION = process.env.CONFORMANCE_VERSION ?? "v1";
const tell = (what) => appendFileSync(process.env.CONFORMANCE_EFFECTS, `${what}\n`);
const tries = new Map(); // how often something ran in this process, by name
const tried = (name) => {
  tries.set(name, (tries.get(name) ?? 0) + 1);
  return tries.get(name);
};
const hold = (ctx, key, value) =>
  ctx.genericSend({ service: "Holder", method: "hold", key, parameter: value, inputSerde: restate.serde.json });
const jsonCall = (how) => ({
  service: how.service,
  method: how.handler,
  key: how.key,
  parameter: how.body ?? null,
  idempotencyKey: how.idempotency_key,
  inputSerde: restate.serde.json,
  outputSerde: restate.serde.json,
});
const retries = (attempts) => ({ initialRetryInterval: 5, maxRetryAttempts: attempts });

const util = restate.service({
  name: "Util",
  handlers: {
    echo: async (ctx, value) => value,
    version: async () => VERSION,
    version_after: async (ctx, key) => {
      const before = await ctx.run("version", async () => VERSION);
      const { id, promise } = ctx.awakeable();
      hold(ctx, key, id);
      await promise;
      return `${before} ${VERSION}`;
    },
    slow_step: async (ctx, how) => {
      const first = await ctx.run("slow", async () => {
        tell(`${how.name} begins`);
        await new Promise((resolve) => setTimeout(resolve, how.ms));
        return VERSION;
      });
      const after = await ctx.run("after", async () => {
        tell(`${how.name} after`);
        return "done";
      });
      return `${first} ${after}`;
    },
    raw: restate.handlers.handler(
      { accept: "*/*", input: restate.serde.binary, output: restate.serde.binary },
      async (ctx, value) => value,
    ),
    nothing: async () => {},
    headers: async (ctx) => Object.fromEntries(ctx.request().headers),
    fail: async (ctx, how) => {
      throw new TerminalError(how.message, { errorCode: how.code ?? 500 });
    },
    failing_step: async (ctx, message) => {
      try {
        await ctx.run("body", async () => {
          throw new TerminalError(message, { errorCode: 418 });
        });
      } catch (error) {
        if (!(error instanceof TerminalError)) throw error;
        return `${error.code} ${error.message}`;
      }
      return "no error";
    },
    flaky_step: async (ctx, how) => {
      try {
        const at = await ctx.run(
          "body",
          async () => {
            const at = tried(how.name);
            if (at <= how.failures) throw new Error(`try ${at}`);
            return at;
          },
          retries(how.max_attempts),
        );
        return `ok at try ${at}`;
      } catch (error) {
        if (!(error instanceof TerminalError)) throw error;
        return `gave up: ${error.message}`;
      }
    },
    flaky: async (ctx, how) => {
      const at = tried(how.name);
      if (at <= how.failures) throw new Error(`try ${at}`);
      return at;
    },
    steps: async (ctx, names) => {
      const said = [];
      for (const name of names)
        said.push(
          await ctx.run(name, async () => {
            tried(name);
            return `${name} done`;
          }),
        );
      return said;
    },
    tries_of: async (ctx, name) => tries.get(name) ?? 0,
    sleeps: async (ctx, all) => {
      await RestatePromise.all(all.map((each) => ctx.sleep(each)));
      return all.length;
    },
    drawn: async (ctx) => {
      const first = ctx.rand.uuidv4();
      await ctx.run("between", async () => {});
      return [first, ctx.rand.uuidv4()];
    },
    awaits: async (ctx, key) => {
      const { id, promise } = ctx.awakeable();
      hold(ctx, key, id);
      try {
        return await promise;
      } catch (error) {
        if (!(error instanceof TerminalError)) throw error;
        return `rejected: ${error.message}`;
      }
    },
    resolves: async (ctx, how) => {
      if ("reject" in how) ctx.rejectAwakeable(how.id, how.reject);
      else ctx.resolveAwakeable(how.id, how.value);
    },
    first_of: async (ctx, how) => {
      const { id, promise } = ctx.awakeable();
      hold(ctx, how.key, id);
      return await RestatePromise.race([promise.map((value) => `value ${value}`), ctx.sleep(how.ms).map(() => "slept")]);
    },
    all_of: async (ctx, names) =>
      await RestatePromise.all(
        names.map((name, at) =>
          ctx.genericCall(jsonCall({ service: "Util", handler: "slow_echo", body: { value: name, ms: 20 * at } })),
        ),
      ),
    slow_echo: async (ctx, how) => {
      await ctx.sleep(how.ms);
      return how.value;
    },
    attaches: async (ctx, id) => {
      try {
        return await ctx.attach(id);
      } catch (error) {
        if (!(error instanceof TerminalError)) throw error;
        return `${error.code} ${error.message}`;
      }
    },
    cancels: async (ctx, id) => ctx.cancel(id),
    big: async (ctx, size) => {
      const text = await ctx.run("big", async () => "x".repeat(size));
      return await ctx.genericCall(jsonCall({ service: "Util", handler: "echo", body: text }));
    },
    tells: async (ctx) => await ctx.genericCall(jsonCall({ service: "Secret", handler: "told" })),
  },
});

const secret = restate.service({
  name: "Secret",
  handlers: { told: async () => "a secret" },
  options: { ingressPrivate: true },
});

const proxy = restate.service({
  name: "Proxy",
  handlers: {
    call: async (ctx, how) => {
      try {
        return await ctx.genericCall(jsonCall(how));
      } catch (error) {
        if (!(error instanceof TerminalError)) throw error;
        return { error: error.message, code: error.code };
      }
    },
    send: async (ctx, how) => await ctx.genericSend({ ...jsonCall(how), delay: how.delay_ms }).invocationId,
    many: async (ctx, hows) => {
      const calls = [];
      for (const how of hows)
        if (how.send) ctx.genericSend(jsonCall(how));
        else calls.push(ctx.genericCall(jsonCall(how)));
      return await RestatePromise.all(calls);
    },
  },
});

const quick = restate.service({
  name: "Quick",
  handlers: {
    killed: restate.handlers.handler(
      { retryPolicy: { initialInterval: 5, maxAttempts: 3, onMaxAttempts: "kill" } },
      async (ctx, name) => {
        throw new Error(`try ${tried(name)}`);
      },
    ),
    paused: restate.handlers.handler(
      { retryPolicy: { initialInterval: 5, maxAttempts: 2, onMaxAttempts: "pause" } },
      async (ctx, name) => {
        const at = tried(name);
        if (at <= 2) throw new Error(`try ${at}`);
        return `ok at try ${at}`;
      },
    ),
    idles: restate.handlers.handler({ inactivityTimeout: 50 }, async (ctx, key) => {
      const { id, promise } = ctx.awakeable();
      hold(ctx, key, id);
      return await promise;
    }),
    always_suspends: restate.handlers.handler({ inactivityTimeout: 0 }, async (ctx, all) => {
      const said = [];
      for (const each of all) {
        await ctx.sleep(each);
        said.push(await ctx.genericCall(jsonCall({ service: "Util", handler: "echo", body: `slept ${each}` })));
      }
      return said;
    }),
  },
});

const counter = restate.object({
  name: "Counter",
  handlers: {
    add: async (ctx, amount) => {
      const old = (await ctx.get("count")) ?? 0;
      ctx.set("count", old + amount);
      return { old, new: old + amount };
    },
    get: restate.handlers.object.shared(async (ctx) => (await ctx.get("count")) ?? 0),
    reset: async (ctx) => ctx.clear("count"),
    add_then_fail: async (ctx, amount) => {
      ctx.set("count", ((await ctx.get("count")) ?? 0) + amount);
      throw new TerminalError(ctx.key);
    },
  },
});

const keysOf = async (ctx) => (await ctx.stateKeys()).sort();
const storeHandlers = () => ({
  set: async (ctx, entry) => ctx.set(entry.name, entry.value),
  get: restate.handlers.object.shared(async (ctx, name) => await ctx.get(name)),
  keys: restate.handlers.object.shared(keysOf),
  clear: async (ctx, name) => ctx.clear(name),
  clear_all: async (ctx) => {
    const before = await keysOf(ctx);
    ctx.clearAll();
    return before;
  },
  mixed: async (ctx) => {
    const said = [await ctx.get("a")];
    ctx.set("a", 1);
    ctx.set("b", 2);
    said.push(await ctx.get("a"), await keysOf(ctx));
    ctx.clear("a");
    said.push(await ctx.get("a"), await keysOf(ctx));
    ctx.clearAll();
    return [...said, await ctx.get("b"), await keysOf(ctx)];
  },
});
const store = restate.object({ name: "Store", handlers: storeHandlers() });
const lazy = restate.object({ name: "LazyStore", handlers: storeHandlers(), options: { enableLazyState: true } });

const holder = restate.object({
  name: "Holder",
  handlers: {
    hold: async (ctx, value) => ctx.set("value", value),
    get: restate.handlers.object.shared(async (ctx) => await ctx.get("value")),
  },
});

const blocker = restate.object({
  name: "Blocker",
  handlers: {
    block: async (ctx, how) => {
      const child = { service: "Blocker", handler: "block", key: `${ctx.key}-child`, body: "awakeable" };
      hold(ctx, ctx.key, "blocked");
      try {
        if (how === "sleep") await ctx.sleep(86_400_000);
        else if (how === "awakeable") await ctx.awakeable().promise;
        else if (how === "call") await ctx.genericCall(jsonCall(child));
        else {
          ctx.genericSend(jsonCall(child));
          await ctx.awakeable().promise;
        }
      } catch (error) {
        if (!(error instanceof TerminalError)) throw error;
        hold(ctx, `${ctx.key}-undone`, error.code);
        throw error;
      }
      return "never";
    },
    pings: async () => "free",
  },
});

const flow = restate.workflow({
  name: "Flow",
  handlers: {
    run: async (ctx, value) => {
      ctx.set("input", value);
      let got;
      try {
        got = await ctx.promise("go");
      } catch (error) {
        if (!(error instanceof TerminalError)) throw error;
        got = `rejected: ${error.message}`;
      }
      ctx.set("state", "done");
      return [value, got];
    },
    resolve: async (ctx, value) => {
      try {
        await ctx.promise("go").resolve(value);
      } catch (error) {
        if (!(error instanceof TerminalError)) throw error;
        return `${error.code} ${error.message}`;
      }
      return "resolved";
    },
    reject: async (ctx, message) => {
      await ctx.promise("go").reject(message);
      return "rejected";
    },
    peek: async (ctx) => await ctx.promise("go").peek(),
    state: async (ctx) => await ctx.get("input"),
  },
});

restate.serve({
  services: [util, proxy, secret, quick, counter, store, lazy, holder, blocker, flow, ...wide],
  port: Number(process.argv[2]),
});
