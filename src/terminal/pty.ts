import { spawn } from "node-pty";

export interface TerminalSize {
  rows: number;
  columns: number;
}

export interface PtyOptions {
  argv: readonly [string, ...string[]];
  env: NodeJS.ProcessEnv;
  size: TerminalSize;
}

/** A program on a pseudo terminal of its own. */
export interface Pty {
  onOutput(listener: (bytes: Buffer) => void): void;
  write(bytes: Buffer): void;
  /** The program gets SIGWINCH. */
  resize(size: TerminalSize): void;
  /** Exit code, 128 + n after signal n. */
  readonly exited: Promise<number>;
  kill(): void;
}

/** Starts a program on a new pseudo terminal (man 7 pty), bytes as they are in both directions. */
export function openPty(options: PtyOptions): Pty {
  const [file, ...args] = options.argv;
  const pty = spawn(file, args, {
    name: "xterm",
    rows: options.size.rows,
    cols: options.size.columns,
    env: options.env,
    // Null: bytes instead of text, or a character cut in two by a read would be lost.
    encoding: null,
  });
  const exited = new Promise<number>((resolve) => {
    pty.onExit(({ exitCode, signal }) => resolve(signal ? 128 + signal : exitCode));
  });
  return {
    // With `encoding: null` node-pty hands out Buffers, which its types do not say.
    onOutput: (listener) => void pty.onData((data) => listener(data as unknown as Buffer)),
    write: (bytes) => pty.write(bytes),
    resize: ({ rows, columns }) => pty.resize(columns, rows),
    exited,
    kill: () => pty.kill(),
  };
}
