/**
 * The features of the SMMU, as a flag.
 * @module
 */
import { DEFAULT_FEATURES, type Features, features } from "../../hw/smmuv3/features.ts";
import { ATS_FEATURES } from "../machine_plan.ts";
import { type Flag, UsageError, type Values } from "./command.ts";

/** What the SMMU offers. */
export const FEATURES_FLAG: Readonly<Record<string, Flag>> = {
  features: {
    value: "NAME[=VALUE],…",
    help:
      "Features of the SMMU other than the defaults, as the README's table has them: stage2,granule64K,httu=2,msi=off",
  },
};

const SWITCH: Readonly<Record<string, boolean>> = { on: true, off: false };

/**
 * What the flag says; undefined when it is not given. Throws `UsageError`, also for features that cannot be together, those
 * of `--ats` among them.
 */
export function featuresOf(values: Values): Partial<Features> | undefined {
  const text = values.text("features");
  if (text === undefined) return undefined;
  const wrong = (why: string): UsageError =>
    new UsageError(`Cannot use --features ${text}: ${why}`);
  const chosen: Record<string, number | boolean> = {};
  for (const word of text.split(",")) {
    const [, name, value] = /^([^=]*)(?:=(.*))?$/.exec(word) ?? [];
    if (!Object.hasOwn(DEFAULT_FEATURES, name)) {
      const known = Object.keys(DEFAULT_FEATURES).join(", ");
      throw wrong(`"${word}" is none of ${known}`);
    }
    if (Object.hasOwn(chosen, name)) throw wrong(`${name} is there more than once`);
    if (typeof DEFAULT_FEATURES[name as keyof Features] === "number") {
      if (!/^\d{1,4}$/.test(value ?? "")) throw wrong(`${name} needs a number, as in ${name}=1`);
      chosen[name] = Number(value);
    } else {
      if (!Object.hasOwn(SWITCH, value ?? "on")) throw wrong(`${name} is on or off, not ${value}`);
      chosen[name] = SWITCH[value ?? "on"];
    }
  }
  try {
    features({ ...chosen, ...(values.on("ats") ? ATS_FEATURES : {}) });
  } catch (error) {
    if (error instanceof RangeError) throw wrong(error.message);
    throw error;
  }
  return chosen;
}
