/** As many clients at a time as a busy service has. */
import type { Socket } from "node:net";
import * as assert from "uvu/assert";
import { poll } from "../../../src/lib/deadline.js";
import { say, withFront, withServer } from "../../lib/front.js";
import { suite } from "../../lib/suite.js";

const test = suite("frontman: many clients");

/** Says who it is at the end of the client's half, after what the client said. */
const echo = (name: string) => (socket: Socket) => {
  socket.pipe(socket, { end: false });
  socket.on("end", () => socket.end(`|${name}`));
};

test("1,000 connections are held and all passed on", async () => {
  const count = 1_000;
  await withServer(echo("new"), (server) =>
    withFront("hold", async ({ frontman, port, appear }) => {
      const answers = Array.from({ length: count }, (_, index) => say(port, `client ${index}`));
      await poll("all are held", () => frontman.stats().held === count, { timeoutMs: 15_000 });
      appear("elsewhere", server);
      for (const [index, answer] of (await Promise.all(answers)).entries()) {
        assert.is(answer, `client ${index}|new`);
      }
      assert.is(frontman.stats().actions.refuse, 0);
    }),
  );
});

test.run();
