import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { describeConfig } from "../../../src/config.js";
import { suite } from "../../lib/suite.js";

const test = suite("configuration page");

test("has every variable with its meaning", () => {
  const page = readFileSync("docs/configuration.md", "utf8");
  const missing = describeConfig().filter(
    ({ name, description }) =>
      !page.includes(`| \`${name}\` |`) || !page.includes(description.replaceAll("|", "\\|")),
  );
  assert.equal(missing, []);
});

test.run();
