/**
 * uvu's `suite`, made to show operating errors.
 *
 * uvu 0.5.6 prints `error.details` of whatever a test throws as a text. A UmsError's details are an
 * object: uvu then fails while printing, in a place where it swallows that failure too, skips the
 * file's remaining tests and exits with 0. It also swallows what a `before` or `after` hook throws.
 */
import { type Callback, type Test, suite as uvuSuite } from "uvu";

/** Makes a suite of tests; use it as uvu's. */
export function suite<T = Record<string, unknown>>(name: string): Test<T> {
  const inner = uvuSuite<T>(name);
  const test = (title: string, handler: Callback<T>) => inner(title, printable(handler));
  const before = Object.assign((hook: Callback<T>) => inner.before(loud(hook)), {
    each: (hook: Callback<T>) => inner.before.each(printable(hook)),
  });
  const after = Object.assign((hook: Callback<T>) => inner.after(loud(hook)), {
    each: (hook: Callback<T>) => inner.after.each(printable(hook)),
  });
  const only = (title: string, handler: Callback<T>) => inner.only(title, printable(handler));
  return Object.assign(test, { before, after, only, skip: inner.skip, run: inner.run }) as Test<T>;
}

function printable<T>(handler: Callback<T>): Callback<T> {
  return async (context) => {
    try {
      await handler(context);
    } catch (error) {
      throw withTextDetails(error);
    }
  };
}

function loud<T>(hook: Callback<T>): Callback<T> {
  return async (context) => {
    try {
      await hook(context);
    } catch (error) {
      console.error("a hook failed:", error);
      throw error;
    }
  };
}

function withTextDetails(error: unknown): unknown {
  if (!(error instanceof Error)) return new Error(`not an Error was thrown: ${String(error)}`);
  const { details, code } = error as { details?: unknown; code?: unknown };
  if (details === undefined || typeof details === "string") return error;
  const shown = new Error(`${code}: ${error.message} ${JSON.stringify(details)}`);
  shown.stack = `${shown.message}\n${(error.stack ?? "").split("\n").slice(1).join("\n")}`;
  return shown;
}
