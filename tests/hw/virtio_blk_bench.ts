/**
 * How fast is a disk in memory, against plain copies of the same bytes in the same run?
 *
 * Each iteration reads 1 MiB: 256 requests of 4 KiB or 8 of 128 KiB, one notification. A request moves its bytes
 * twice, store to buffer and buffer to memory; so does the copy it is compared with. Budget: 1 µs for a request of
 * 4 KiB, nine tenths of the speed of the copy for one of 128 KiB.
 * @module
 */
import type { DmaPort } from "../../hw/device.ts";
import { MemoryBlockStore } from "../../hw/endpoints/memory_block_store.ts";
import { VirtioBlk } from "../../hw/endpoints/virtio_blk.ts";
import { VirtioPci } from "../../hw/endpoints/virtio_pci.ts";
import { blockRequest, VirtioDriver } from "../support/virtio_driver.ts";
import { FakeDma, FakeIrq } from "../support/fake_dma.ts";

const MIB = 0x10_0000;
const QUEUE_SIZE = 256;

/** Identity over the driver's memory, with nothing but a bounds check. */
function directDma({ base, bytes }: FakeDma): DmaPort {
  return {
    read: (_requester, lo, _hi, into) => {
      const at = lo - base;
      if (at < 0 || at + into.length > bytes.length) return false;
      if (into.length > 64) into.set(bytes.subarray(at, at + into.length));
      else for (let i = 0; i < into.length; i++) into[i] = bytes[at + i];
      return true;
    },
    write: (_requester, lo, _hi, from) => {
      const at = lo - base;
      if (at < 0 || at + from.length > bytes.length) return false;
      bytes.set(from, at);
      return true;
    },
    message: () => true,
  };
}

/** Returns what reads 1 MiB in requests of `size` bytes, by one notification. */
function reader(size: number): () => void {
  const memory = new FakeDma(0x4000_0000, 4 * MIB);
  const disk = new VirtioPci({
    device: new VirtioBlk({ store: new MemoryBlockStore(16 * MIB) }),
    requester: { streamId: 8, substreamId: -1 },
    dma: directDma(memory),
    irq: new FakeIrq(),
  });
  const options = { size: QUEUE_SIZE, lo: 0x3000_0000 };
  const driver = new VirtioDriver(disk, memory, options);
  driver.start(options);
  const count = MIB / size;
  for (let i = 0; i < count; i++) {
    const data = [{ iova: memory.base + 2 * MIB + i * size, size, writable: true }];
    driver.addIndirect(blockRequest(memory, driver.free + 32 * i, 0, i * size / 512, data).buffers);
  }
  return () => {
    // The same tables again: only the index moves.
    driver.kick();
    if (driver.take().length !== count) throw new Error("Not answered");
    for (let i = 0; i < count; i++) driver.offer(i);
  };
}

/** Returns what copies 1 MiB twice in pieces of `size` bytes. */
function copier(size: number): () => void {
  const source = new Uint8Array(16 * MIB);
  const buffer = new Uint8Array(size);
  const target = new Uint8Array(4 * MIB);
  return () => {
    for (let at = 0; at < MIB; at += size) {
      buffer.set(source.subarray(at, at + size));
      target.set(buffer, at);
    }
  };
}

for (const size of [0x1000, 0x2_0000]) {
  const group = `1 MiB in pieces of ${size / 1024} KiB`;
  Deno.bench(`virtio-blk, ${size / 1024} KiB`, { group }, reader(size));
  Deno.bench(`memcpy, ${size / 1024} KiB`, { group, baseline: true }, copier(size));
}
