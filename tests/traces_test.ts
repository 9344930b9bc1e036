import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Behaviour } from "../vmm/trace/corpus/behaviour.ts";
import type { Operation, Output } from "../vmm/trace/format.ts";
import { Replayer } from "../vmm/trace/replay/replayer.ts";
import { openTrace } from "../vmm/trace/trace_file.ts";
import { corpusFiles, replayTrace } from "./support/trace_corpus.ts";

const FOLDER = new URL("traces", import.meta.url).pathname;
const MOST_BYTES = 10_000_000;

/** What a trace is of, and what its guest must have done so that it is worth replaying. */
interface Expected {
  readonly name: string;
  readonly kernel: RegExp;
  /** Nothing of programs without a guest. */
  readonly cpuCount?: string;
  readonly commandLine?: string;
  /** Whether there was no QEMU either. */
  readonly isAlone?: boolean;
  /** Of the hardware behind the SMMU. */
  readonly streams?: readonly number[];
  readonly holds: (behaviour: Behaviour) => void;
}

const DISK = "console=ttyAMA0 vsmmu.run=disk";
const PLAIN = /^7\.3\.\d+\S*-arm64$/;

const count = ({ counts }: Behaviour, name: string): number => counts[name] ?? 0;
const resets = ({ registers }: Behaviour): number =>
  registers.filter((line) => line === "reset").length;

/** A page at a time, each waited for. */
function isStrict(behaviour: Behaviour): void {
  assert(count(behaviour, "CMD_TLBI_NH_VA") > 500);
  assert(count(behaviour, "CMD_SYNC") > count(behaviour, "CMD_TLBI_NH_VA"));
  isQuiet(behaviour);
}

function isQuiet({ events, refusals, interrupts }: Behaviour): void {
  assertEquals({ events, refusals, interrupts }, { events: [], refusals: [], interrupts: [] });
}

const DIRECT: readonly Expected[] = [
  {
    name: "linux-6.12-strict",
    kernel: /^6\.12\.\d+\S*-arm64$/,
    cpuCount: "2",
    commandLine: DISK,
    holds: isStrict,
  },
  {
    name: "linux-7.3-16k",
    kernel: /^7\.3\.\d+\S*-arm64-16k$/,
    cpuCount: "2",
    commandLine: DISK,
    holds: isStrict,
  },
  { name: "linux-7.3-4cpus", kernel: PLAIN, cpuCount: "4", commandLine: DISK, holds: isStrict },
  {
    name: "linux-7.3-domains",
    kernel: PLAIN,
    cpuCount: "2",
    commandLine: "console=ttyAMA0 vsmmu.run=domains,disk",
    holds: (behaviour): void => {
      isStrict(behaviour);
      const ofDisk = behaviour.configuration.filter((line) => line.includes("StreamID 0x8 "));
      assert(ofDisk.filter((line) => line.startsWith("CMD_CFGI_STE ")).length > 2);
      assert(ofDisk.filter((line) => line.startsWith("CMD_CFGI_CD ")).length > 2);
      assert(count(behaviour, "CMD_TLBI_NH_ASID") > 0);
    },
  },
  {
    name: "linux-7.3-fault",
    kernel: PLAIN,
    cpuCount: "2",
    commandLine: "console=ttyAMA0 vsmmu.run=fault,disk vsmmu.iova=0x123456780000",
    holds: ({ events, interrupts, requests }): void => {
      assertEquals(events, ["F_TRANSLATION StreamID 0x10"]);
      assertEquals(interrupts, ["eventq"]);
      assert(requests.includes("dma-write StreamID 0x10 not"));
    },
  },
  {
    name: "linux-7.3-lazy",
    kernel: PLAIN,
    cpuCount: "2",
    commandLine: `${DISK} iommu.strict=0`,
    holds: (behaviour): void => {
      assert(count(behaviour, "CMD_TLBI_NH_ASID") > 0);
      assert(count(behaviour, "CMD_SYNC") < 500);
      isQuiet(behaviour);
    },
  },
  {
    name: "linux-7.3-passthrough",
    kernel: PLAIN,
    cpuCount: "2",
    commandLine: `${DISK} iommu.passthrough=1`,
    holds: (behaviour): void => {
      assertEquals(behaviour.invalidations, []);
      assert(count(behaviour, "dma-write") > 500);
      isQuiet(behaviour);
    },
  },
  {
    name: "linux-7.3-reboot",
    kernel: PLAIN,
    cpuCount: "2",
    commandLine: "console=ttyAMA0 vsmmu.run=disk,reboot,disk",
    holds: (behaviour): void => {
      isStrict(behaviour);
      const { registers, configuration } = behaviour;
      const second = registers.lastIndexOf("reset");
      assert(second > 20);
      assertEquals(registers.slice(second), registers.slice(0, second));
      const half = configuration.length / 2;
      assertEquals(configuration.slice(half), configuration.slice(0, half));
    },
  },
  { name: "linux-7.3-strict", kernel: PLAIN, cpuCount: "2", commandLine: DISK, holds: isStrict },
];

/** The same guests with an iommufd behind the SMMU: each invalidation of a stream's is passed on. */
const NESTED = ["strict", "domains", "fault", "lazy", "reboot"].map((kind): Expected => {
  const direct = DIRECT.find(({ name }) => name === `linux-7.3-${kind}`)!;
  return {
    ...direct,
    name: kind === "strict" ? "linux-7.3-nested" : `linux-7.3-nested-${kind}`,
    holds: (behaviour): void => {
      direct.holds(behaviour);
      assertEquals(count(behaviour, "iommufd IOMMU_VIOMMU_ALLOC"), 1);
      assert(count(behaviour, "iommufd VFIO_DEVICE_ATTACH_IOMMUFD_PT") > 4);
      assertEquals(count(behaviour, "iommufd read"), behaviour.events.length);
      const invalidations = count(behaviour, "iommufd IOMMU_HWPT_INVALIDATE");
      assert(invalidations > 0 && invalidations < count(behaviour, "CMD_SYNC"));
    },
  };
});

/** What endpoints do that translate for themselves or can wait, and tables that Linux does not make here. */
const ENDPOINTS: readonly Expected[] = [
  {
    name: "linux-7.3-ats",
    kernel: /^the user's own$/,
    cpuCount: "2",
    commandLine: "console=ttyAMA0 vsmmu.run=ats",
    holds: (behaviour): void => {
      const { requests, refusals, events } = behaviour;
      assertEquals({ refusals, events }, { refusals: [], events: [] });
      assert(requests.includes("translation-request StreamID 0x10 rw"));
      assert(requests.includes("translated-write StreamID 0x10 done"));
      assert(requests.includes("page-request StreamID 0x10"));
      assert(count(behaviour, "endpoint invalidated") >= 2);
      assertEquals(count(behaviour, "endpoint answered 0"), 1);
    },
  },
  {
    name: "linux-7.3-pasids",
    kernel: /^the user's own$/,
    cpuCount: "1",
    commandLine: "console=ttyAMA0 vsmmu.run=pasids iommu.strict=1 vsmmu.iova=0x123456780000 " +
      "vsmmu.nvme=4 vsmmu.config=0000:00:04.0 iommufd.allow_unsafe_interrupts=1 " +
      "vsmmu.pasids=0000:00:04.0",
    streams: [0x20],
    holds: (behaviour): void => {
      const { events, refusals, configuration } = behaviour;
      assertEquals(refusals, []);
      assertEquals(
        events,
        ["F_TRANSLATION", "F_TRANSLATION", "F_TRANSLATION"].map((event) =>
          `${event} StreamID 0x20`
        ),
      );
      const ofPasids = configuration.filter((line) => line.startsWith("CMD_CFGI_CD StreamID 0x20"));
      assert(ofPasids.length >= 4, `${ofPasids.length}`);
    },
  },
  {
    name: "program-endpoints",
    kernel: /PASIDs, ATS and page requests; 64K tables; both stages$/,
    holds: (behaviour): void => {
      const { requests, events, refusals } = behaviour;
      assertEquals(refusals, []);
      assertEquals(events, [
        "C_BAD_CD StreamID 0x8",
        "F_STREAM_DISABLED StreamID 0x8",
        "F_TRANSLATION StreamID 0x48",
        "F_TRANSL_FORBIDDEN StreamID 0x48",
      ]);
      for (const pasid of [1, 2]) {
        assert(requests.includes(`dma-write StreamID 0x8 SubstreamID ${pasid} done`));
        assert(requests.includes(`translated-write StreamID 0x8 SubstreamID ${pasid} done`));
        assert(requests.includes(`translation-request StreamID 0x8 SubstreamID ${pasid} rw`));
      }
      assert(requests.includes("translation-request StreamID 0x8 SubstreamID 2 nothing"));
      assert(requests.includes("translation-request StreamID 0x48 rw"));
      assertEquals(count(behaviour, "endpoint invalidated"), 2);
      // By software, by the SMMU itself.
      assert(count(behaviour, "endpoint answered 2") >= 2);
    },
  },
  {
    name: "program-stalls",
    kernel: /transactions that wait for software$/,
    isAlone: true,
    holds: (behaviour): void => {
      assertEquals(count(behaviour, "wait ended done"), 4);
      assertEquals(count(behaviour, "wait ended not"), 5);
      assertEquals(count(behaviour, "CMD_STALL_TERM"), 1);
      assert(count(behaviour, "CMD_RESUME") > 8);
    },
  },
  {
    name: "program-tables",
    kernel: /stage 1, stage 2 and both, with granules of 4, 16 and 64 KiB$/,
    holds: (behaviour): void => {
      const { events, refusals } = behaviour;
      const names = new Set(events.map((line) => line.split(" ")[0]));
      const met = ["C_BAD_CD", "C_BAD_STE", "F_ADDR_SIZE", "F_PERMISSION", "F_TRANSLATION"];
      for (const name of met) assert(names.has(name), `${name} of ${[...names]}`);
      assert(refusals.length > 5);
      assert(count(behaviour, "CMD_TLBI_S2_IPA") > 0 && count(behaviour, "CMD_TLBI_S12_VMALL") > 0);
      assert(count(behaviour, "dma-write") > 300);
    },
  },
];

const CORPUS: readonly Expected[] = [...DIRECT, ...NESTED, ...ENDPOINTS]
  .sort((a, b) => a.name < b.name ? -1 : 1);

Deno.test("every recorded guest replays to its last event on the device of today", async (t) => {
  for (const { name, path } of corpusFiles(FOLDER)) {
    await t.step(name, async () => {
      const { header: { guest, iommufd }, behaviour } = await replayTrace(path);
      const expected = CORPUS.find((trace) => trace.name === name);
      if (expected === undefined) throw new Error("This test does not know what it is a trace of");
      assertMatch(guest["kernel"], expected.kernel);
      if (expected.isAlone !== true) assertMatch(guest["qemu"], /^\d+\.\d+\.\d+$/);
      assertEquals(guest["cpuCount"], expected.cpuCount);
      assertEquals(guest["commandLine"], expected.commandLine);
      assertEquals(iommufd?.streams, name.includes("nested") ? [8, 16] : expected.streams);
      if (expected.isAlone !== true) assert(resets(behaviour) >= 1);
      expected.holds(behaviour);
    });
  }
});

Deno.test("the corpus is complete, and small enough to be cloned", () => {
  const files = corpusFiles(FOLDER);
  assertEquals(files.map(({ name }) => name), CORPUS.map(({ name }) => name));
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  assert(sizeBytes <= MOST_BYTES, `${sizeBytes} bytes`);
});

Deno.test("canary: one bit of whatever the device did otherwise is noticed, in each line of the traces of endpoints", async (t) => {
  for (const { name } of ENDPOINTS) {
    await t.step(name, async () => {
      const { header, operations } = await openTrace(`${FOLDER}/${name}.jsonl.gz`);
      const replayer = new Replayer(header);
      const kinds = new Set<string>();
      for await (const { operation, number } of operations) {
        const changed = withOtherBit(operation);
        const differences = replayer.step(changed ?? operation);
        assertEquals(differences.length > 0, changed !== undefined, `line ${number}`);
        if (changed !== undefined) kinds.add(operation.out?.[0][0] ?? operation.op);
      }
      assert(kinds.size >= 3, [...kinds].join());
    });
  }
});

/** An operation of which something came out otherwise: its first output, or else its result. */
function withOtherBit(operation: Operation): Operation | undefined {
  const [first, ...rest] = operation.out ?? [];
  if (first !== undefined) {
    return { ...operation, out: [first.map(otherBit) as unknown as Output, ...rest] };
  }
  if (operation.op === "read") return { ...operation, bytes: otherDigit(operation.bytes) };
  if ("ok" in operation) return { ...operation, ok: !operation.ok };
  if ("status" in operation) return { ...operation, status: operation.status ^ 1 };
  return undefined;
}

/** The element of an output that says where, what or whether; not its kind, and no checksum. */
function otherBit(value: unknown, at: number, output: readonly unknown[]): unknown {
  const changed: Readonly<Record<string, number>> = { store: 2, exchange: 3, respond: 4, end: 2 };
  if (at !== (changed[output[0] as string] ?? 1)) return value;
  if (typeof value === "number") return value ^ 1;
  return typeof value === "boolean" ? !value : otherDigit(String(value));
}

/** Hexadecimal with another last digit; another word where it is none. */
function otherDigit(text: string): string {
  const last = parseInt(text.at(-1)!, 16);
  return Number.isNaN(last) ? `${text}?` : text.slice(0, -1) + (last ^ 1).toString(16);
}
