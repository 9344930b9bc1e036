/**
 * The beginning of a recording: its header.
 * @module
 */
import type { Features } from "../hw/smmuv3/features.ts";
import type { HostIdentity } from "./host_iommu/host_identity.ts";
import { goodHost } from "./iommufd/model/arm_smmuv3.ts";
import type { DeviceConfiguration } from "./device_configuration.ts";
import { type TraceHeader, VERSION } from "./trace/format.ts";
import { Recorder } from "./trace/recorder.ts";
import { TextRing } from "./trace/ring.ts";

/** log2 of the quads that a reader of a trace remembers: 24 MiB of its memory. */
const LOG2_KNOWN = 20;

/** What a header tells of the device. */
export interface RecordedDevice {
  /** What it offers. */
  readonly features: Features;
  /** log2 of the sets of its TLB. */
  readonly log2tlbSets: number;
  /** The SMMU of the host behind it, if there is one. */
  readonly host: HostIdentity | undefined;
}

/** The streams of which the model is the hardware: it has no ATS, so endpoints that translate for themselves pass the SMMU. */
export function modelledStreams(endpoints: DeviceConfiguration["endpoints"]): number[] {
  return endpoints.filter((endpoint) => endpoint.kind !== "dma-test" || endpoint.ats !== true)
    .map(({ streamId }) => streamId);
}

/** Begins the recording that a configuration asks for; `stack` ends it. */
export function startRecording(
  { recording, iommufd, registers, endpoints }: DeviceConfiguration,
  { features, log2tlbSets, host }: RecordedDevice,
  stack: DisposableStack,
): Recorder | undefined {
  if (recording === undefined) return undefined;
  const { ring, guest, payload } = recording;
  const text = new TextRing(ring);
  const began = performance.now();
  const header: TraceHeader = {
    format: "vsmmu-trace",
    version: `${VERSION.major}.${VERSION.minor}`,
    features,
    ...(iommufd === "none" || iommufd === undefined ? {} : {
      iommufd: {
        idrs: host === undefined ? goodHost() : [...host.idr, host.iidr, host.aidr],
        ...(iommufd === "kernel" ? { isKernel: true } : {}),
        streams: iommufd === "model"
          ? modelledStreams(endpoints)
          : endpoints.filter(({ kind }) => kind === "vfio").map(({ streamId }) => streamId),
      },
    }),
    ...(registers === "mapped" ? { registers } : {}),
    log2tlbSets,
    log2known: LOG2_KNOWN,
    guest,
    began: new Date().toISOString(),
    time: "seconds since began",
    schema: "vmm/trace/FORMAT.md",
    payload,
  };
  const now = (): number => (performance.now() - began) / 1000;
  const recorder = new Recorder(header, (line) => text.write(line), now);
  stack.defer(() => {
    recorder.end();
    text.close();
  });
  return recorder;
}
