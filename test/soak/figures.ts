/** Distributions and trends of series of numbers. */

export interface Distribution {
  min: number;
  p50: number;
  p90: number;
  p99: number;
  max: number;
}

/** Percentiles by nearest rank. @throws TypeError for no values */
export function distributionOf(values: readonly number[]): Distribution {
  const sorted = [...values].sort((a, b) => a - b);
  const rank = (share: number) => {
    const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
    if (value === undefined) throw new TypeError("the distribution of nothing");
    return value;
  };
  return { min: rank(0), p50: rank(0.5), p90: rank(0.9), p99: rank(0.99), max: rank(1) };
}

/** One value at one time, here: after so many moves. */
export interface Point {
  x: number;
  y: number;
}

export interface Trend {
  /** Of the least-squares line, in units of y per unit of x. */
  slope: number;
  /** Standard error of the slope: a slope of less than about two of them may be none. */
  error: number;
}

/** The line of least squares; of fewer than three points or of one x there is none. */
export function trendOf(points: readonly Point[]): Trend | undefined {
  const count = points.length;
  if (count < 3) return undefined;
  const meanX = points.reduce((sum, { x }) => sum + x, 0) / count;
  const meanY = points.reduce((sum, { y }) => sum + y, 0) / count;
  const spread = points.reduce((sum, { x }) => sum + (x - meanX) ** 2, 0);
  if (spread === 0) return undefined;
  const slope = points.reduce((sum, { x, y }) => sum + (x - meanX) * (y - meanY), 0) / spread;
  const residue = points.reduce((sum, { x, y }) => sum + (y - meanY - slope * (x - meanX)) ** 2, 0);
  return { slope, error: Math.sqrt(residue / (count - 2) / spread) };
}
