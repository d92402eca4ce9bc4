import * as assert from "uvu/assert";
import { parseMountinfo } from "../../../src/nested/mountinfo.js";
import { withoutNdotsZero } from "../../../src/supervisor/resolver.js";
import {
  baselineEnvironment,
  parseOpenFilesLimit,
  parseVariables,
  serviceEnvironment,
  serviceMounts,
} from "../../../src/supervisor/surroundings-parse.js";
import { suite } from "../../lib/suite.js";

const test = suite("surroundings of the outer container");

test("variables may hold newlines and equal signs", () => {
  assert.equal(parseVariables("A=1\0B=x=y\nz\0\0=odd\0"), ["A=1", "B=x=y\nz"]);
});

test("the service gets all variables but UMS_* and the outer image's own values", () => {
  const given = ["PATH=/bin", "HOME=/root", "HOSTNAME=h", "UMS_IMAGE=x", "A=1", "IMAGE=own"];
  const baseline = [...baselineEnvironment("h"), "IMAGE=own"];
  assert.equal(serviceEnvironment(given, baseline, "*"), ["PATH=/bin", "A=1"]);
});

test("the last pattern that matches decides", () => {
  const given = ["A=1", "SECRET_A=1", "SECRET_PUBLIC=1", "A.B=1"];
  const filter = "*,!SECRET_*, SECRET_PUBLIC";
  assert.equal(serviceEnvironment(given, [], filter), ["A=1", "SECRET_PUBLIC=1", "A.B=1"]);
  assert.equal(serviceEnvironment(given, [], "A"), ["A=1"]);
});

test("mounts are the orchestrator's, not the system's", () => {
  const lines = [
    "1 0 0:1 / / rw - overlay overlay rw",
    "2 1 0:2 / /proc rw - proc proc rw",
    "3 1 0:3 / /dev/shm rw - tmpfs shm rw",
    "4 1 8:1 /x /etc/hosts rw - ext4 /dev/a rw",
    "5 1 8:1 /x /var/lib/docker rw - ext4 /dev/a rw",
    "6 1 0:4 / /run rw - tmpfs tmpfs rw",
    "7 6 0:5 / /run/secrets/db ro - tmpfs tmpfs rw",
    "8 6 0:6 / /run/secrets/kubernetes.io/serviceaccount ro - tmpfs tmpfs rw",
    "9 1 8:1 /v /data/sub rw - ext4 /dev/a rw",
    "10 1 8:1 /v /data ro - ext4 /dev/a rw",
    "11 1 0:7 / /cache rw - tmpfs tmpfs rw",
    "12 1 8:1 /t /own/tls rw - ext4 /dev/a rw",
    "13 1 0:8 / /var/lib/docker/overlay2/1/merged rw - overlay overlay rw",
    "14 1 8:1 /d /dataset rw - ext4 /dev/a rw",
  ];
  const mounts = serviceMounts(parseMountinfo(lines.join("\n")), ["/own/tls"]);
  assert.equal(
    mounts.map(({ destination, readOnly }) => `${destination}${readOnly ? " ro" : ""}`),
    [
      "/cache",
      "/data ro",
      "/data/sub",
      "/dataset",
      "/run/secrets/db ro",
      "/var/run/secrets/kubernetes.io/serviceaccount ro",
    ],
  );
});

test("the limit of open files is read, an unlimited one is not", () => {
  const limits =
    "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024  4096  files\n";
  assert.equal(parseOpenFilesLimit(limits), { soft: 1024, hard: 4096 });
  assert.is(parseOpenFilesLimit("Max open files  unlimited unlimited files"), undefined);
});

test("only ndots:0 is taken out of resolv.conf", () => {
  const given = "nameserver 127.0.0.11\noptions edns0 ndots:0\n";
  assert.is(withoutNdotsZero(given), "nameserver 127.0.0.11\noptions edns0\n");
  assert.is(withoutNdotsZero("options ndots:0\nnameserver ::1\n"), "nameserver ::1\n");
  const kubernetes = "search a.b c.d\noptions ndots:5\n";
  assert.is(withoutNdotsZero(kubernetes), kubernetes);
});

test.run();
