import * as assert from "uvu/assert";
import { UmsError } from "../../../src/errors.js";
import { locationOf } from "../../../src/frontman/answers.js";
import { understand } from "../../../src/frontman/intake.js";
import { parseListen, parsePortModes } from "../../../src/frontman/modes.js";
import { createPlaceBoard, parseEndpoint, portAt } from "../../../src/frontman/place.js";
import { proxyHeader } from "../../../src/frontman/proxy-protocol.js";
import { suite } from "../../lib/suite.js";

const isInvalid = (error: unknown) =>
  error instanceof UmsError && error.code === "ERR_CONFIG_INVALID";

const test = suite("frontman: words and bytes");

test("ports with modes", () => {
  assert.equal(parsePortModes(""), []);
  assert.equal(parsePortModes("80=redirect, 443=forward"), [
    { port: 80, mode: "redirect" },
    { port: 443, mode: "forward" },
  ]);
  assert.equal(parseListen("8080:80=hold"), { listenPort: 8080, port: 80, mode: "hold" });
  for (const text of [
    "80",
    "80=",
    "80=bounce",
    "0=hold",
    "70000=hold",
    "8080:80=hold",
    "80=hold,80=retry",
  ]) {
    assert.throws(() => parsePortModes(text), isInvalid, text);
  }
});

test("endpoints", () => {
  assert.equal(parseEndpoint("svc.example.org"), { host: "svc.example.org" });
  const mapped = parseEndpoint("https://[2001:db8::1],80=30080,443=30443");
  assert.equal(mapped, {
    host: "2001:db8::1",
    scheme: "https",
    ports: { 80: 30_080, 443: 30_443 },
  });
  assert.is(portAt(mapped, 80), 30_080);
  assert.is(portAt(mapped, 81), 81);
  for (const text of [
    "",
    "a b",
    "host:80",
    "host,80",
    "host,80=0",
    "host,0=80",
    "ftp://host",
    "[::z]",
  ]) {
    assert.throws(() => parseEndpoint(text), isInvalid, text);
  }
});

test("a location keeps path and query and drops nothing but a default port", () => {
  const at = (text: string, port: number, target: string) =>
    locationOf(parseEndpoint(text), port, target);
  assert.is(at("new", 80, "/a%20b?c=/d&e"), "http://new/a%20b?c=/d&e");
  assert.is(at("new,80=8080", 80, "/"), "http://new:8080/");
  assert.is(at("https://new", 443, "/x"), "https://new/x");
  assert.is(at("[2001:db8::1]", 81, "/"), "http://[2001:db8::1]:81/");
  assert.is(at("new", 80, "http://old/a?b"), "http://new/a?b");
  assert.is(at("new", 80, "//evil.example/x"), "http://new//evil.example/x");
  assert.is(at("new", 80, "*"), undefined);
});

test("first bytes tell HTTP/1, HTTP/2 and the rest, and when more are needed", () => {
  const hear = (text: string, isAll = false) => understand(Buffer.from(text, "latin1"), isAll);
  assert.equal(hear("GET /a?b HTTP/1.1\r\n"), { kind: "http1", path: "/a?b" });
  assert.equal(hear("PROPFIND / HTTP/1.0\n"), { kind: "http1", path: "/" });
  assert.equal(hear("PRI * HTTP/2.0\r\n\r\nSM"), { kind: "http2" });
  for (const part of [
    "G",
    "GET",
    "GET ",
    "GET /a",
    "GET /a HT",
    "GET / HTTP/1.1",
    "PRI * HTTP/2",
  ]) {
    assert.is(hear(part), undefined, part);
    assert.equal(hear(part, true), { kind: "other" }, part);
  }
  for (const other of [
    "\x16\x03\x01",
    "*1\r\n$4\r\nPING",
    "get / HTTP/1.1\r\n",
    "GET / HTTP/3.0\r\n",
  ]) {
    assert.equal(hear(other), { kind: "other" }, other);
  }
});

test("PROXY protocol headers are those of the specification", () => {
  const ends = {
    sourceAddress: "::ffff:192.0.2.7",
    sourcePort: 51_000,
    destinationAddress: "198.51.100.1",
    destinationPort: 443,
  };
  assert.is(proxyHeader("v1", ends).toString(), "PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n");
  assert.is(
    proxyHeader("v2", ends).toString("hex"),
    "0d0a0d0a000d0a515549540a" + "2111000c" + "c0000207" + "c6336401" + "c738" + "01bb",
  );
  const ipv6 = { ...ends, sourceAddress: "2001:db8::7", destinationAddress: "::1" };
  assert.is(
    proxyHeader("v2", ipv6).toString("hex"),
    "0d0a0d0a000d0a515549540a" +
      "21210024" +
      "20010db8000000000000000000000007" +
      "00000000000000000000000000000001" +
      "c738" +
      "01bb",
  );
  const unknown = { ...ends, sourceAddress: "" };
  assert.is(proxyHeader("v1", unknown).toString(), "PROXY UNKNOWN\r\n");
  assert.is(proxyHeader("v2", unknown).toString("hex"), "0d0a0d0a000d0a515549540a" + "21000000");
});

test("a board tells of changes alone", () => {
  const board = createPlaceBoard({ state: "moving" });
  let changes = 0;
  const stop = board.subscribe(() => {
    changes += 1;
  });
  board.set({ state: "moving" });
  board.set({ state: "here", endpoint: { host: "a" } });
  board.set({ state: "here", endpoint: { host: "a" } });
  stop();
  board.set({ state: "moving" });
  assert.is(changes, 1);
});

test.run();
