/** No string of a request may reach a shell: programs are started with argument arrays alone. */
import * as assert from "uvu/assert";
import { readSources } from "../lib/sources.js";
import { suite } from "../lib/suite.js";

/** A shell asked for, a call that uses one, or a program that is one. */
const faulty = [
  /\bshell\s*:(?!\s*false\b)/,
  /\b(exec|execSync)\(\s*[`"']/,
  /import \{[^}]*\b(exec|execSync)\b[^}]*\} from "node:child_process"/,
  /\[\s*["'](?:\/bin\/|\/usr\/bin\/)?(?:ba|da)?sh["']\s*,\s*["']-c/,
];

/** Names a shell that is not ours to start: Docker's own form of a HEALTHCHECK, CMD-SHELL. */
const describing = ["orchestrators/docker/read.ts"];

const test = suite("no shell");

test("the patterns find what they are for", () => {
  const examples = [
    "spawn(file, { shell: true })",
    "execSync(`rm x`)",
    'import { exec } from "node:child_process"',
    'run(["sh", "-c", text])',
  ];
  for (const example of examples) {
    assert.ok(
      faulty.some((pattern) => pattern.test(example)),
      example,
    );
  }
  const fine = ['run(["ls", path])', "pattern.exec(text)", "{ shell: false }"];
  for (const example of fine)
    assert.not(
      faulty.some((pattern) => pattern.test(example)),
      example,
    );
});

test("nothing in src/ starts one", async () => {
  const sources = (await readSources("src")).filter(({ path }) => !describing.includes(path));
  const found = sources.flatMap(({ path, code }) =>
    faulty.filter((pattern) => pattern.test(code)).map((pattern) => `${path}: ${pattern}`),
  );
  assert.equal(found, []);
});

test.run();
