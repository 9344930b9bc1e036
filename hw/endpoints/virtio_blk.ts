/**
 * A virtio block device. Virtio 1.2 §5.2.
 * @module
 */
import type { BlockStore } from "./block_store.ts";
import type { DescriptorChain } from "./descriptor_chain.ts";
import type { VirtioDevice } from "./virtio_device.ts";
import { featureSet, type FeatureWords, hasFeature } from "./virtio_spec.ts";
import { Handled } from "./virtqueue.ts";

/** Feature bit numbers. §5.2.3. */
const BLK_F = {
  SIZE_MAX: 1,
  SEG_MAX: 2,
  RO: 5,
  BLK_SIZE: 6,
  FLUSH: 9,
  DISCARD: 13,
  WRITE_ZEROES: 14,
} as const;

/** Request types. §5.2.6. */
const BLK_T = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const;

/** Status bytes. §5.2.6. */
const BLK_S = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;

/** Device configuration: offsets in bytes. §5.2.4. */
const CONFIG = {
  capacity: 0,
  size_max: 8,
  seg_max: 12,
  blk_size: 20,
  max_discard_sectors: 36,
  max_discard_seg: 40,
  discard_sector_alignment: 44,
  max_write_zeroes_sectors: 48,
  max_write_zeroes_seg: 52,
  sizeBytes: 60,
} as const;

const SECTOR = 512;
/** Request header: type, reserved, sector. §5.2.6. */
const HEADER_SIZE = 16;
/** A range to discard or zero: sector 8, count 4, flags 4. §5.2.6. */
const RANGE_SIZE = 16;
/** The unmap flag of a range, allowed for write zeroes only. §5.2.6. */
const RANGE_F_UNMAP = 1;
const ID_SIZE = 20;

const QUEUE_SIZE = 256;
/** A header and a status byte take two descriptors. */
const SEG_MAX = QUEUE_SIZE - 2;
/** With SEG_MAX, keeps a request below MAX_TRANSFER. */
const SIZE_MAX = 0x40_0000;
/** Largest request that is answered, in bytes: bounds the work of one. */
const MAX_TRANSFER = 0x4000_0000;
const MAX_RANGES = 8;
const MAX_RANGE_SECTORS = 0x1_0000;
/** Bytes moved in one piece, after which others may get their turn. */
const PIECE_SIZE = 0x2_0000;

/** What a block device is made of. */
export interface VirtioBlkOptions {
  /** What holds the sectors; a rest of less than 512 bytes is out of reach. */
  readonly store: BlockStore;
  /** Refuses whatever changes the store. */
  readonly readOnly?: boolean;
  /** Logical block size in bytes: a power of two, at least 512. */
  readonly blockSizeBytes?: number;
  /** What GET_ID answers: up to 20 ASCII characters. */
  readonly serial?: string;
}

/** A disk over a {@linkcode BlockStore}. A request is worked on in pieces of 128 KiB. */
export class VirtioBlk implements VirtioDevice {
  /** `virtio-blk`. */
  readonly name = "virtio-blk";
  /** Block device. §5.2.1. */
  readonly deviceType = 2;
  /** Mass storage, SCSI: what QEMU's disk shows. */
  readonly classCode = 0x010000;
  /** One request queue; §5.2.2 allows more. */
  readonly queueCount = 1;
  /** 256 descriptors. */
  readonly queueSize: number = QUEUE_SIZE;
  /** What the options make of §5.2.3. */
  readonly features: FeatureWords;
  /** Capacity and limits. §5.2.4. */
  readonly config: Uint8Array = new Uint8Array(CONFIG.sizeBytes);

  readonly #store: BlockStore;
  readonly #sectors: number;
  readonly #readOnly: boolean;
  readonly #id = new Uint8Array(ID_SIZE);
  readonly #header = new Uint32Array(HEADER_SIZE / 4);
  readonly #headerBytes = new Uint8Array(this.#header.buffer);
  readonly #ranges = new Uint32Array(MAX_RANGES * RANGE_SIZE / 4);
  readonly #rangeBytes = new Uint8Array(this.#ranges.buffer);
  readonly #status = new Uint8Array(1);
  readonly #bounce = new Uint8Array(PIECE_SIZE);
  #writeThrough = true;
  #discards = false;
  #zeroes = false;
  #written = 0;
  #workBytes = 0;
  /** Bytes of the request at hand that are moved. */
  #done = 0;

  /** A disk that no driver has started. */
  constructor(options: VirtioBlkOptions) {
    const { store, readOnly = false, blockSizeBytes = SECTOR, serial = "" } = options;
    this.#store = store;
    this.#sectors = Math.floor(store.sizeBytes / SECTOR);
    this.#readOnly = readOnly;
    for (let i = 0; i < Math.min(serial.length, ID_SIZE); i++) this.#id[i] = serial.charCodeAt(i);
    this.features = featureSet(
      BLK_F.SIZE_MAX,
      BLK_F.SEG_MAX,
      BLK_F.BLK_SIZE,
      BLK_F.FLUSH,
      ...(readOnly ? [BLK_F.RO] : [BLK_F.DISCARD, BLK_F.WRITE_ZEROES]),
    );
    const config = new DataView(this.config.buffer);
    config.setUint32(CONFIG.capacity, this.#sectors >>> 0, true);
    config.setUint32(CONFIG.capacity + 4, Math.floor(this.#sectors / 0x1_0000_0000), true);
    config.setUint32(CONFIG.size_max, SIZE_MAX, true);
    config.setUint32(CONFIG.seg_max, SEG_MAX, true);
    config.setUint32(CONFIG.blk_size, blockSizeBytes, true);
    config.setUint32(CONFIG.max_discard_sectors, MAX_RANGE_SECTORS, true);
    config.setUint32(CONFIG.max_discard_seg, MAX_RANGES, true);
    config.setUint32(CONFIG.discard_sector_alignment, blockSizeBytes / SECTOR, true);
    config.setUint32(CONFIG.max_write_zeroes_sectors, MAX_RANGE_SECTORS, true);
    config.setUint32(CONFIG.max_write_zeroes_seg, MAX_RANGES, true);
  }

  /** Bytes read, written, discarded or zeroed so far. */
  get workBytes(): number {
    return this.#workBytes;
  }

  /** Takes the choice of the driver: without FLUSH, each finished write is made durable. */
  start(features: FeatureWords): void {
    this.#writeThrough = !hasFeature(features, BLK_F.FLUSH);
    this.#discards = hasFeature(features, BLK_F.DISCARD);
    this.#zeroes = hasFeature(features, BLK_F.WRITE_ZEROES);
  }

  /** Works on one piece of a request. What the store refuses becomes its status; only a chain without room is broken. */
  handle(chain: DescriptorChain, isNew: boolean): number {
    if (chain.readableBytes < HEADER_SIZE || chain.writableBytes < 1) return Handled.Broken;
    const dataBytes = chain.writableBytes - 1;
    let status = 0;
    if (isNew) {
      this.#written = 0;
      this.#done = 0;
      status = chain.read(0, this.#headerBytes) ? this.#execute(chain, dataBytes) : BLK_S.IOERR;
    } else {
      status = this.#execute(chain, dataBytes);
    }
    if (status === Handled.Partly) return status;
    this.#status[0] = status;
    if (!chain.write(dataBytes, this.#status)) return Handled.Broken;
    // The driver may rely on as many bytes as we report, from the start, so a gap before the status ends the count.
    return this.#written === dataBytes ? dataBytes + 1 : this.#written;
  }

  #execute(chain: DescriptorChain, dataBytes: number): number {
    switch (this.#header[0]) {
      case BLK_T.IN:
        return this.#readSectors(chain, dataBytes);
      case BLK_T.OUT:
        return this.#writeSectors(chain, chain.readableBytes - HEADER_SIZE);
      case BLK_T.FLUSH:
        return this.#store.flush() ? BLK_S.OK : BLK_S.IOERR;
      case BLK_T.GET_ID:
        return this.#answer(
          chain,
          0,
          dataBytes < ID_SIZE ? this.#id.subarray(0, dataBytes) : this.#id,
        );
      case BLK_T.DISCARD:
        return this.#discards || this.#readOnly ? this.#changeRanges(chain, false) : BLK_S.UNSUPP;
      case BLK_T.WRITE_ZEROES:
        return this.#zeroes || this.#readOnly ? this.#changeRanges(chain, true) : BLK_S.UNSUPP;
      default:
        return BLK_S.UNSUPP;
    }
  }

  #readSectors(chain: DescriptorChain, sizeBytes: number): number {
    const start = this.#offset(sizeBytes);
    if (start < 0) return BLK_S.IOERR;
    const piece = this.#piece(sizeBytes - this.#done);
    if (!this.#store.read(start + this.#done, piece)) return BLK_S.IOERR;
    if (this.#answer(chain, this.#done, piece) !== BLK_S.OK) return BLK_S.IOERR;
    return this.#advance(piece.length, sizeBytes) ? BLK_S.OK : Handled.Partly;
  }

  #writeSectors(chain: DescriptorChain, sizeBytes: number): number {
    const start = this.#offset(sizeBytes);
    if (start < 0 || this.#readOnly) return BLK_S.IOERR;
    const piece = this.#piece(sizeBytes - this.#done);
    if (!chain.read(HEADER_SIZE + this.#done, piece)) return BLK_S.IOERR;
    if (!this.#store.write(start + this.#done, piece)) return BLK_S.IOERR;
    return this.#advance(piece.length, sizeBytes) ? this.#settle() : Handled.Partly;
  }

  /** Counts a piece; true when it was the last. */
  #advance(doneBytes: number, sizeBytes: number): boolean {
    this.#done += doneBytes;
    this.#workBytes += doneBytes;
    return this.#done === sizeBytes;
  }

  /** Discards or zeroes ranges, one each time; all are checked before the first is changed. */
  #changeRanges(chain: DescriptorChain, zero: boolean): number {
    const sizeBytes = chain.readableBytes - HEADER_SIZE;
    const words = this.#ranges;
    if (this.#done === 0) {
      const refusal = this.#checkRanges(chain, sizeBytes, zero);
      if (refusal !== BLK_S.OK) return refusal;
    }
    if (sizeBytes > 0) {
      const at = this.#done / 4;
      const start = sectorOf(words, at) * SECTOR;
      const length = words[at + 2] * SECTOR;
      if (!(zero ? this.#zero(start, length) : this.#store.discard(start, length))) {
        return BLK_S.IOERR;
      }
      this.#workBytes += length;
      this.#done += RANGE_SIZE;
    }
    return this.#done === sizeBytes ? this.#settle() : Handled.Partly;
  }

  /** Fetches the ranges, once, and says what is wrong with them. */
  #checkRanges(chain: DescriptorChain, sizeBytes: number, zero: boolean): number {
    if (this.#readOnly || sizeBytes % RANGE_SIZE !== 0 || sizeBytes > MAX_RANGES * RANGE_SIZE) {
      return BLK_S.IOERR;
    }
    if (!chain.read(HEADER_SIZE, this.#rangeBytes.subarray(0, sizeBytes))) return BLK_S.IOERR;
    const words = this.#ranges;
    for (let at = 0; at < sizeBytes / 4; at += 4) {
      if ((words[at + 3] & ~(zero ? RANGE_F_UNMAP : 0)) !== 0) return BLK_S.UNSUPP;
      if (words[at + 2] > MAX_RANGE_SECTORS) return BLK_S.IOERR;
      if (sectorOf(words, at) + words[at + 2] > this.#sectors) return BLK_S.IOERR;
    }
    return BLK_S.OK;
  }

  #zero(start: number, sizeBytes: number): boolean {
    this.#piece(sizeBytes).fill(0);
    for (let done = 0; done < sizeBytes; done += PIECE_SIZE) {
      if (!this.#store.write(start + done, this.#piece(sizeBytes - done))) return false;
    }
    return true;
  }

  /** A driver without FLUSH relies on a finished write being durable. §5.2.6.2. */
  #settle(): number {
    return !this.#writeThrough || this.#store.flush() ? BLK_S.OK : BLK_S.IOERR;
  }

  #answer(chain: DescriptorChain, offset: number, from: Uint8Array): number {
    if (!chain.write(offset, from)) return BLK_S.IOERR;
    this.#written = offset + from.length;
    return BLK_S.OK;
  }

  /** Where the header's sector lies in the store, or -1 when `sizeBytes` from there are not whole sectors inside it. */
  #offset(sizeBytes: number): number {
    if (sizeBytes % SECTOR !== 0 || sizeBytes > MAX_TRANSFER) return -1;
    const sector = sectorOf(this.#header, 2);
    return sector + sizeBytes / SECTOR <= this.#sectors ? sector * SECTOR : -1;
  }

  /** The kept buffer, or its start when less is left. */
  #piece(leftBytes: number): Uint8Array {
    return leftBytes >= PIECE_SIZE ? this.#bounce : this.#bounce.subarray(0, leftBytes);
  }
}

/** A 64-bit sector number; inexact only far beyond any store. */
function sectorOf(words: Uint32Array, at: number): number {
  return words[at + 1] * 0x1_0000_0000 + words[at];
}
