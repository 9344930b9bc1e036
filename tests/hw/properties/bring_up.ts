/**
 * Whatever was done to a device, a driver that begins anew finds it working: after a reset, or after CR0=0 with the errors
 * acknowledged and the caches invalidated, as kexec leaves it. IHI 0070 §6.3.9, §3.11.
 * @module
 */
import { assertEquals } from "@std/assert";
import { CDS, CMDQ, DATA, EVENTQ, RAM, STRTAB, TABLES } from "../../support/guest.ts";
import { fc, type Property } from "./property.ts";

type Step =
  | { readonly op: "register"; readonly offset: number; readonly value: number }
  | { readonly op: "memory"; readonly place: number; readonly at: number; readonly value: bigint }
  | { readonly op: "command"; readonly w0: bigint; readonly w1: bigint }
  | { readonly op: "access"; readonly stream: number; readonly iova: bigint };

const PLACES = [CMDQ, EVENTQ, STRTAB, CDS, TABLES];
const value = fc.oneof(
  fc.constantFrom(0xd, 0xc, 0x8, CMDQ | 4, EVENTQ | 2, STRTAB),
  fc.nat(0xffff_ffff),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    op: fc.constant("register" as const),
    offset: fc.oneof(fc.nat(0x3f).map((n) => n * 4), fc.constantFrom(0x1_00a8, 0x1_00ac)),
    value,
  }),
  fc.record({
    op: fc.constant("memory" as const),
    place: fc.constantFrom(...PLACES),
    at: fc.nat(63),
    value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  }),
  fc.record({
    op: fc.constant("command" as const),
    w0: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    w1: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  }),
  fc.record({
    op: fc.constant("access" as const),
    stream: fc.nat(4),
    iova: fc.constantFrom(0x1000n, 0n, 0xffff_ffff_ffff_f000n),
  }),
);

/** Bring-up. */
export const bringUp: Property = {
  name: "P26: whatever was done before, a driver that begins anew finds a device that works",
  runs: 150,
  of: (make) =>
    fc.property(
      fc.array(step, { maxLength: 30, size: "max" }),
      fc.boolean(),
      (steps, resets) => {
        const guest = make();
        const { smmu } = guest;
        // Also the stream that the next driver uses, whose tables may be cached then.
        for (const stream of [1, 3]) guest.map(guest.stage1(stream).root, 0x1000n, DATA);
        for (const step of steps) {
          if (step.op === "register") smmu.write32(step.offset, step.value);
          else if (step.op === "memory") guest.quad(step.place + step.at * 8, step.value);
          else if (step.op === "command") guest.command(step.w0, step.w1);
          else guest.dmaRead(step.stream, step.iova);
        }
        // The driver finds memory as it was left, and writes what it needs.
        new Uint8Array(guest.memory.buffer, STRTAB - RAM, 0x1000).fill(0);
        if (resets) {
          smmu.reset();
          assertEquals(smmu.read32(0x60), 0, "GERROR");
        } else {
          smmu.write32(0x20, 0);
          assertEquals(smmu.read32(0x24), 0, "CR0ACK");
          smmu.write32(0x50, 0);
          // Where messages go is what it was: a driver says it anew.
          for (const offset of [0x68, 0x6c, 0xb0, 0xb4]) smmu.write32(offset, 0);
          smmu.write32(0x64, smmu.read32(0x60));
        }
        guest.enable();
        const { root } = guest.stage1(3, { asid: 7 });
        guest.map(root, 0x5000n, DATA + 0x1000);
        guest.forget();
        assertEquals([smmu.read32(0x9c), smmu.read32(0x98)], [2, 2], "both commands are consumed");
        guest.command(0x46n | (1n << 12n) | (0x55n << 32n), BigInt(DATA + 0x2000));
        assertEquals(guest.word(DATA + 0x2000), 0x55, "CMD_SYNC");
        assertEquals(guest.dmaWrite(3, 0x5000n, [0x77]), true);
        assertEquals(guest.word(DATA + 0x1000) & 0xff, 0x77);
        const told = guest.eventq.pulses + guest.messages.length;
        assertEquals(guest.dmaRead(3, 0x9000n), undefined);
        assertEquals(guest.eventNumbers(), [0x10]);
        if (resets) assertEquals(guest.eventq.pulses + guest.messages.length, told + 1);
      },
    ),
};
