/** A device that its host takes back while it is recorded: the trace tells it, and replays. */
import { assertEquals } from "@std/assert";
import { GuestRam } from "../../hw/guest_memory.ts";
import { features } from "../../hw/smmuv3/features.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { EmbeddedIommu } from "../../vmm/embedded_iommu.ts";
import { goodHost } from "../../vmm/iommufd/model/arm_smmuv3.ts";
import { LineReader, type Operation, type TraceHeader } from "../../vmm/trace/format.ts";
import { Recorder } from "../../vmm/trace/recorder.ts";
import { Replayer } from "../../vmm/trace/replay/replayer.ts";

const GBPA = 0x44;
const UPDATE = 0x8000_0000;
const ABORT = 0x10_0000;

/** Two devices that bypass the SMMU; one goes, then the guest has both abort. */
function record(): { header: TraceHeader; operations: Operation[] } {
  const streams = [8, 16];
  const header: TraceHeader = {
    format: "vsmmu-trace",
    version: "1.4",
    features: features(),
    iommufd: { idrs: goodHost(), streams },
    log2tlbSets: 4,
    log2known: 12,
    guest: {},
    began: "2026-01-01T00:00:00.000Z",
  };
  const text: string[] = [];
  const recorder = new Recorder(header, (line) => text.push(line.trimEnd()), () => 0);
  const memory = recorder.memory(new GuestRam());
  const [iommu, smmu] = recorder.start(() => {
    const made = new EmbeddedIommu({
      memory,
      pin: () => -14,
      streams,
      features: features(),
      calls: recorder.iommufd(),
      log: () => {},
      log2tlbSets: 4,
    });
    return [made, new SmmuV3({ memory, host: made.host, log2tlbSets: 4 })];
  });
  const registers = recorder.device(smmu);
  registers.write(GBPA, words(UPDATE | ABORT));
  registers.write(GBPA, words(UPDATE));
  recorder.gone((streamId) => iommu.withdraw(streamId))(8);
  registers.write(GBPA, words(UPDATE | ABORT));
  recorder.end();
  iommu[Symbol.dispose]();
  const reader = new LineReader();
  const [, ...rest] = text.map((line) => reader.line(line));
  return { header, operations: rest.slice(0, -1) as unknown as Operation[] };
}

function words(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

/** The first operation after which the replay was another, or -1. */
function replay(header: TraceHeader, operations: readonly Operation[]): number {
  const replayer = new Replayer(header);
  return operations.findIndex((operation) => replayer.step(operation).length > 0);
}

Deno.test("a trace tells which device went and what that took, and replays", () => {
  const { header, operations } = record();
  assertEquals(operations.map(({ op }) => op), ["start", "write", "write", "stream-gone", "write"]);
  const calls = operations.map(({ calls = [] }) => calls.map(([name]) => name));
  assertEquals(calls.slice(2), [
    ["VFIO_DEVICE_ATTACH_IOMMUFD_PT", "VFIO_DEVICE_ATTACH_IOMMUFD_PT"],
    ["VFIO_DEVICE_DETACH_IOMMUFD_PT", "IOMMU_DESTROY"],
    ["VFIO_DEVICE_ATTACH_IOMMUFD_PT"],
  ]);
  assertEquals(replay(header, operations), -1);
});

Deno.test("a trace that does not tell it replays differently", () => {
  const { header, operations } = record();
  const without = operations.filter(({ op }) => op !== "stream-gone");
  assertEquals(replay(header, without), 3);
});
