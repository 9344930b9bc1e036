/**
 * The guest's invalidations three times: as its SMMU consumed them, as they were passed to Linux, and as the server's own
 * SMMU executed them for that guest. They must be the same.
 * @module
 */
import { get } from "../../hw/bits.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { CMD, COMMAND_SIZE, OP, TLBI } from "../../hw/smmuv3/spec/commands.ts";
import type { IommufdCall } from "../trace/format.ts";
import { runReplay } from "../trace/replay/replayer_run.ts";
import { openTrace, type TraceLine } from "../trace/trace_file.ts";

/** QEMU's trace up to the end of the first guest, whose stage 2 Linux invalidates as a whole then. */
export function untilGuestEnds(trace: string): string {
  const end = trace.indexOf("\nsmmuv3_cmdq_tlbi_s12_vmid ");
  return end < 0 ? trace : trace.slice(0, end);
}

/** How often each invalidation was seen, by what it says without the VMID. */
export type Invalidations = ReadonlyMap<string, number>;

/** The three. */
export interface Columns {
  /** What the guest's SMMU consumed. */
  readonly guest: Invalidations;
  /** What was passed in `IOMMU_HWPT_INVALIDATE`. */
  readonly passed: Invalidations;
  /** What QEMU's SMMUv3 executed with a VMID other than the server's own. */
  readonly executed: Invalidations;
}

/** Events of QEMU's trace that are needed. */
export const TRACED: readonly string[] = [
  "smmuv3_cmdq_opcode",
  "smmuv3_range_inval",
  "smmuv3_cmdq_tlbi_nh",
  "smmuv3_cmdq_tlbi_s12_vmid",
  "smmu_iotlb_inv_asid_vmid",
  "smmuv3_translate_success",
];

/** One kind of command, in numbers. */
export interface ColumnRow {
  /** The manual's name. */
  readonly command: string;
  readonly guest: number;
  readonly passed: number;
  readonly executed: number;
}

/** What the columns say. */
export interface ColumnsVerdict {
  readonly rows: readonly ColumnRow[];
  /** The first invalidation whose numbers differ, with them. */
  readonly difference: string | undefined;
}

const TLBI_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(OP).filter(([name]) => name.startsWith("CMD_TLBI_"))
    .map(([name, code]) => [code, name]),
);

/** Reads a recording, and the trace that QEMU wrote of `smmuv3_*` meanwhile. */
export async function columnsOf(tracePath: string, qemuTrace: string): Promise<Columns> {
  const guest = new Map<string, number>();
  const passed = new Map<string, number>();
  const { header, operations } = await openTrace(tracePath);
  const lines = (async function* (): AsyncGenerator<TraceLine> {
    for await (const line of operations) {
      for (const call of line.operation.calls ?? []) takePassed(passed, call);
      yield line;
    }
  })();
  const { result } = await runReplay(header, lines, {
    make: (options) => {
      const observer = options.observer!;
      return new SmmuV3({
        ...options,
        observer: {
          translation: (...args) => observer.translation(...args),
          transfer: (...args) => observer.transfer(...args),
          event: (...args) => observer.event(...args),
          interrupt: (...args) => observer.interrupt(...args),
          command: (words, error) => {
            if (error === 0) take(guest, words);
            observer.command(words, error);
          },
        },
      });
    },
  });
  if (result.damage !== undefined) throw result.damage;
  return { guest, passed, executed: executedIn(qemuTrace) };
}

/** Compares them. */
export function judgeColumns({ guest, passed, executed }: Columns): ColumnsVerdict {
  const columns = [guest, passed, executed];
  const keys = [...new Set(columns.flatMap((column) => [...column.keys()]))];
  const counts = (key: string): number[] => columns.map((column) => column.get(key) ?? 0);
  const different = keys.find((key) => new Set(counts(key)).size > 1);
  const rows = new Map<string, number[]>();
  for (const key of keys) {
    const command = key.split(" ", 1)[0];
    const row = rows.get(command) ?? [0, 0, 0];
    rows.set(command, counts(key).map((count, i) => count + row[i]));
  }
  return {
    rows: [...rows].map(([command, [guest, passed, executed]]) => ({
      command,
      guest,
      passed,
      executed,
    })),
    difference: different && `${different}: ${counts(different).join(", ")}`,
  };
}

/**
 * How many translations of a stream the server's SMMU did by the tables of each stage, in QEMU's trace: 1, 2, or 3 for both.
 */
export function stagesOf(trace: string, streamId: number): ReadonlyMap<number, number> {
  const stages = new Map<number, number>();
  const of = new RegExp(
    `^smmuv3_translate_success .* sid=0x${streamId.toString(16)} .* stage=(\\d)$`,
    "gm",
  );
  for (const [, stage] of trace.matchAll(of)) {
    stages.set(Number(stage), (stages.get(Number(stage)) ?? 0) + 1);
  }
  return stages;
}

function takePassed(into: Map<string, number>, [name, args, errno, result]: IommufdCall): void {
  if (name !== "IOMMU_HWPT_INVALIDATE" || errno !== 0) return;
  const words = new Uint32Array(Uint8Array.fromHex(args["entries"] as string).slice().buffer);
  const length = COMMAND_SIZE / 4;
  for (let i = 0; i < Number(result); i++) take(into, words.subarray(i * length, (i + 1) * length));
}

/** Counts a command that invalidates translations. */
function take(into: Map<string, number>, words: Uint32Array): void {
  const name = TLBI_NAMES.get(get(words, CMD.Opcode));
  if (name === undefined) return;
  if (name === "CMD_TLBI_NH_ASID") return count(into, `${name} asid=${get(words, TLBI.ASID)}`);
  if (!name.endsWith("_VA") && !name.endsWith("_VAA")) return count(into, name);
  const tg = get(words, TLBI.TG);
  const pages = tg === 0 ? 1 : (get(words, TLBI.NUM) + 1) * 2 ** get(words, TLBI.SCALE);
  const address = BigInt(words[3]) << 32n | BigInt((words[2] & ~0xfff) >>> 0);
  const asid = name.endsWith("_VA") ? ` asid=${get(words, TLBI.ASID)}` : "";
  count(
    into,
    `${name}${asid} addr=0x${address.toString(16)} tg=${tg} pages=${pages} ` +
      `ttl=${get(words, TLBI.TTL)} leaf=${get(words, TLBI.Leaf)}`,
  );
}

function count(into: Map<string, number>, key: string): void {
  into.set(key, (into.get(key) ?? 0) + 1);
}

/**
 * What QEMU's SMMUv3 executed for guests. A line names an opcode; those after it say what was done: a range in pieces, each
 * with a number of pages. Linux makes NH_ALL of a guest's NSNH_ALL, and sends one of its own behind each CMD_TLBI_S2_IPA.
 */
export function executedIn(trace: string): Map<string, number> {
  const executed = new Map<string, number>();
  let opcode = "";
  let range: { readonly text: string; pages: number } | undefined;
  let isOwn = false;
  const flush = (): void => {
    if (range !== undefined) count(executed, range.text.replace("PAGES", String(range.pages)));
    range = undefined;
  };
  for (const line of trace.split("\n")) {
    const [event, ...rest] = line.split(" ");
    if (event === "smmuv3_cmdq_opcode") {
      flush();
      opcode = rest.at(-1)?.replace("SMMU_", "") ?? "";
    } else if (event === "smmuv3_range_inval") {
      const word = Object.fromEntries(rest.map((pair) => pair.split("=")));
      isOwn = word["stage"] !== "1";
      if (word["vmid"] === "0" || isOwn) continue;
      const asid = opcode.endsWith("_VA") ? ` asid=${word["asid"]}` : "";
      range ??= {
        text:
          `${opcode}${asid} addr=${word["addr"]} tg=${word["tg"]} pages=PAGES ttl=${word["ttl"]} ` +
          `leaf=${word["leaf"]}`,
        pages: 0,
      };
      range.pages += Number(word["num_pages"]);
    } else if (event === "smmuv3_cmdq_tlbi_nh" && rest[0] !== "vmid=0") {
      if (!isOwn) count(executed, "CMD_TLBI_NSNH_ALL");
      isOwn = false;
    } else if (event === "smmu_iotlb_inv_asid_vmid" && !line.includes("vmid=0")) {
      count(executed, `${opcode} ${rest.find((word) => word.startsWith("asid="))}`);
    }
  }
  flush();
  return executed;
}
