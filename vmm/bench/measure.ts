/**
 * One line of the table of `vsmmu bench`.
 * @module
 */

/** What was measured. */
export interface Measure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What it is compared with, in the same unit. */
  readonly yardstick?: number;
  /** The value divided by the yardstick. */
  readonly ratio?: number;
  /** What was aimed at, as people say it; nothing for what is there to be compared with. */
  readonly aim?: string;
  readonly isWithin?: boolean;
}

/** As a line for people. */
export function describeMeasure(measure: Measure): string {
  const { name, value, unit, yardstick, ratio, aim, isWithin } = measure;
  const against = yardstick === undefined || ratio === undefined
    ? ""
    : ` against ${yardstick.toFixed(1)}: ${ratio.toFixed(2)}`;
  const measured = `${value.toFixed(1)} ${unit}${against}`;
  const judged = aim === undefined ? "" : `${aim}: ${isWithin ? "yes" : "NO"}`;
  return `${name.padEnd(50)} ${measured.padEnd(36)} ${judged}`.trimEnd();
}
