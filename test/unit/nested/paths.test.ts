import * as assert from "uvu/assert";
import { parseMountinfo } from "../../../src/nested/mountinfo.js";
import { cgroupDirectories } from "../../../src/nested/paths.js";
import { suite } from "../../lib/suite.js";

const test = suite("paths of the nested container");

const v1 = [
  "30 25 0:26 /docker/outer /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory",
  "31 25 0:27 /docker/outer /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
].join("\n");

test("takes the outer container's own part off cgroup v1 paths", () => {
  const cgroup = "9:memory:/docker/outer/docker/inner\n3:cpu,cpuacct:/docker/outer/docker/inner\n";
  assert.equal(cgroupDirectories(cgroup, parseMountinfo(v1)), {
    memory: "/sys/fs/cgroup/memory/docker/inner",
    cpu: "/sys/fs/cgroup/cpu,cpuacct/docker/inner",
    cpuacct: "/sys/fs/cgroup/cpu,cpuacct/docker/inner",
  });
});

test("knows the one directory of cgroup v2", () => {
  const mounts = parseMountinfo("30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw");
  assert.equal(cgroupDirectories("0::/docker/inner\n", mounts), {
    "": "/sys/fs/cgroup/docker/inner",
  });
});

test("leaves out what lies outside of the mount", () => {
  assert.equal(cgroupDirectories("9:memory:/docker/outsider\n", parseMountinfo(v1)), {});
});

test("reads escaped mount points, read-only mounts and optional fields", () => {
  const line = "36 35 98:0 /a /mnt/two\\040words ro,noatime master:1 shared:7 - ext4 /dev/sda rw";
  assert.equal(parseMountinfo(line), [
    {
      root: "/a",
      mountPoint: "/mnt/two words",
      readOnly: true,
      fsType: "ext4",
      source: "/dev/sda",
      superOptions: ["rw"],
    },
  ]);
});

test.run();
