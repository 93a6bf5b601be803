// The three steps as a Restate service: each step is journalled, the last is refused in one saga of ten, and what was
// done before it is undone. Steps do nothing, as those of the measure beside it.
// SPDX-License-Identifier: Apache-2.0
if (!Promise.withResolvers)
  Promise.withResolvers = () => {
    let resolve, reject;
    const promise = new Promise((a, b) => ([resolve, reject] = [a, b]));
    return { promise, resolve, reject };
  };
const restate = await import("@restatedev/restate-sdk");

const saga = restate.service({
  name: "three",
  handlers: {
    run: async (ctx, input) => {
      const undo = [];
      try {
        undo.push("a");
        await ctx.run("a", () => ({ ok: true }));
        undo.push("b");
        await ctx.run("b", () => ({ ok: true }));
        await ctx.run("c", () => {
          if (input.refuse) throw new restate.TerminalError("refused");
          return { ok: true };
        });
        return { status: "completed" };
      } catch (fault) {
        if (!(fault instanceof restate.TerminalError)) throw fault;
        for (const step of undo.reverse()) await ctx.run(`undo ${step}`, () => ({ ok: true }));
        return { status: "compensated" };
      }
    },
  },
});

await restate.serve({ services: [saga], port: Number(process.env.PORT) });
console.log("takes sagas now");
