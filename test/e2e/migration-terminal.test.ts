/** A service on a terminal moves; its line count and its terminals stay. */
import * as assert from "uvu/assert";
import { askOnce, type LineClient, whenAnswering } from "../lib/line-client.js";
import { type OuterContainer, type OuterLab, openOuterLab } from "../lib/outer.js";
import { outerWithFixture } from "../lib/outer-image.js";
import { requires } from "../lib/requires.js";
import { suite } from "../lib/suite.js";

const port = 7000;

const test = suite("migration of a service with a TTY");
let lab: OuterLab;
let source: OuterContainer;
let destination: OuterContainer;
let client: LineClient;

test.before(async () => {
  lab = await openOuterLab("ums-test-terminal");
  const image = await outerWithFixture("programs");
  [source, destination] = await Promise.all([
    lab.start("a", { image, args: ["terminal"], ports: [port], flags: ["-t", "-i"] }),
    lab.start("b"),
  ]);
  client = await whenAnswering(source.port(port));
});

test.after(async () => {
  client?.close();
  await lab?.close();
});

test("has terminals at the destination", async () => {
  assert.match(await source.printed(), "terminal yes");
  assert.is(await client.ask("check"), "ok 0");
  await source.move(destination);
  assert.is(await client.ask("check"), "ok 0");
  assert.is(await askOnce({ host: destination.ip, port }, "check"), "ok 0");
});

if (requires("root", "docker")) test.run();
