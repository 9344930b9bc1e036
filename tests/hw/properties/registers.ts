/**
 * Registers against a table of what can be written when: any sequence of accesses, of either size, on either page.
 * IHI 0070 §6.2, §6.3.
 * @module
 */
import { assertEquals } from "@std/assert";
import { fc, type Property } from "./property.ts";

const [CR0, CR0ACK, IRQ_CTRL, IRQ_CTRLACK, GBPA] = [0x20, 0x24, 0x50, 0x54, 0x44];
const UPDATE = 0x8000_0000;
const [SMMUEN, EVENTQEN, CMDQEN] = [1, 4, 8];
const [GERROR_IRQEN, EVENTQ_IRQEN] = [1, 4];

/** A word: its offset, what can be written, and the enables of CR0 and IRQ_CTRL that keep it as it is. */
type Row = readonly [offset: number, mask: number, cr0?: number, irqCtrl?: number];

const ROWS: readonly Row[] = [
  [CR0, 0xd],
  [0x28, 0xfc0, SMMUEN], // CR1.TABLE_*
  [0x28, 0x03f, EVENTQEN | CMDQEN], // CR1.QUEUE_*
  [0x2c, 0x7, SMMUEN],
  [IRQ_CTRL, 0x5],
  [0x64, 0x1b5],
  [0x68, 0xffff_fffc, 0, GERROR_IRQEN],
  [0x6c, 0x000f_ffff, 0, GERROR_IRQEN],
  [0x70, 0xffff_ffff, 0, GERROR_IRQEN],
  [0x74, 0x3f, 0, GERROR_IRQEN],
  [0x80, 0xffff_ffc0, SMMUEN],
  [0x84, 0x400f_ffff, SMMUEN],
  [0x88, 0x3_07ff, SMMUEN],
  [0x90, 0xffff_ffff, CMDQEN],
  [0x94, 0x400f_ffff, CMDQEN],
  [0x98, 0xf_ffff],
  [0x9c, 0x7f0f_ffff, CMDQEN],
  [0xa0, 0xffff_ffff, EVENTQEN],
  [0xa4, 0x400f_ffff, EVENTQEN],
  [0xb0, 0xffff_fffc, 0, EVENTQ_IRQEN],
  [0xb4, 0x000f_ffff, 0, EVENTQ_IRQEN],
  [0xb8, 0xffff_ffff, 0, EVENTQ_IRQEN],
  [0xbc, 0x3f, 0, EVENTQ_IRQEN],
  [0x1_00a8, 0x800f_ffff, EVENTQEN],
  [0x1_00ac, 0x800f_ffff],
];
const OFFSETS = [...new Set(ROWS.map(([offset]) => offset)), GBPA, CR0ACK, IRQ_CTRLACK, 0x00, 0x60];
const ALIASES: Record<number, number> = { 0xa8: 0x1_00a8, 0xac: 0x1_00ac };
/** ABORT, INSTCFG, PRIVCFG; SHCFG, ALLOCCFG; MTCFG, MemAttr. */
const GBPA_MASK = 0x001f_3f1f;

class Model {
  readonly words = new Map<number, number>();

  read(offset: number): number {
    return this.words.get(ALIASES[offset] ?? offset) ?? 0;
  }

  write(at: number, value: number): void {
    const offset = ALIASES[at] ?? at;
    const [cr0, irqCtrl] = [this.read(CR0), this.read(IRQ_CTRL)];
    const mask = ROWS.reduce((sum, [row, mask, guard = 0, irqGuard = 0]) => {
      const isFree = (cr0 & guard) === 0 && (irqCtrl & irqGuard) === 0;
      return row === offset && isFree ? sum | mask : sum;
    }, 0);
    const old = this.read(offset);
    if (mask !== 0) this.words.set(offset, ((old & ~mask) | (value & mask)) >>> 0);
    if (offset === CR0) this.words.set(CR0ACK, this.read(CR0));
    if (offset === IRQ_CTRL) this.words.set(IRQ_CTRLACK, this.read(IRQ_CTRL));
  }
}

interface Access {
  readonly offset: number;
  readonly size: 4 | 8;
  readonly low: number;
  readonly high: number;
}

const word = fc.oneof(fc.nat(15), fc.nat(0xffff_ffff), fc.constant(0xffff_ffff));
const access: fc.Arbitrary<Access> = fc.record({
  offset: fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...OFFSETS, 0xa8, 0xac) },
    { weight: 1, arbitrary: fc.constantFrom(CR0, IRQ_CTRL) },
  ),
  size: fc.constantFrom(4 as const, 4 as const, 8 as const),
  low: word,
  high: word,
});

/** Registers. */
export const registers: Property = {
  name: "P25: registers hold what a table of masks and guards says, after any accesses",
  runs: 150,
  of: (make) =>
    fc.property(fc.array(access, { maxLength: 30, size: "max" }), (accesses) => {
      // Queues of nothing, so that commands and events change no register.
      const { smmu } = make({ enabled: false });
      const model = new Model();
      for (const offset of [0x00, 0x04, 0x0c, 0x14, 0x1c]) {
        model.words.set(offset, smmu.read32(offset));
      }
      const bytes = new Uint8Array(8);
      const view = new DataView(bytes.buffer);
      for (const { offset, size, low, high } of accesses) {
        const at = size === 8 ? offset & ~7 : offset;
        view.setUint32(0, low, true);
        view.setUint32(4, high, true);
        smmu.write(at, bytes.subarray(0, size));
        for (let i = 0; i < size; i += 4) writeModel(model, at + i, i === 0 ? low : high);
        // What the command queue met shows in these two, and is another property's matter.
        for (const own of [0x9c, 0x60]) model.words.set(own, smmu.read32(own));
        for (const offset of [...OFFSETS, 0xa8, 0xac]) {
          assertEquals(smmu.read32(offset), model.read(offset), `0x${offset.toString(16)}`);
        }
        smmu.read(0x1_00a8, bytes);
        assertEquals(
          [view.getUint32(0, true), view.getUint32(4, true)],
          [model.read(0x1_00a8), model.read(0x1_00ac)],
          "both halves at once",
        );
      }
    }),
};

/** §6.3.14: without Update nothing changes, and it reads as zero afterwards. */
function writeModel(model: Model, offset: number, value: number): void {
  if (offset !== GBPA) return model.write(offset, value);
  if ((value & UPDATE) !== 0) model.words.set(GBPA, value & GBPA_MASK);
}
