// The three steps as a DBOS workflow behind an HTTP server; otherwise as in restate.mjs.
// SPDX-License-Identifier: Apache-2.0
import { DBOS } from "@dbos-inc/dbos-sdk";
import http from "node:http";

const step = (name, refuse) =>
  DBOS.runStep(
    async () => {
      if (refuse) throw new Error("refused");
      return { ok: true };
    },
    { name },
  );

const saga = DBOS.registerWorkflow(
  async (input) => {
    const undo = [];
    try {
      undo.push("a");
      await step("a", false);
      undo.push("b");
      await step("b", false);
      await step("c", input.refuse);
      return { status: "completed" };
    } catch {
      for (const name of undo.reverse()) await step(`undo ${name}`, false);
      return { status: "compensated" };
    }
  },
  { name: "three" },
);

DBOS.setConfig({ name: "bench", systemDatabaseUrl: process.env.DATABASE_URL, runAdminServer: false, logLevel: "error" });
await DBOS.launch();
const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", async () => {
    try {
      const text = JSON.stringify(await saga(JSON.parse(Buffer.concat(chunks).toString())));
      response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
      response.end(text);
    } catch (fault) {
      response.writeHead(500);
      response.end(String(fault));
    }
  });
});
server.keepAliveTimeout = 600000;
server.listen(Number(process.env.PORT), "127.0.0.1", () => console.log("takes sagas now"));
