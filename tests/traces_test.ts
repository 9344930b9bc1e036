import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Behaviour } from "../vmm/trace/corpus/behaviour.ts";
import { corpusFiles, replayTrace } from "./support/trace_corpus.ts";

const FOLDER = new URL("traces", import.meta.url).pathname;
const MOST_BYTES = 10_000_000;

/** What a trace is of, and what its guest must have done so that it is worth replaying. */
interface Expected {
  readonly name: string;
  readonly kernel: RegExp;
  readonly cpuCount: string;
  readonly commandLine: string;
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

const CORPUS: readonly Expected[] = [...DIRECT, ...NESTED]
  .sort((a, b) => a.name < b.name ? -1 : 1);

Deno.test("every recorded guest replays to its last event on the device of today", async (t) => {
  for (const { name, path } of corpusFiles(FOLDER)) {
    await t.step(name, async () => {
      const { header: { guest, iommufd }, behaviour } = await replayTrace(path);
      const expected = CORPUS.find((trace) => trace.name === name);
      if (expected === undefined) throw new Error("This test does not know what it is a trace of");
      assertMatch(guest["kernel"], expected.kernel);
      assertMatch(guest["qemu"], /^\d+\.\d+\.\d+$/);
      assertEquals(guest["cpuCount"], expected.cpuCount);
      assertEquals(guest["commandLine"], expected.commandLine);
      assertEquals(iommufd?.streams, name.includes("nested") ? [8, 16] : undefined);
      assert(resets(behaviour) >= 1);
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
