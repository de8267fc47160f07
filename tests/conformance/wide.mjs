// More services of the conformance suite: wide, deep and large; `wide.py` has the same in Python.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.env.NODE_MODULES}/x.js`));
const restate = require("@restatedev/restate-sdk");
const { TerminalError, RestatePromise, TimeoutError } = restate;

const tries = new Map();
const tried = (name) => {
  tries.set(name, (tries.get(name) ?? 0) + 1);
  return tries.get(name);
};
const call = (ctx, service, method, parameter, key) =>
  ctx.genericCall({
    service,
    method,
    key,
    parameter,
    inputSerde: restate.serde.json,
    outputSerde: restate.serde.json,
  });
const terminal = (error) => {
  if (!(error instanceof TerminalError)) throw error;
  return error;
};

const wide = restate.service({
  name: "Wide",
  handlers: {
    double: async (ctx, number) => 2 * number,
    fan_out: async (ctx, width) => {
      const calls = Array.from({ length: width }, (_, number) => call(ctx, "Wide", "double", number));
      return (await RestatePromise.all(calls)).reduce((sum, each) => sum + each, 0);
    },
    steps: async (ctx, count) => {
      let sum = 0;
      for (let at = 0; at < count; at++) sum += await ctx.run(`step ${at}`, () => at);
      return sum;
    },
    deep: async (ctx, depth) => (depth === 0 ? 0 : 1 + (await call(ctx, "Wide", "deep", depth - 1))),
    fails_below: async (ctx, depth) => {
      if (depth === 0) throw new TerminalError("at the bottom", { errorCode: 418 });
      await call(ctx, "Wide", "fails_below", depth - 1);
    },
    first_of: async (ctx, all) => await RestatePromise.race(all.map((each, at) => ctx.sleep(each).map(() => at))),
    settled: async (ctx, numbers) => {
      const ends = await RestatePromise.allSettled(numbers.map((number) => call(ctx, "Wide", "odd", number)));
      return ends.map((end) =>
        end.status === "fulfilled" ? `ok ${end.value}` : `${terminal(end.reason).code} ${end.reason.message}`,
      );
    },
    odd: async (ctx, number) => {
      if (number % 2 === 0) throw new TerminalError(`${number} is even`, { errorCode: 422 });
      return number;
    },
    waits_no_longer: async (ctx, limit) => {
      try {
        await ctx.awakeable().promise.orTimeout(limit);
        return "in time";
      } catch (error) {
        if (!(error instanceof TimeoutError)) throw error;
        return "late";
      }
    },
    waits: async (ctx) => await ctx.awakeable().promise,
    cancels_what_it_called: async (ctx) => {
      const called = call(ctx, "Wide", "waits", null);
      ctx.cancel(await called.invocationId);
      try {
        await called;
      } catch (error) {
        return `${terminal(error).code} ${error.message.toLowerCase()}`;
      }
      return "not cancelled";
    },
    gives_up_in_time: async (ctx, limit) => {
      try {
        await ctx.run(
          "body",
          async () => {
            throw new Error("not today");
          },
          { initialRetryInterval: 10, maxRetryDuration: limit },
        );
      } catch (error) {
        return `gave up: ${terminal(error).message}`;
      }
      return "no error";
    },
    changes: restate.handlers.handler(
      { retryPolicy: { initialInterval: 5, maxAttempts: 2, onMaxAttempts: "pause" } },
      async (ctx, name) => {
        if (tried(name) % 2 === 1) {
          await ctx.run("first", () => 1);
          throw new Error("go on with other code");
        }
        await ctx.sleep(1);
        return "never";
      },
    ),
    length_of_awakeable: async (ctx, key) => {
      const { id, promise } = ctx.awakeable();
      ctx.genericSend({ service: "Holder", method: "hold", key, parameter: id, inputSerde: restate.serde.json });
      return (await promise).length;
    },
    headers_passed_on: async (ctx, value) =>
      await ctx.genericCall({
        service: "Util",
        method: "headers",
        parameter: undefined,
        headers: { "x-passed": value },
        inputSerde: restate.serde.json,
        outputSerde: restate.serde.json,
      }),
  },
});

const turning = (name, other, letter) =>
  restate.object({
    name,
    handlers: {
      turn: async (ctx, turns) => {
        const said = [`${name.toLowerCase()} ${ctx.key}`];
        return turns === 0 ? said : [...said, ...(await call(ctx, other, "turn", turns - 1, `${ctx.key}${letter}`))];
      },
    },
  });

const keeper = restate.object({
  name: "Keeper",
  handlers: {
    fill: async (ctx, size) => ctx.set("text", "x".repeat(size)),
    length: async (ctx) => ((await ctx.get("text")) ?? "").length,
  },
});

const envelope = restate.workflow({
  name: "Envelope",
  handlers: {
    run: async (ctx) => (await ctx.promise("letter")).length,
    deliver: async (ctx, size) => ctx.promise("letter").resolve("x".repeat(size)),
    refuse: async (ctx) => ctx.promise("letter").reject("return to sender"),
  },
});

export const services = [wide, turning("Left", "Right", "r"), turning("Right", "Left", "l"), keeper, envelope];
