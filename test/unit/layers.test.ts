/** The rules of docs/development.md about what may use what, checked against every import. */
import { posix } from "node:path";
import * as assert from "uvu/assert";
import { type Import, importsOf, readSources, type SourceFile } from "../lib/sources.js";
import { suite } from "../lib/suite.js";

/** A folder imports from rows below its own. */
const rows: Record<string, number> = {
  "main.ts": 5,
  cli: 5,
  supervisor: 5,
  coordinator: 5,
  grpc: 4,
  migration: 3,
  approach: 2,
  checkpoint: 2,
  sync: 2,
  network: 2,
  peer: 2,
  nested: 2,
  criu: 1,
  oci: 1,
  dockerd: 1,
  orchestrators: 1,
  transfer: 1,
  terminal: 1,
  dns: 1,
  webhook: 1,
  frontman: 1,
  lib: 0,
  "errors.ts": 0,
  "config.ts": 0,
  "spec.ts": 0,
  gen: 0,
};

/** These may use any folder of their own row. */
const sideways = new Set(["main.ts", "cli", "supervisor", "approach", "lib", "config.ts"]);

/** And these the named one only: runc is what runs CRIU here. */
const besides: Record<string, string> = { oci: "criu", orchestrators: "dockerd" };

/** Third-party packages (and built-in ones with teeth) and the folders that may import them. */
const packages: Record<string, string[]> = {
  dockerode: ["dockerd", "orchestrators"],
  "@grpc/grpc-js": ["grpc", "peer"],
  "@grpc/reflection": ["grpc"],
  "grpc-health-check": ["grpc"],
  "node-pty": ["terminal"],
  koffi: ["network"],
  "tar-stream": ["sync"],
  "dns-packet": ["dns"],
  "@peculiar/x509": ["peer"],
  jose: ["peer"],
  "reflect-metadata": ["peer"],
  pino: ["lib"],
  commander: ["cli", "main.ts"],
  "cli-progress": ["cli"],
  fastify: ["supervisor", "coordinator"],
  "@fastify/rate-limit": ["coordinator"],
  "@fastify/static": ["coordinator"],
  "@fastify/swagger": ["coordinator"],
  "prom-client": ["supervisor", "coordinator"],
};

/** Generated protobuf types stay at the wire: the rest of the code has its own. */
const genUsers = ["grpc", "peer"];

const maxLines = 400;

function folderOf(path: string): string {
  return path.split("/")[0] ?? path;
}

/** What is wrong with one import, or undefined. */
function importFault(path: string, imported: Import): string | undefined {
  const folder = folderOf(path);
  const { specifier } = imported;
  if (specifier === "node:child_process") {
    // A type starts no program.
    if (imported.isTypeOnly || path === "lib/exec.ts") return undefined;
    return "programs are started by lib/exec.ts only";
  }
  if (!specifier.startsWith(".")) {
    const name = packageName(specifier);
    const users = packages[name];
    if (users === undefined || users.includes(folder)) return undefined;
    return `${name} belongs to ${users.join(", ")}`;
  }
  const target = folderOf(posix.join(posix.dirname(path), specifier).replace(/\.js$/, ".ts"));
  if (target === folder) return undefined;
  const from = rows[folder];
  const to = rows[target];
  if (from === undefined) return `${folder} is in no row of the table`;
  if (to === undefined) return `${target} is in no row of the table`;
  if (target === "gen" && !genUsers.includes(folder)) return "generated types stay in grpc, peer";
  if (to > from) return `${target} is above ${folder}`;
  if (besides[folder] === target) return undefined;
  if (to === from && !sideways.has(folder)) return `${target} is beside ${folder}`;
  return undefined;
}

function packageName(specifier: string): string {
  const parts = specifier.split("/");
  return specifier.startsWith("@") ? parts.slice(0, 2).join("/") : (parts[0] ?? specifier);
}

function usesOf(sources: SourceFile[], pattern: RegExp, allowed: string[]): string[] {
  return sources
    .filter(({ path }) => !allowed.includes(path))
    .flatMap(({ path, code }) =>
      code
        .split("\n")
        .flatMap((line, index) => (pattern.test(line) ? [`src/${path}:${index + 1}`] : [])),
    );
}

const test = suite("layers");

test("the checker itself finds faults", () => {
  const value = (specifier: string): Import => ({ specifier, isTypeOnly: false, line: 1 });
  const faulty: [string, string][] = [
    ["lib/files.ts", "../peer/pki.js"],
    ["transfer/server.ts", "../criu/files.js"],
    ["migration/source.ts", "../gen/ums/migration.js"],
    ["network/tun.ts", "dockerode"],
    ["sync/x.ts", "@grpc/grpc-js/build/src/x.js"],
    ["criu/dump.ts", "node:child_process"],
    ["somewhere/x.ts", "../errors.js"],
  ];
  for (const [path, specifier] of faulty) {
    assert.ok(importFault(path, value(specifier)), `${path} -> ${specifier}`);
  }
  const fine: [string, string][] = [
    ["approach/container.ts", "../checkpoint/dump.js"],
    ["grpc/server.ts", "../gen/ums/migration.js"],
    ["transfer/server.ts", "../errors.js"],
    ["lib/exec.ts", "node:child_process"],
  ];
  for (const [path, specifier] of fine) {
    assert.is(importFault(path, value(specifier)), undefined);
  }
  const code = 'import {\n  a,\n} from "./a.js";\nimport type { B } from "b";\nawait import("c");';
  assert.equal(
    importsOf(code).map(({ specifier, isTypeOnly, line }) => [specifier, isTypeOnly, line]),
    [
      ["./a.js", false, 1],
      ["b", true, 4],
      ["c", false, 5],
    ],
  );
});

test("imports go one way, and packages stay in their folders", async () => {
  const sources = await readSources("src");
  assert.ok(sources.length > 5, "run from the root of the repository");
  const faults = sources.flatMap(({ path, code }) =>
    importsOf(code).flatMap((imported) => {
      const fault = importFault(path, imported);
      return fault === undefined
        ? []
        : [`src/${path}:${imported.line}: ${imported.specifier}: ${fault}`];
    }),
  );
  assert.equal(faults, []);
});

test("the environment is read in one place, and one place ends the process", async () => {
  const sources = await readSources("src");
  // Where `process` is a local name, e.g. for a ServiceSpec's, it is not Node's.
  const shadow = /\b(?:const|let) (?:process\b|\{[^}]*\bprocess\b[^}]*\})/;
  const nodes = sources.filter(({ code }) => !shadow.test(code));
  assert.equal(usesOf(nodes, /\bprocess\.env\b/, ["config.ts", "main.ts"]), []);
  assert.equal(usesOf(sources, /\bprocess\.exit\(/, ["main.ts"]), []);
});

test("no file is longer than 400 lines", async () => {
  const sources = [...(await readSources("src")), ...(await readSources("test"))];
  const long = sources
    .map(({ path, text }) => ({ path, lines: text.trimEnd().split("\n").length }))
    .filter(({ lines }) => lines > maxLines)
    .map(({ path, lines }) => `${path}: ${lines}`);
  assert.equal(long, []);
});

test("there are no barrel files", async () => {
  const sources = await readSources("src");
  const barrels = sources
    .filter(({ path, code }) => {
      const statements = code.split(";").map((part) => part.trim());
      const rest = statements.filter((part) => part !== "" && !/^export[^=]+ from "/.test(part));
      return path.endsWith("index.ts") || rest.length === 0;
    })
    .map(({ path }) => path);
  assert.equal(barrels, []);
});

test.run();
