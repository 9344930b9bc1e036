/**
 * P10: which commands are legal, for each feature vector that decides it; and what those for endpoints do. IHI 0070 §4.
 * @module
 */
import { assertEquals } from "@std/assert";
import { GuestRam } from "../../hw/guest_memory.ts";
import type { Features } from "../../hw/smmuv3/features.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { CMDQ, Guest, RAM } from "../support/guest.ts";
import { Random } from "../../vmm/random.ts";

const SSEC = 1n << 10n;

/** Runs one command and clears up after it. */
function outcome(guest: Guest, w0: bigint, w1: bigint = 0n): "executed" | "ILL" | "confused" {
  const before = guest.smmu.read32(0x9c) & 0xf_ffff;
  const gerror = guest.smmu.read32(0x60);
  const slot = guest.queue(w0, w1);
  guest.ring();
  const cons = guest.smmu.read32(0x9c);
  const raised = (guest.smmu.read32(0x60) ^ gerror) & 1;
  if (raised === 0) return cons === ((before + 1) & 0x1f) ? "executed" : "confused";
  guest.quad(slot, 0x46n);
  guest.smmu.write32(0x64, guest.smmu.read32(0x60));
  return cons === (0x0100_0000 | before) ? "ILL" : "confused";
}

/** When an opcode is legal, as the sections of each say; absent means never. */
const RULES: Readonly<Record<number, (features: Features) => boolean>> = {
  0x01: () => true, // PREFETCH_CONFIG
  0x02: () => true, // PREFETCH_ADDR
  0x03: () => true, // CFGI_STE
  0x04: () => true, // CFGI_STE_RANGE
  0x05: ({ stage1 }) => stage1, // CFGI_CD
  0x06: ({ stage1 }) => stage1, // CFGI_CD_ALL
  0x10: ({ stage1 }) => stage1, // TLBI_NH_ALL
  0x11: ({ stage1 }) => stage1, // TLBI_NH_ASID
  0x12: ({ stage1 }) => stage1, // TLBI_NH_VA
  0x13: ({ stage1 }) => stage1, // TLBI_NH_VAA
  // TLBI_EL2_*: sent by drivers that do not ask whether there is IDR0.Hyp.
  0x20: () => true,
  0x21: () => true,
  0x22: () => true,
  0x23: () => true,
  0x28: ({ stage2 }) => stage2, // TLBI_S12_VMALL
  0x2a: ({ stage2 }) => stage2, // TLBI_S2_IPA
  0x30: () => true, // TLBI_NSNH_ALL
  0x40: ({ ats }) => ats, // ATC_INV
  0x41: ({ pri }) => pri, // PRI_RESP
  0x44: ({ stallModel }) => stallModel !== 1, // RESUME
  0x45: ({ stallModel }) => stallModel !== 1, // STALL_TERM
  0x46: () => true, // SYNC
};
/** Those that name a stream, and are not for Secure ones. */
const WITH_SSEC = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x40, 0x41, 0x44, 0x45];
const RANGES = [0x12, 0x13, 0x22, 0x23, 0x2a];

/** All feature vectors that decide about commands. */
function* vectors(): Generator<Partial<Features>> {
  for (const [stage1, stage2] of [[true, false], [true, true], [false, true]]) {
    for (const hyp of stage1 && stage2 ? [false, true] : [false]) {
      for (const stallModel of [0, 1, 2]) {
        for (const [ats, pri] of [[false, false], [true, false], [true, true]]) {
          if (ats && stallModel === 2) continue;
          yield {
            stage1,
            stage2,
            hyp,
            ats,
            pri,
            stallModel,
            stallMax: stallModel === 1 ? 0 : 4,
            ssidSize: stage1 ? 10 : 0,
          };
        }
      }
    }
  }
}

Deno.test("P10: each opcode is legal or CERROR_ILL as the features say, with SSec and without", () => {
  let count = 0;
  for (const features of vectors()) {
    const guest = new Guest({ features });
    for (let opcode = 0; opcode < 256; opcode++) {
      const legal = RULES[opcode]?.(guest.smmu.features) ?? false;
      const text = `${JSON.stringify(features)}, opcode 0x${opcode.toString(16)}`;
      assertEquals(outcome(guest, BigInt(opcode)), legal ? "executed" : "ILL", text);
      const secure = legal && !WITH_SSEC.includes(opcode) ? "executed" : "ILL";
      assertEquals(outcome(guest, BigInt(opcode) | SSEC), secure, `${text}, SSec`);
      count++;
    }
  }
  assertEquals(count, 28 * 256);
});

Deno.test("P8: any 16 bytes are executed or illegal, as the table says, on a device with everything", () => {
  const random = new Random();
  const guest = new Guest({
    features: { stage2: true, hyp: true, ats: true, pri: true, stallModel: 0, stallMax: 4 },
  });
  for (let i = 0; i < 4000; i++) {
    const opcode = random.chance(0.8) ? Number(random.of(Object.keys(RULES))) : random.below(256);
    const w0 = ((random.quad() & ~0xffn) | BigInt(opcode)) & (random.chance(0.6) ? ~SSEC : ~0n);
    // A message somewhere may overwrite the queue itself.
    const w1 = opcode === 0x46 ? 0n : random.quad();
    let legal = opcode in RULES && !(WITH_SSEC.includes(opcode) && (w0 & SSEC) !== 0n);
    if (opcode === 0x46) legal &&= ((w0 >> 12n) & 3n) !== 3n;
    if (opcode === 0x41) legal &&= ((w1 >> 12n) & 3n) !== 3n;
    if (RANGES.includes(opcode)) {
      const [ttl, tg] = [(w1 >> 8n) & 3n, (w1 >> 10n) & 3n];
      const single = ((w0 >> 12n) & 0x1fn) === 0n && ((w0 >> 20n) & 0x1fn) === 0n;
      legal &&= !(tg !== 0n && single && (ttl === 0n || (tg === 2n && ttl === 1n)));
    }
    const text = `${random}, command ${i}: ${w0.toString(16)} ${w1.toString(16)}`;
    assertEquals(outcome(guest, w0, w1), legal ? "executed" : "ILL", text);
  }
});

/** A device with endpoints that note what they are told. */
function withEndpoints(): {
  smmu: SmmuV3;
  told: unknown[];
  fail: (next: boolean) => void;
  memory: DataView;
} {
  const told: unknown[] = [];
  let fails = false;
  const buffer = new ArrayBuffer(0x10_0000);
  const ram = new GuestRam();
  ram.map(RAM, buffer);
  const smmu = new SmmuV3({
    memory: ram,
    features: { ats: true, pri: true },
    endpoints: {
      invalidate: (...request) => {
        told.push(request);
        return !fails;
      },
      respond: (...answer) => void told.push(answer),
    },
  });
  smmu.write32(0x90, CMDQ | 4);
  smmu.write32(0x20, 0x9);
  return { smmu, told, fail: (next) => void (fails = next), memory: new DataView(buffer) };
}

/** Queues commands from the start and tells the device. */
function run(
  { smmu, memory }: ReturnType<typeof withEndpoints>,
  commands: [bigint, bigint][],
): number {
  const first = smmu.read32(0x98);
  for (const [i, [w0, w1]] of commands.entries()) {
    memory.setBigUint64(CMDQ - RAM + ((first + i) & 15) * 16, w0, true);
    memory.setBigUint64(CMDQ - RAM + ((first + i) & 15) * 16 + 8, w1, true);
  }
  smmu.write32(0x98, (first + commands.length) & 31);
  return smmu.read32(0x9c);
}

Deno.test("CMD_ATC_INV and CMD_PRI_RESP tell the endpoint which substream, range, group and answer", () => {
  const device = withEndpoints();
  const sid = 0x21n << 32n;
  run(device, [
    [0x40n | sid, 0x1234_5000_0003n],
    [0x40n | sid | (1n << 11n) | (5n << 12n), 0x3fn & 52n],
    [0x40n | sid | (1n << 11n) | (1n << 9n), 0n],
    [0x40n | sid | (1n << 9n), 0n],
    [0x41n | sid | (1n << 11n) | (7n << 12n), 0x1ffn | (2n << 12n)],
    [0x41n | sid, 0x3n | (1n << 12n)],
  ]);
  assertEquals(device.told, [
    [0x21, -1, false, 0x5000_0000, 0x1234, 3],
    [0x21, 5, false, 0, 0, 52],
    [0x21, 0, true, 0, 0, 0],
    [0x21, -1, false, 0, 0, 0],
    [0x21, 7, 0x1ff, 2],
    [0x21, -1, 3, 1],
  ]);
});

Deno.test("an endpoint that does not answer is CERROR_ATC_INV_SYNC at the CMD_SYNC, which then can go on", () => {
  const device = withEndpoints();
  device.fail(true);
  const sync: [bigint, bigint] = [0x46n | (1n << 12n) | (0x77n << 32n), BigInt(RAM + 0x8000)];
  const cons = run(device, [[0x40n, 0n], [0x30n, 0n], sync, [0x30n, 0n]]);
  assertEquals(cons, 2 | (3 << 24), "CONS at the CMD_SYNC, ERR 3");
  assertEquals([device.smmu.read32(0x60), device.memory.getUint32(0x8000, true)], [1, 0]);
  device.smmu.write32(0x64, 1);
  assertEquals(device.smmu.read32(0x9c), 4, "the same CMD_SYNC completes");
  assertEquals(device.memory.getUint32(0x8000, true), 0x77);
  device.fail(false);
  assertEquals(run(device, [[0x40n, 0n], sync]), 6);
});

Deno.test("endpoints are told nothing while SMMUEN is 0", () => {
  const device = withEndpoints();
  device.smmu.write32(0x20, 0x8);
  device.fail(true);
  assertEquals(run(device, [[0x40n, 0n], [0x41n, 0n], [0x46n, 0n]]), 3);
  assertEquals(device.told, []);
});
