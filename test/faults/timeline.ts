/** What the service has printed at all its places, put together by the time it printed it. */

interface Line {
  count: number;
  timeMs: number;
}

/**
 * What is wrong with the lines `COUNT UNIX_MS`, undefined when every life of the service counts
 * 1, 2, 3 ... in the order of time, with none missing and none twice. A second copy beside the first
 * would repeat numbers in the middle of them.
 *
 * @param outputs the whole output of each place; an incomplete last line is left out
 * @param lives how many lives there may be at most
 */
export function findTimelineProblem(outputs: readonly string[], lives: number): string | undefined {
  const lines = outputs.flatMap(parse).sort((a, b) => a.timeMs - b.timeMs || a.count - b.count);
  if (lines.length === 0) return "nothing was printed";
  let seenLives = 0;
  let last = 0;
  for (const { count, timeMs } of lines) {
    if (count === 1 && seenLives < lives) {
      seenLives += 1;
    } else if (count !== last + 1) {
      return `${count} (at ${timeMs}) came after ${last}, in life ${seenLives} of ${lives}`;
    }
    last = count;
  }
  return undefined;
}

function parse(output: string): Line[] {
  return output
    .slice(0, output.lastIndexOf("\n") + 1)
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [count, timeMs] = line.split(" ").map(Number);
      // A program that prints no time stays at one place, in its order.
      return { count: count ?? Number.NaN, timeMs: timeMs ?? 0 };
    });
}
