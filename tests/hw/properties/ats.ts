/**
 * Translation requests and translated transactions in every combination of what decides them. IHI 0070 §3.9.1.2,
 * §3.9.1.3, §5.2 STE.EATS, §13.6.3 to §13.6.5.
 * @module
 */
import { assertEquals } from "@std/assert";
import { AtsScene, IOVA, IPA, PA } from "../../support/ats_scene.ts";
import { fc, type Property } from "./property.ts";

/** What is wrong on the way. */
const DEFECTS = ["nothing", "ste", "stream", "cd", "page", "far page"] as const;

/** CR0.SMMUEN, CR2.REC_CFG_ATS, CR2.RECINVSID. */
const CONTROLS = [
  [true, false, true],
  [true, true, true],
  [true, true, false],
  [true, false, false],
  [false, true, true],
] as const;

interface Scenario {
  readonly enabled: boolean;
  readonly checked: boolean;
  readonly records: boolean;
  readonly badStreams: boolean;
  readonly config: number;
  readonly eats: number;
  /** STE.S1CDMax, with S1DSS=1: requests without a substream skip stage 1. */
  readonly max: number;
  /** Whether the request has substream 1; a translated transaction never does. */
  readonly hasSubstream: boolean;
  readonly defect: typeof DEFECTS[number];
}

/** All of them, but for what decides nothing: bits of CR2 where nothing is recorded by them. */
function* scenarios(): Generator<Scenario> {
  for (const checked of [true, false]) {
    for (const config of [7, 6, 5, 4, 3, 0]) {
      for (const eats of [0, 1, 2, 3]) {
        for (const max of [0, 1]) {
          for (const hasSubstream of [false, true]) {
            for (const defect of DEFECTS) {
              for (const [enabled, records, badStreams] of CONTROLS) {
                if (!badStreams && defect !== "stream") continue;
                yield {
                  enabled,
                  checked,
                  records,
                  badStreams,
                  config,
                  eats,
                  max,
                  hasSubstream,
                  defect,
                };
              }
            }
          }
        }
      }
    }
  }
}

const ALL = [...scenarios()];
const FAR = 64;

const hex = (address: number | bigint): string => address.toString(16);

/** Whether the STE is one that Config and EATS make ILLEGAL. */
function isIllegal({ config, eats }: Scenario): boolean {
  return eats === 2 && (config === 5 || config === 6);
}

/** What STE.EATS amounts to. */
function effective({ config, eats, checked }: Scenario): number {
  if (config === 4 || eats === 3) return 0;
  return eats === 2 && !checked ? 0 : eats;
}

/** The table of §3.9.1.2, line by line. */
function expectedAnswer(scenario: Scenario): string {
  const { enabled, records, badStreams, config, max, hasSubstream, defect } = scenario;
  if (!enabled) return "UR, event 5";
  if (defect === "stream") return records && badStreams ? "CA, event 2" : "CA";
  if (defect === "ste" || isIllegal(scenario)) return records ? "CA, event 4" : "CA";
  if (config < 4) return "UR";
  const eats = effective(scenario);
  if (eats === 0) return "UR, event 5";
  const hasStage1 = config === 5 || config === 7;
  if (hasSubstream && (!hasStage1 || max === 0)) return records ? "CA, event 8" : "CA";
  const skips = hasStage1 && max > 0 && !hasSubstream;
  const usesCd = hasStage1 && !skips;
  if (usesCd && defect === "cd") return records ? "CA, event a" : "CA";
  if (usesCd && (defect === "page" || defect === "far page")) return "none 12";
  if (config === 5) return skips ? `${hex(IOVA >> 30n << 30n)} 30 rw` : `${hex(IPA)} 12 rw`;
  // Stage 2 has a page for both addresses, in the same place.
  if (eats === 1) return `${hex(PA)} 12 rw`;
  return skips ? `${hex(IOVA)} 12 rw` : `${hex(IPA)} 12 rw`;
}

/** The tables of §3.9.1.3. */
function expectedData(scenario: Scenario): string {
  const { enabled, checked, records, config, defect } = scenario;
  if (!enabled) return "abort, event 7";
  if (!checked) return "11";
  if (defect === "stream") return records ? "abort, event 2" : "abort";
  if (defect === "ste" || isIllegal(scenario)) return records ? "abort, event 4" : "abort";
  if (config < 4) return "abort";
  const eats = effective(scenario);
  if (eats === 0) return "abort, event 7";
  return eats === 2 ? "22" : "11";
}

function outcome(scene: AtsScene, scenario: Scenario): [answer: string, data: string] {
  const { config, eats, max, hasSubstream, defect } = scenario;
  scene.ste([
    [0, 0, defect === "ste" ? 0 : 1],
    [3, 1, config],
    [63, 59, max],
    [65, 64, max > 0 ? 1 : 0],
    [93, 92, eats],
  ]);
  const { guest } = scene;
  guest.field(scene.cds(max > 0 && hasSubstream ? 1 : 0), 31, 31, defect === "cd" ? 0 : 1);
  // V, or an address beyond IPS.
  const leaf = guest.load(scene.leaf1);
  if (defect === "page") guest.quad(scene.leaf1, 0n);
  if (defect === "far page") guest.quad(scene.leaf1, leaf | (1n << 47n));
  scene.control(scenario);
  guest.forget();
  const streamId = defect === "stream" ? FAR : 1;
  const answer = scene.ask("w", IOVA, hasSubstream ? 1 : -1, streamId);
  const data = scene.read(BigInt(IPA), streamId);
  guest.quad(scene.leaf1, leaf);
  return [answer, data];
}

/** ATS. */
export const ats: Property = {
  name: "P24: registers, Config, EATS and substreams decide how an endpoint's own translations end",
  runs: ALL.length,
  examples: ALL.map((_, i) => [i]),
  of: (make) => {
    let scene: AtsScene | undefined;
    return fc.property(fc.nat(ALL.length - 1), (i) => {
      scene ??= new AtsScene(make);
      const found = outcome(scene, ALL[i]);
      assertEquals(found, [expectedAnswer(ALL[i]), expectedData(ALL[i])], JSON.stringify(ALL[i]));
    });
  },
};
