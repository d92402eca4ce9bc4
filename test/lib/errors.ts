/** Expecting operating errors. */
import * as assert from "uvu/assert";
import { type ErrorCode, UmsError } from "../../src/errors.js";

/** Waits for `work` to fail with exactly this code, and returns the error. */
export async function rejectsWith(code: ErrorCode, work: Promise<unknown>): Promise<UmsError> {
  const outcome = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  return expectCode(code, outcome);
}

/** Calls `act`, which must throw exactly this code, and returns the error. */
export function throwsWith(code: ErrorCode, act: () => unknown): UmsError {
  let thrown: unknown;
  try {
    act();
  } catch (error) {
    thrown = error;
  }
  return expectCode(code, thrown);
}

function expectCode(code: ErrorCode, thrown: unknown): UmsError {
  if (!(thrown instanceof UmsError)) {
    if (thrown instanceof Error) throw thrown;
    assert.unreachable(`expected ${code}, but nothing was thrown`);
  }
  const error = thrown as UmsError;
  assert.is(error.code, code, `${error.code}: ${error.message}`);
  return error;
}
