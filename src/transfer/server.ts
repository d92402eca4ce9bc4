/** The accepting side of the data channel. */
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { UmsError } from "../errors.js";
import { tolerateErrors, writeBytes } from "./bytes.js";
import { encodeFrame, readHeader, refusal, type StreamHeader } from "./frame.js";
import {
  expectPeer,
  type IdentitySource,
  type PeerIdentity,
  secureContextOptions,
} from "./security.js";

export interface DataLimits {
  /** For the TLS handshake, and again for the header that follows it, ms. Default 5,000. */
  headerTimeoutMs: number;
  /** Open streams of all peers. Default 64. */
  maxStreams: number;
  /** Open streams of one peer. Default 16. */
  maxStreamsPerPeer: number;
  /** Connections that have not opened a stream yet; more are dropped at once. Default 32. */
  maxPending: number;
  /** Closes a stream on which nothing moves either way for so long, ms; 0 (default) never. */
  idleTimeoutMs: number;
}

const defaultLimits: DataLimits = {
  headerTimeoutMs: 5_000,
  maxStreams: 64,
  maxStreamsPerPeer: 16,
  maxPending: 32,
  idleTimeoutMs: 0,
};

/** How long a refused client gets to read why, ms. */
const refusalLingerMs = 1_000;

export interface DataServerOptions {
  host: string;
  /** 0: the system chooses. */
  port: number;
  tls: IdentitySource;
  /** Throws a UmsError to refuse a stream; its code reaches the client. */
  authorize?: (header: StreamHeader, peer: PeerIdentity) => void | Promise<void>;
  /**
   * Gets each accepted stream; both directions end independently (`allowHalfOpen`). The handler
   * ends or destroys it. When it throws or rejects, the stream is destroyed.
   */
  onStream: (header: StreamHeader, stream: Duplex, peer: PeerIdentity) => void | Promise<void>;
  /** Told of every refused connection and failed handler; for the log. */
  onFailed?: (error: UmsError, remoteAddress: string) => void;
  limits?: Partial<DataLimits>;
}

export interface DataServer {
  port: number;
  /** Stops listening and destroys all streams. */
  close(): Promise<void>;
}

/**
 * Listens for data streams.
 *
 * Whether the client's certificate is good is decided here and not by the TLS layer
 * (`rejectUnauthorized: false`), because TLS 1.3 tells a client of a refusal only after it believes
 * to be connected: it would see a reset. This way it gets the code. Nothing a client sends is read
 * before its certificate is verified.
 */
export async function listenData(options: DataServerOptions): Promise<DataServer> {
  const limits = { ...defaultLimits, ...options.limits };
  const streams = createStreamCounter(limits);
  const sockets = new Set<Socket>();
  let identity = options.tls();
  const server = createServer({
    ...secureContextOptions(identity),
    requestCert: true,
    rejectUnauthorized: false,
    handshakeTimeout: limits.headerTimeoutMs,
    allowHalfOpen: true,
    noDelay: true,
    // Finds a peer whose machine has vanished although neither side has anything to send.
    keepAlive: true,
    keepAliveInitialDelay: 10_000,
  });
  server.maxConnections = limits.maxStreams + limits.maxPending;
  // Before TLS itself sees the connection, so that it gets the renewed certificate.
  server.prependListener("connection", (socket) => {
    keep(socket, sockets);
    const current = options.tls();
    if (current === identity) return;
    identity = current;
    server.setSecureContext(secureContextOptions(current));
  });
  server.on("tlsClientError", (error, socket) => {
    options.onFailed?.(handshakeFailed(error), socket.remoteAddress ?? "unknown");
    socket.destroy();
  });
  server.on("secureConnection", (socket) => {
    const remoteAddress = socket.remoteAddress ?? "unknown";
    tolerateErrors(socket);
    keep(socket, sockets);
    serve(socket).catch((error: unknown) => {
      options.onFailed?.(UmsError.from(error), remoteAddress);
    });
  });

  async function serve(socket: TLSSocket): Promise<void> {
    let opened: { header: StreamHeader; peer: PeerIdentity };
    try {
      const peer = authenticate(socket, identity.identify);
      streams.take(peer.name, socket);
      const header = await readHeader(socket, limits.headerTimeoutMs);
      await options.authorize?.(header, peer);
      opened = { header, peer };
    } catch (error) {
      refuse(socket, UmsError.from(error));
      throw error;
    }
    try {
      const wait = { timeoutMs: limits.headerTimeoutMs, what: "accepting a data stream" };
      await writeBytes(socket, [encodeFrame({ ok: true })], wait);
      setIdleTimeout(socket, limits.idleTimeoutMs);
      await options.onStream(opened.header, socket, opened.peer);
    } catch (error) {
      socket.destroy(UmsError.from(error));
      throw error;
    }
  }

  await listen(server, options.host, options.port);
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** Remembers a connection while it lives: `server.close()` would wait for it for ever. */
function keep(socket: Socket, sockets: Set<Socket>): void {
  sockets.add(socket);
  socket.once("close", () => sockets.delete(socket));
}

/** Whom the client's verified certificate speaks for. */
function authenticate(
  socket: TLSSocket,
  identify: ReturnType<IdentitySource>["identify"],
): PeerIdentity {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) {
    throw new UmsError("ERR_PEER_UNTRUSTED", "the client presented no certificate");
  }
  // No session is ever offered for resumption to our own clients; one that comes is not ours.
  if (!socket.authorized || socket.isSessionReused()) {
    const reason = socket.authorizationError ?? "resumed session";
    throw new UmsError("ERR_PEER_UNTRUSTED", `the client's certificate is not trusted: ${reason}`);
  }
  const peer = identify(certificate);
  expectPeer(peer);
  return peer;
}

/** Sends the reason and closes; reads on meanwhile, or a reset could overtake the reason. */
function refuse(socket: TLSSocket, error: UmsError): void {
  const timer = setTimeout(() => socket.destroy(), refusalLingerMs);
  socket.once("close", () => clearTimeout(timer));
  socket.once("end", () => socket.destroy());
  socket.resume();
  if (socket.writable) socket.end(encodeFrame(refusal(error)));
}

function setIdleTimeout(socket: TLSSocket, idleTimeoutMs: number): void {
  if (idleTimeoutMs === 0) return;
  socket.setTimeout(idleTimeoutMs, () => {
    socket.destroy(new UmsError("ERR_DEADLINE", `nothing moved for ${idleTimeoutMs} ms`));
  });
}

interface StreamCounter {
  /** @throws ERR_NO_ROOM when a limit is reached; frees the place when the socket closes */
  take(peerName: string, socket: TLSSocket): void;
}

function createStreamCounter(limits: DataLimits): StreamCounter {
  const byPeer = new Map<string, number>();
  let total = 0;
  return {
    take(peerName, socket) {
      const own = byPeer.get(peerName) ?? 0;
      if (total >= limits.maxStreams || own >= limits.maxStreamsPerPeer) {
        throw new UmsError(
          "ERR_NO_ROOM",
          `${own} of at most ${limits.maxStreamsPerPeer} data streams of peer "${peerName}" are ` +
            `open, ${total} of at most ${limits.maxStreams} in all`,
        );
      }
      total += 1;
      byPeer.set(peerName, own + 1);
      socket.once("close", () => {
        total -= 1;
        const rest = (byPeer.get(peerName) ?? 1) - 1;
        if (rest === 0) byPeer.delete(peerName);
        else byPeer.set(peerName, rest);
      });
    },
  };
}

function handshakeFailed(error: Error): UmsError {
  return new UmsError("ERR_PEER_UNTRUSTED", `the TLS handshake failed: ${error.message}`, {
    cause: error,
  });
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}
