/**
 * Numbers of the virtio transport, under the specification's names. Virtio 1.2 §2.1, §2.7, §4.1, §6.
 * @module
 */

/** Device status bits. §2.1. */
export const STATUS = {
  ACKNOWLEDGE: 0x01,
  DRIVER: 0x02,
  DRIVER_OK: 0x04,
  FEATURES_OK: 0x08,
  DEVICE_NEEDS_RESET: 0x40,
  FAILED: 0x80,
} as const;

/** Feature bit numbers that belong to no device type. §6. */
export const FEATURE = {
  RING_INDIRECT_DESC: 28,
  RING_EVENT_IDX: 29,
  VERSION_1: 32,
  ACCESS_PLATFORM: 33,
  RING_RESET: 40,
} as const;

/** A set of features: bits 31:0 and bits 63:32. */
export type FeatureWords = Uint32Array;

/** The set of these feature bit numbers. */
export function featureSet(...numbers: readonly number[]): FeatureWords {
  const words = new Uint32Array(2);
  for (const number of numbers) words[number >>> 5] |= 1 << (number & 31);
  return words;
}

/** Whether a set has a feature. */
export function hasFeature(words: FeatureWords, number: number): boolean {
  return (words[number >>> 5] & (1 << (number & 31))) !== 0;
}

/** Common configuration structure: offsets in bytes. §4.1.4.3. */
export const COMMON = {
  device_feature_select: 0x00,
  device_feature: 0x04,
  driver_feature_select: 0x08,
  driver_feature: 0x0c,
  config_msix_vector: 0x10,
  num_queues: 0x12,
  device_status: 0x14,
  config_generation: 0x15,
  queue_select: 0x16,
  queue_size: 0x18,
  queue_msix_vector: 0x1a,
  queue_enable: 0x1c,
  queue_notify_off: 0x1e,
  queue_desc: 0x20,
  queue_driver: 0x28,
  queue_device: 0x30,
  queue_notify_data: 0x38,
  queue_reset: 0x3a,
} as const;

/** Bytes of the common configuration structure. */
export const COMMON_SIZE = 0x3c;

/** Vector number that means no interrupt. §4.1.5.1.2. */
export const NO_VECTOR = 0xffff;

/** ISR status bits. §4.1.4.5. */
export const ISR = { Queue: 1, Configuration: 2 } as const;

/** Structure types of the PCI capabilities. §4.1.4. */
export const CFG_TYPE = { COMMON: 1, NOTIFY: 2, ISR: 3, DEVICE: 4, PCI: 5 } as const;

/** Flags of a descriptor. §2.7.5. */
export const DESC_F = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;

/** Bytes of a descriptor: address 8, length 4, flags 2, next 2. §2.7.5. */
export const DESC_SIZE = 16;

/** Flag of the available ring: the driver wants no interrupts. §2.7.6. */
export const AVAIL_F_NO_INTERRUPT = 1;
