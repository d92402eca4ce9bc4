/** Many TCP connections on which nothing is said until somebody asks whether they live. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { within } from "../../src/lib/deadline.js";

export interface IdleConnections {
  /**
   * Sends a byte on each connection and waits for it to come back.
   * @returns what went wrong, in words, one entry a connection; none is well
   */
  check(): Promise<string[]>;
  close(): void;
}

/** Opened at a time: less than the service's backlog. */
const batchSize = 100;
const connectTimeoutMs = 30_000;
const answerTimeoutMs = 20_000;

export async function openIdleConnections(
  address: { host: string; port: number },
  count: number,
): Promise<IdleConnections> {
  const connections: IdleConnection[] = [];
  while (connections.length < count) {
    const batch = Array.from(
      { length: Math.min(batchSize, count - connections.length) },
      () => new IdleConnection(connect(address)),
    );
    connections.push(...batch);
    const opened = Promise.all(batch.map((connection) => connection.opened()));
    await within(connectTimeoutMs, `${batch.length} connections`, opened);
  }
  return {
    async check() {
      const problems = await Promise.all(connections.map((connection) => connection.ask()));
      return problems.filter((problem) => problem !== undefined);
    },
    close: () => {
      for (const connection of connections) connection.close();
    },
  };
}

class IdleConnection {
  private broken: string | undefined;

  constructor(private readonly socket: Socket) {
    socket.on("error", (error) => {
      this.broken ??= error.message;
    });
    socket.on("close", () => {
      this.broken ??= "closed";
    });
  }

  async opened(): Promise<void> {
    await once(this.socket, "connect");
  }

  async ask(): Promise<string | undefined> {
    if (this.broken !== undefined) return this.broken;
    const answer = once(this.socket, "data");
    this.socket.write("?");
    try {
      const [data] = await within(answerTimeoutMs, "the answer", answer);
      return String(data) === "?" ? undefined : `answered ${data}`;
    } catch (error) {
      return (error as Error).message;
    }
  }

  close(): void {
    this.socket.destroy();
  }
}
