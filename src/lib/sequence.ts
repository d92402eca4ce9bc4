/** Does what it is given one after another; a failure is its caller's alone and stops nothing. */
export type Sequence = <T>(work: () => T | Promise<T>) => Promise<T>;

export function createSequence(): Sequence {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const next = last.then(work);
    last = next.catch(() => undefined);
    return next;
  };
}
