/**
 * A guest of numbers whose doors are recorded, and endpoints behind it that translate for themselves or wait.
 * @module
 */
import type { MmioDevice } from "../../hw/device.ts";
import type { EndpointPort } from "../../hw/smmuv3/endpoint_port.ts";
import { features } from "../../hw/smmuv3/features.ts";
import type { Operation, TraceHeader } from "../../vmm/trace/format.ts";
import { LineReader, VERSION } from "../../vmm/trace/format.ts";
import { Recorder } from "../../vmm/trace/recorder.ts";
import type { TraceLine } from "../../vmm/trace/trace_file.ts";
import { Guest, type GuestOptions } from "./guest.ts";

/** A recording in the making. */
export interface RecordedGuest {
  readonly guest: Guest;
  /** Ends it: the trace. */
  readonly end: () => {
    readonly header: TraceHeader;
    readonly lines: TraceLine[];
    /** Its text, a line each. */
    readonly text: readonly string[];
  };
}

const NOBODY: EndpointPort = { invalidate: () => true, respond: () => {} };

/** A guest as `Guest` makes it, with a recorder in each of its doors. */
export function recordedGuest(options: GuestOptions = {}, payload = false): RecordedGuest {
  const text: string[] = [];
  let time = 0;
  const header: TraceHeader = {
    format: "vsmmu-trace",
    version: `${VERSION.major}.${VERSION.minor}`,
    features: features(options.features),
    log2tlbSets: options.log2tlbSets ?? 10,
    log2known: 12,
    guest: { name: "numbers" },
    began: "2026-01-01T00:00:00.000Z",
    payload,
  };
  const recorder = new Recorder(header, (line) => text.push(line), () => time += 0.001);
  const guest = new Guest({
    ...options,
    enabled: false,
    wrap: (ram) => recorder.memory(ram),
    endpoints: recorder.endpoints(options.endpoints ?? NOBODY),
  });
  for (const name of ["eventq", "gerror"] as const) {
    const line = guest[name];
    const wire = recorder.wire(name, { pulse: line.pulse.bind(line), set: () => {} });
    line.pulse = () => wire.pulse();
  }
  const { smmu } = guest;
  const honest = { read: smmu.read.bind(smmu), write32: smmu.write32.bind(smmu) };
  const device: MmioDevice = {
    read: honest.read,
    write: (at, from) => honest.write32(at, new DataView(from.buffer).getUint32(0, true)),
  };
  const registers = recorder.device(device);
  smmu.write32 = (at, value) => registers.write(at, new Uint8Array(Uint32Array.of(value).buffer));
  const [ats, stallable] = [recorder.ats(smmu.atsPort()), recorder.stallable(smmu.stallablePort())];
  const { dma } = smmu;
  Object.assign(smmu, {
    dma: recorder.dma(dma),
    atsPort: () => ats,
    stallablePort: () => stallable,
  });
  guest.enable();
  return {
    guest,
    end: () => {
      recorder.end();
      const reader = new LineReader();
      const lines = text.slice(1, -1).map((line, i) => {
        // As `reader` needs all of them in order, the header too.
        if (i === 0) reader.line(text[0].slice(0, -1));
        const { c: _check, ...operation } = reader.line(line.slice(0, -1))!;
        return { number: i + 2, offset: 0, operation: operation as unknown as Operation };
      });
      return { header, lines, text };
    },
  };
}
