// A small server on the official TypeScript SDK 2, which speaks both eras.
//
//     node ts2_server.cjs NODE_MODULES stdio
//     node ts2_server.cjs NODE_MODULES http PORT
"use strict";
const { createRequire } = require("node:module");

const [modules, transport, port] = process.argv.slice(2);
const installed = createRequire(`${modules}/here.cjs`);
const { McpServer, ResourceTemplate, completable, createMcpHandler } = installed(
  "@modelcontextprotocol/server",
);
const { z } = installed("zod");

const LANGUAGES = { snakes: ["python"], gems: ["perl", "ruby"] };

function languages(start, context) {
  const family = context?.arguments?.family;
  const words = family ? LANGUAGES[family] : ["perl", "python", "ruby"];
  return words.filter((word) => word.startsWith(start));
}

const text = (said) => ({ content: [{ type: "text", text: said }] });

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new Error("aborted"));
    });
  });
}

function build() {
  const server = new McpServer(
    { name: "ts2", version: "2.4" },
    { instructions: "Add things up.", capabilities: { logging: {} } },
  );
  server.registerTool(
    "add",
    { description: "Add two numbers.", inputSchema: z.object({ a: z.number(), b: z.number() }) },
    async ({ a, b }) => text(String(a + b)),
  );
  server.registerTool(
    "echo",
    { description: "Say it again.", inputSchema: z.object({ text: z.string() }) },
    async ({ text: said }) => text(said),
  );
  server.registerTool(
    "weather",
    {
      description: "Always mild.",
      inputSchema: z.object({ city: z.string() }),
      outputSchema: z.object({ city: z.string(), degrees: z.number() }),
    },
    async ({ city }) => {
      const answer = { city, degrees: 20.5 };
      return { ...text(JSON.stringify(answer)), structuredContent: answer };
    },
  );
  server.registerTool(
    "fail",
    { description: "Fail with a text.", inputSchema: z.object({ text: z.string() }) },
    async ({ text: said }) => {
      throw new Error(said);
    },
  );
  server.registerTool(
    "slow",
    {
      description: "Take some time and report progress.",
      inputSchema: z.object({
        seconds: z.number(),
        steps: z.number().default(1),
        word: z.string().default(""),
      }),
    },
    async ({ seconds, steps, word }, ctx) => {
      process.stderr.write(`slow started ${word}\n`);
      const progressToken = ctx.mcpReq._meta?.progressToken;
      const report = async (progress) => {
        if (progressToken === undefined) return;
        const params = { progressToken, progress, total: steps, message: `step ${progress}` };
        await ctx.mcpReq.notify({ method: "notifications/progress", params });
      };
      await report(0);
      for (let step = 1; step <= steps; step += 1) {
        await pause(seconds / steps, ctx.mcpReq.signal);
        await report(step);
      }
      return text("done");
    },
  );
  server.registerTool(
    "log",
    { description: "Log something, then answer.", inputSchema: z.object({ text: z.string() }) },
    async ({ text: said }, ctx) => {
      await ctx.mcpReq.log("warning", said, "ts2");
      return text("logged");
    },
  );
  server.registerTool(
    "header",
    {
      description: "The value of a header of this very request.",
      inputSchema: z.object({ name: z.string() }),
    },
    async ({ name }, ctx) => text(ctx.http?.req?.headers.get(name) ?? ""),
  );
  server.registerTool("pid", { description: "The server's process id." }, async () =>
    text(String(process.pid)),
  );
  server.registerResource(
    "config",
    "config://app",
    { description: "A resource with a fixed address.", mimeType: "application/json" },
    async (uri) => ({ contents: [{ uri: uri.href, text: '{"theme": "dark"}' }] }),
  );
  server.registerResource(
    "greeting",
    new ResourceTemplate("greeting://{name}", {
      list: undefined,
      complete: { name: (value) => languages(value).slice(0, 2) },
    }),
    { description: "A resource with a parameter." },
    async (uri, { name }) => ({ contents: [{ uri: uri.href, text: `Hello, ${name}!` }] }),
  );
  server.registerPrompt(
    "review",
    {
      description: "A prompt with an argument.",
      argsSchema: z.object({ code: completable(z.string(), languages) }),
    },
    ({ code }) => ({
      messages: [{ role: "user", content: { type: "text", text: `Please review: ${code}` } }],
    }),
  );
  return server;
}

if (transport === "stdio") {
  installed("@modelcontextprotocol/server/stdio").serveStdio(build);
} else {
  const express = installed("express");
  const { toNodeHandler } = installed("@modelcontextprotocol/node");
  process.stdin.on("end", () => process.exit(0)).resume(); // whoever started this is gone
  const app = express();
  app.all("/mcp", toNodeHandler(createMcpHandler(build)));
  app.listen(Number(port), "127.0.0.1");
}
