/**
 * A processor of a hostile guest: writes every byte of the SMMU's register pages and of the guest's RAM, and in between
 * what makes the SMMU work on what it wrote.
 * @module
 */
/// <reference lib="deno.worker" />
import { Fd } from "../../uapi/fd.ts";
import { Mapping } from "../../uapi/mapping.ts";
import { Random } from "../../vmm/random.ts";

/** Words of the shared memory: set to end it; counts of whole rounds. */
export const HAMMER = { stop: 0, rounds: 1, count: 2 } as const;

/** What to hammer. The descriptors stay the starter's. */
export interface HammerTask {
  readonly seed: number;
  readonly shared: Int32Array;
  readonly page: { readonly fd: number; readonly sizeBytes: number };
  readonly ram: { readonly fd: number; readonly sizeBytes: number; readonly gpa: number };
}

/** Offsets of registers that have the SMMU do something, and the values that these take here. */
const CR0 = 0x20;
const GBPA = 0x44;
const IRQ_CTRL = 0x50;
const GERRORN = 0x64;
const STRTAB_BASE = 0x80;
const STRTAB_BASE_CFG = 0x88;
const CMDQ_BASE = 0x90;
const CMDQ_PROD = 0x98;
const EVENTQ_BASE = 0xa0;
const EVENTQ_CONS = 0x1_00ac;
const OPCODES = [0x01, 0x03, 0x04, 0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x20, 0x2a, 0x30, 0x46];
/** Bytes between two attempts to have the SMMU work. */
const STRIDE = 512;

function hammer({ seed, shared, page, ram }: HammerTask): void {
  const random = new Random(seed);
  using pageMapping = new Mapping(new Fd(page.fd), {
    offset: 0,
    sizeBytes: page.sizeBytes,
    writable: true,
  });
  using ramMapping = new Mapping(new Fd(ram.fd), {
    offset: 0,
    sizeBytes: ram.sizeBytes,
    writable: true,
  });
  const bytes = new Uint8Array(pageMapping.buffer);
  const words = new Uint32Array(pageMapping.buffer);
  const memory = new Uint32Array(ramMapping.buffer);
  const set = (offset: number, value: number): void => void (words[offset / 4] = value);
  /** Somewhere in RAM, as a base of 2^log2 entries. */
  const base = (log2: number): number =>
    ((ram.gpa + random.below(ram.sizeBytes / 0x1_0000) * 0x1_0000) | log2) >>> 0;
  const work = (): void => {
    for (let i = 0; i < 64; i++) {
      const at = random.below(memory.length / 4) * 4;
      memory[at] = OPCODES[random.below(OPCODES.length)] | random.word() << 8;
      memory[at + 1] = random.word();
      memory[at + 2] = random.word();
      memory[at + 3] = 0;
    }
    set(GBPA, 0x8000_0000);
    set(STRTAB_BASE, base(0) & ~0x3f);
    set(STRTAB_BASE + 4, 0);
    set(STRTAB_BASE_CFG, 8);
    set(CMDQ_BASE, base(10));
    set(CMDQ_BASE + 4, 0);
    set(EVENTQ_BASE, base(10));
    set(EVENTQ_BASE + 4, 0);
    set(IRQ_CTRL, 5);
    set(CR0, random.below(4) === 0 ? 0 : 0xd);
    set(GERRORN, random.word());
    for (let i = 0; i < 8; i++) set(CMDQ_PROD, random.word() & 0x7ff);
    set(EVENTQ_CONS, random.word());
  };
  while (Atomics.load(shared, HAMMER.stop) === 0) {
    for (let at = 0; at < bytes.length; at++) {
      if (at % STRIDE === 0) work();
      bytes[at] = random.word();
    }
    Atomics.add(shared, HAMMER.rounds, 1);
  }
}

self.onmessage = ({ data }: MessageEvent<HammerTask>) => {
  hammer(data);
  self.postMessage("done");
  self.close();
};
