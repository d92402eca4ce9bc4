import { requireGranted } from "../../../src/approach/container/room.js";
import { throwsWith } from "../../lib/errors.js";
import { suite } from "../../lib/suite.js";

const test = suite("room for a service");

test("a capability is granted by the destination, never by the source", () => {
  requireGranted([], []);
  requireGranted(["NET_ADMIN"], ["NET_ADMIN", "SYS_TIME"]);
  requireGranted(["NET_ADMIN"], ["ALL"]);
  throwsWith("ERR_PRIVILEGE_MISSING", () => requireGranted(["NET_ADMIN"], []));
  throwsWith("ERR_PRIVILEGE_MISSING", () => requireGranted(["ALL"], ["NET_ADMIN"]));
});

test.run();
