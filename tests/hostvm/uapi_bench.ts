/**
 * How much longer ioctls of iommufd take from here than from C, on the Host VM's kernel. Ends with 1 when it is too much.
 *
 *     deno task hostvm --sh 'deno task bench:hostvm'
 *
 * @module
 */
import { addressOf } from "../../uapi/ioctl.ts";
import {
  iommu_hwpt_invalidate,
  iommu_ioas_map_file,
  iommu_ioas_unmap,
  IOMMUFD_REQUEST,
} from "../../uapi/iommufd/mod.ts";
import { StructBuffer } from "../../uapi/struct.ts";
import { KernelGuest, PCI_CLASS, vfioPath, VSTE } from "../support/kernel_guest.ts";
import { SharedPages } from "../support/shared_pages.ts";

const BATCHES = [
  { count: 1, most: Infinity },
  { count: 16, most: 1.15 },
  { count: 64, most: 1.15 },
];
const MOST_OF_MAP = 1.05;
const MAP_BYTES = 2 ** 30;
const MAP_ROUNDS = 7;
/** Calls in one measurement, so that starting C is not what is measured. */
const CALLS = 32;
/** Until the compiler of an emulated machine is done with ours. */
const WARM_UP_MS = 3000;
const ROUNDS = 400;
/** CMD_TLBI_NH_ASID of ASID 5. */
const COMMAND = [0x5_0000_0000_0011n, 0n];

type Repeat = (
  fd: number,
  request: bigint,
  argument: Uint8Array<ArrayBuffer>,
  times: number,
) => void;

async function main(): Promise<boolean> {
  const { repeat, library } = await compile();
  using _library = library;
  using guest = new KernelGuest(vfioPath(PCI_CLASS.ETHERNET), 0x123);
  guest.device.attach(guest.nested(VSTE.STAGE1));
  let isWithin = true;
  for (const { count, most } of BATCHES) {
    const ratio = invalidation(guest, repeat, count);
    isWithin = report(`${count} commands`, ratio, most) && isWithin;
  }
  guest.device.attach(guest.parent);
  return report("IOAS_MAP_FILE of 1 GiB", mapFile(guest, repeat), MOST_OF_MAP) && isWithin;
}

async function compile(): Promise<{ repeat: Repeat; library: Disposable }> {
  const path = await Deno.makeTempFile({ suffix: ".so" });
  const source = new URL("repeat.c", import.meta.url).pathname;
  const { success } = await new Deno.Command("tcc", { args: ["-shared", "-o", path, source] })
    .output();
  if (!success) throw new Error(`Cannot compile ${source}`);
  const library = Deno.dlopen(path, {
    repeat: { parameters: ["i32", "usize", "buffer", "i32"], result: "i32" },
  });
  return {
    repeat: (fd, request, argument, times) => {
      if (library.symbols.repeat(fd, request, argument, times) !== 0) throw new Error("C failed");
    },
    library: { [Symbol.dispose]: () => library.close() },
  };
}

/** Times C. */
function invalidation(guest: KernelGuest, repeat: Repeat, count: number): number {
  const words = BigUint64Array.from({ length: count * 2 }, (_, i) => COMMAND[i % 2]);
  const entries = new Uint8Array(words.buffer);
  const call = { hwptId: guest.viommuId, dataType: 1, entryLength: 16, count, entries };
  const argument = new StructBuffer(iommu_hwpt_invalidate).fill({
    size: iommu_hwpt_invalidate.size,
    hwpt_id: guest.viommuId,
    data_uptr: addressOf(entries),
    data_type: 1,
    entry_len: 16,
    entry_num: count,
  });
  const fd = guest.iommufd.fd.number;
  const ours = (): void => {
    for (let i = 0; i < CALLS; i++) {
      if (guest.iommufd.hwptInvalidate(call).errno !== 0) throw new Error("We failed");
    }
  };
  const theirs = (): void =>
    repeat(fd, IOMMUFD_REQUEST.IOMMU_HWPT_INVALIDATE, argument.bytes, CALLS);
  for (const began = performance.now(); performance.now() - began < WARM_UP_MS;) ours();
  const times = Array.from({ length: ROUNDS }, () => [elapsed(ours), elapsed(theirs)]);
  return quick(times.map(([time]) => time)) / quick(times.map(([, time]) => time));
}

/** Times C, for mapping all of a file at once. */
function mapFile({ iommufd, ioasId }: KernelGuest, repeat: Repeat): number {
  using pages = new SharedPages(MAP_BYTES);
  // Its pages are there before anything is timed.
  for (let at = 0; at < MAP_BYTES; at += 0x1000) pages.bytes[at] = 1;
  const range = { length: BigInt(MAP_BYTES), iova: 0x1_0000_0000n };
  const map = { ...range, flags: 7, fd: pages.fd.number, start: 0n };
  const { size } = iommu_ioas_map_file;
  const argument = new StructBuffer(iommu_ioas_map_file).fill({ ...map, size, ioas_id: ioasId });
  const undo = new StructBuffer(iommu_ioas_unmap);
  const [ours, theirs]: number[][] = [[], []];
  for (let round = 0; round < MAP_ROUNDS; round++) {
    ours.push(elapsed(() => iommufd.ioasMapFile({ ...map, ioasId })));
    iommufd.ioasUnmap(ioasId, range.iova, range.length);
    theirs.push(
      elapsed(() =>
        repeat(iommufd.fd.number, IOMMUFD_REQUEST.IOMMU_IOAS_MAP_FILE, argument.bytes, 1)
      ),
    );
    undo.fill({ ...range, size: iommu_ioas_unmap.size, ioas_id: ioasId });
    repeat(iommufd.fd.number, IOMMUFD_REQUEST.IOMMU_IOAS_UNMAP, undo.bytes, 1);
  }
  return quick(ours) / quick(theirs);
}

function elapsed(work: () => void): number {
  const began = performance.now();
  work();
  return performance.now() - began;
}

/** What one in ten is faster than: what disturbs a measurement only makes it longer. */
function quick(times: number[]): number {
  return times.sort((a, b) => a - b)[Math.floor(times.length / 10)];
}

function report(name: string, ratio: number, most: number): boolean {
  const isWithin = ratio <= most;
  const aim = most === Infinity ? "no limit" : `at most ${most}`;
  const line = `${isWithin ? "ok    " : "FAILED"}  ${name}: ${ratio.toFixed(2)} times C, ${aim}\n`;
  Deno.stdout.writeSync(new TextEncoder().encode(line));
  return isWithin;
}

if (!await main()) Deno.exit(1);
