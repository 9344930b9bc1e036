/**
 * Chains of capabilities that follow a structure. linux/vfio.h of Linux 7.3.
 * @module
 */
import { type Fields, getField, type Struct, type Value } from "../struct.ts";
import { vfio_info_cap_header } from "./device.ts";

const HEADER = vfio_info_cap_header.fields;

/** One capability. */
export interface VfioCapability {
  /** Of VFIO_REGION_INFO_CAP or VFIO_DEVICE_INFO_CAP. */
  readonly id: number;
  /** Version of what the id stands for. */
  readonly version: number;
  /** The header and what follows it, to the end of the whole answer. */
  readonly view: DataView<ArrayBuffer>;
}

/** The capabilities in an answer of the kernel, of which the first is at `offset`; 0 stands for none. */
export function readCapabilities(answer: DataView<ArrayBuffer>, offset: number): VfioCapability[] {
  const capabilities: VfioCapability[] = [];
  // The kernel chains them upwards, so that one that points back ends the walk.
  for (let at = offset, next = 0; at >= vfio_info_cap_header.size; at = next) {
    if (at + vfio_info_cap_header.size > answer.byteLength) break;
    const view = new DataView(answer.buffer, answer.byteOffset + at);
    capabilities.push({
      id: getField(view, HEADER.id),
      version: getField(view, HEADER.version),
      view,
    });
    next = getField(view, HEADER.next);
    if (next <= at) break;
  }
  return capabilities;
}

/** A field of a capability, or of the structure at `at` in it. */
export function capabilityField<F extends Fields, N extends keyof F>(
  { view }: VfioCapability,
  { fields }: Struct<F>,
  name: N,
  at = 0,
): Value<F[N]> {
  return getField(view, fields[name], 0, at);
}
