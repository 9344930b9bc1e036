/**
 * What the guest sees: the SMMUv3, PCI functions and endpoints. Pure: nothing here touches the outside.
 * @module
 */
export * from "./ats_port.ts";
export * from "./device.ts";
export * from "./endpoints/block_store.ts";
export { DescriptorChain } from "./endpoints/descriptor_chain.ts";
export * from "./endpoints/dma_test_device.ts";
export * from "./endpoints/endpoint_router.ts";
export * from "./endpoints/memory_block_store.ts";
export * from "./endpoints/virtio_blk.ts";
export * from "./endpoints/virtio_device.ts";
export * from "./endpoints/virtio_pci.ts";
export { featureSet, type FeatureWords, hasFeature } from "./endpoints/virtio_spec.ts";
export { type ChainHandler, Handled } from "./endpoints/virtqueue.ts";
export * from "./guest_memory.ts";
export {
  type CapabilityChain,
  describeCapability,
  findExpress,
  type FoundCapability,
  readExtendedChain,
  readStandardChain,
} from "./pci/capability_chain.ts";
export * from "./pci/config_space.ts";
export * from "./pci/function.ts";
export * from "./pci/guest_exposure.ts";
export { insertPasid, type PasidAbilities, pasidCapability } from "./pci/pasid.ts";
export {
  type DeviceIdentity,
  findPasidPlace,
  type PasidPlace,
  type PasidRefusal,
} from "./pci/pasid_place.ts";
export { PASID_QUIRKS, type PasidQuirk } from "./pci/pasid_quirks.ts";
export * from "./pci/register_carrier.ts";
export type { ConfigRegister } from "./pci/registers.ts";
export { applyPatch, type PatchRun, type SpacePatch } from "./pci/space_patch.ts";
export type {
  ContextCacheSnapshot,
  ContextSnapshot,
} from "./smmuv3/configuration/context_cache.ts";
export { type EndpointPort, type PageRequestKind, PageResponse } from "./smmuv3/endpoint_port.ts";
export { Access, Termination } from "./smmuv3/fault.ts";
export { DEFAULT_FEATURES, type Features, features } from "./smmuv3/features.ts";
export { type HostIommu, StreamUse } from "./smmuv3/host_iommu.ts";
export type { InterruptLines } from "./smmuv3/interrupts.ts";
export { type Observer, Translation } from "./smmuv3/observer.ts";
export type { MappedSnapshot, RegisterWriter } from "./smmuv3/mapped_registers.ts";
export type { SmmuV3Options } from "./smmuv3/options.ts";
export { SmmuV3, type SmmuV3Snapshot } from "./smmuv3/smmuv3.ts";
export type { StallsSnapshot } from "./smmuv3/stalls.ts";
export type { DomainList } from "./smmuv3/translation/domains.ts";
export type { TlbSnapshot } from "./smmuv3/translation/tlb_snapshot.ts";
export type { Translator } from "./smmuv3/translation/translate.ts";
export type { EventQueueSnapshot } from "./smmuv3/queues/event_queue.ts";
