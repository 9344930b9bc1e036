/**
 * What joins the device and the machine around it: vfio-user, QEMU, whole runs.
 * @module
 */
export { Counters, type Summary } from "./counters.ts";
export * from "./device_configuration.ts";
export { DeviceThread, type Show, type Unplug } from "./device_thread.ts";
export { EnvironmentError } from "./environment_error.ts";
export { FileBlockStore } from "./file_block_store.ts";
export type { Check } from "./guest_checks.ts";
export {
  GuestRamMap,
  type GuestRamMapOptions,
  GuestRamOwner,
  type RamMirror,
  type RamRange,
  type Refusal,
} from "./guest_ram_map.ts";
export * from "./machine.ts";
export type { RegisterChoice } from "./machine_plan.ts";
export * from "./microvm.ts";
export type { Progress } from "./provision/cache.ts";
export type { ProvisionOptions } from "./provision/provision.ts";
export type { HostArchitecture } from "./provision/root_tool.ts";
export type { RegisterKind, RegisterMode } from "./register_page.ts";
export * from "./trace/format.ts";
export type { RecordingChoice } from "./trace/recording.ts";
export { type Outcome, Replayer, type ReplaySnapshot } from "./trace/replay/replayer.ts";
export type { WaitingTransaction } from "./trace/replay/replayer_endpoints.ts";
export type { Difference } from "./trace/replay/replayer_compare.ts";
export { CommandHistory, type PastCommand } from "./trace/replay/replayer_history.ts";
export {
  type OpenTrace,
  openTrace,
  TraceError,
  type TraceLine,
  type TracePlace,
} from "./trace/trace_file.ts";
export { DmaWriteMsi, type Outlet } from "./vfio_user/dma_write_msi.ts";
export { Intx } from "./vfio_user/intx.ts";
export type { AccessObserver } from "./vfio_user/regions.ts";
export * from "./vfio_user/server.ts";
export type { PasidChoice } from "./vfio/pasid_choice.ts";
export type { MappedRegion } from "./vfio_user/mapped_region.ts";
export { RequestLine } from "./vfio_user/request_line.ts";
export type { Direction, GuestEvent } from "./provision/guest_console.ts";
export type { Transfer } from "./transfers.ts";
export type { RegisterUse } from "./mapping_policy.ts";
export type { Watched } from "./watcher.ts";
