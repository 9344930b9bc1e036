/** Which guest an SMMU of the host can serve. IHI 0070 §6.3.1 to §6.3.6. */
import { assertEquals, assertThrows } from "@std/assert";
import { DEFAULT_FEATURES, type Features } from "../../hw/smmuv3/features.ts";
import { addressBits, guestFeatures } from "../../vmm/host_iommu/guest_features.ts";
import { type HostIdentity, hostIdentity } from "../../vmm/host_iommu/host_identity.ts";

function host(idr0: number, idr1: number, idr3: number, idr5: number): HostIdentity {
  return { flags: 0, idr: [idr0, idr1, 0, idr3, 0, idr5], iidr: 0, aidr: 0 };
}

/** QEMU's stand-in, as the kernel reports it: no substreams, 44 bits, no small tables. */
const QEMU = host(0x0d44_101b, 0x0273_0010, 0x1414, 0x74);
/** Everything that counts: both stall models, both endians, 20 bits of SubstreamID, 48 bits. */
const LARGE = host(0x089d_753f, 0x0e73_9d20, 0x177c, 0x0000_0075);
/** 52 bits of address, DS, VAX. */
const WIDE = host(0x089d_753f, 0x0e73_9d20, 0x177c, 0x0000_04f6);
/** 8 bits of ASID, no range invalidation, 8 bits of SubstreamID, 40 bits. */
const SMALL = host(0x0c40_001b, 0x0273_0210, 0x0204, 0x0000_0012);

Deno.test("a guest follows the host where nothing is asked", async (t) => {
  const cases: { name: string; host: HostIdentity; inputBits?: number; features: object }[] = [
    {
      name: "QEMU's SMMUv3",
      host: QEMU,
      features: { ssidSize: 0, asid16: true, rangeInvalidation: true, oas: 44 },
    },
    {
      name: "a large one: linear context tables stay at 10 bits",
      host: LARGE,
      features: { ssidSize: 10, asid16: true, rangeInvalidation: true, oas: 48 },
    },
    {
      name: "a wide one",
      host: WIDE,
      features: { ssidSize: 10, asid16: true, rangeInvalidation: true, oas: 48 },
    },
    {
      name: "a small one",
      host: SMALL,
      features: { ssidSize: 8, asid16: false, rangeInvalidation: false, oas: 40 },
    },
    {
      name: "stage 2 takes less than the host puts out",
      host: LARGE,
      inputBits: 43,
      features: { ssidSize: 10, asid16: true, rangeInvalidation: true, oas: 42 },
    },
  ];
  for (const { name, host, inputBits, features } of cases) {
    await t.step(name, () => {
      const got = guestFeatures(host, {}, inputBits);
      assertEquals(got.refusals, []);
      assertEquals(got.features, { ...DEFAULT_FEATURES, ...features });
    });
  }
});

Deno.test("what is asked for is given, or refused with the host's value and the guest's", async (t) => {
  const cases: {
    host: HostIdentity;
    asked: Partial<Features>;
    inputBits?: number;
    says: string[];
  }[] = [
    { host: LARGE, asked: { ssidSize: 20, oas: 48, asid16: true, sidSize: 32 }, says: [] },
    { host: SMALL, asked: { ssidSize: 8, oas: 32, asid16: false }, says: [] },
    {
      host: QEMU,
      asked: { ssidSize: 10 },
      says: ["Feature ssidSize is 10, but the host's IDR1.SSIDSIZE is 0"],
    },
    {
      host: LARGE,
      asked: { stage2: true, ats: true, httu: 2, granule16K: true, stallModel: 0, stallMax: 4 },
      says: [
        "Feature stage2 is true, but stage 2 of hardware is the host's",
        "Feature httu is 2, but the host's IDR0.HTTU is 0",
        "Feature ats is true, but Linux does not forward it for a guest",
        "Feature stallModel is 0, but Linux does not forward it for a guest",
      ],
    },
    {
      host: SMALL,
      asked: { asid16: true, rangeInvalidation: true, ssidSize: 9 },
      says: [
        "Feature asid16 is true, but the host's IDR0.ASID16 is 0",
        "Feature ssidSize is 9, but the host's IDR1.SSIDSIZE is 8",
        "Feature rangeInvalidation is true, but the host's IDR3.RIL is 0",
      ],
    },
    {
      host: QEMU,
      asked: { oas: 48 },
      says: ["Feature oas is 48, but the host's IDR5.OAS says 44 bits"],
    },
    {
      host: LARGE,
      asked: { oas: 42 },
      inputBits: 40,
      says: ["Feature oas is 42, but the host's stage 2 takes 40 bits"],
    },
    {
      host: LARGE,
      asked: {},
      inputBits: 31,
      says: ["Feature oas is 32, but the host's stage 2 takes 31 bits"],
    },
  ];
  for (const { host, asked, inputBits, says } of cases) {
    await t.step(`${JSON.stringify(asked)} ${inputBits ?? ""}`, () => {
      const { features, refusals } = guestFeatures(host, asked, inputBits);
      assertEquals(refusals.map(({ message }) => message), says);
      for (const [name, value] of Object.entries(asked)) {
        assertEquals(features[name as keyof Features], value);
      }
    });
  }
});

Deno.test("what every guest of ours sees must be true of the host", async (t) => {
  const cases: { name: string; host: HostIdentity; says: string }[] = [
    {
      name: "AArch32 tables only",
      host: host(0x0d44_1017, 0x0273_0010, 0x1414, 0x74),
      says: "A guest's IDR0.TTF is 2, but the host's is 1",
    },
    {
      name: "big-endian tables only",
      host: host(0x0d64_101b, 0x0273_0010, 0x1414, 0x74),
      says: "A guest's IDR0.TTENDIAN is 2, but the host's is 3",
    },
    {
      name: "faults always stall",
      host: host(0x0e44_101b, 0x0273_0010, 0x1414, 0x74),
      says: "A guest's IDR0.STALL_MODEL is 1, but the host's is 2",
    },
    {
      name: "no 4 KiB granule",
      host: host(0x0d44_101b, 0x0273_0010, 0x1414, 0x64),
      says: "Feature granule4K is true, but the host's IDR5.GRAN4K is 0",
    },
  ];
  for (const { name, host, says } of cases) {
    await t.step(name, () => {
      assertEquals(guestFeatures(host).refusals.map(({ message }) => message), [says]);
    });
  }
  await t.step("both endians, both stall models, both formats", () => {
    assertEquals(guestFeatures(host(0x0c04_101f, 0x0273_0010, 0x1414, 0x74)).refusals, []);
  });
});

Deno.test("what a guest is told beyond the host without harm to Linux is a difference", () => {
  const { differences } = guestFeatures(QEMU);
  assertEquals(differences.map(({ message }) => message), [
    "A guest's IDR0.TERM_MODEL is 0, but the host's is 1",
    "A guest's IDR3.STT is 1, but the host's is 0",
  ]);
  const old = host(0x0d44_101b, 0x0273_0010, 0x0c08, 0x74);
  assertEquals(guestFeatures(old).differences.map(({ message }) => message), [
    "A guest's IDR0.TERM_MODEL is 0, but the host's is 1",
    "A guest's IDR3.HAD is 1, but the host's is 0",
    "A guest's IDR3.STT is 1, but the host's is 0",
    "A guest's IDR3.BBML is 2, but the host's is 1",
  ]);
  assertEquals(guestFeatures(LARGE).differences, []);
});

Deno.test("a choice that no device has is a RangeError, whatever the host", () => {
  assertThrows(() => guestFeatures(LARGE, { oas: 50 }), RangeError, "Feature oas is 50");
});

Deno.test("the width of stage 2 is what the last range has room for", async (t) => {
  const cases: { ranges: [bigint, bigint][]; bits: number }[] = [
    { ranges: [], bits: 0 },
    { ranges: [[0n, 0xfffn]], bits: 12 },
    { ranges: [[0n, 0x7ff_ffffn], [0x810_0000n, 0xfff_ffff_ffffn]], bits: 44 },
    { ranges: [[0n, 0xffff_ffff_fffen]], bits: 47 },
    { ranges: [[0n, 0xffff_ffff_ffff_ffffn]], bits: 64 },
  ];
  for (const { ranges, bits } of cases) {
    await t.step(`${bits}`, () => {
      assertEquals(addressBits(ranges.map(([start, last]) => ({ start, last }))), bits);
    });
  }
});

Deno.test("the identity is decoded by the kernel's layout; what is missing is 0, what is more is ignored", () => {
  const bytes = new Uint8Array(48);
  const view = new DataView(bytes.buffer);
  const words = [1, 0, 0x0d44_101b, 0x0273_0010, 2, 0x1414, 4, 0x74, 0x4838_043b, 3, 9, 9];
  words.forEach((word, i) => view.setUint32(4 * i, word, true));
  const whole = {
    flags: 1,
    idr: [0x0d44_101b, 0x0273_0010, 2, 0x1414, 4, 0x74],
    iidr: 0x4838_043b,
    aidr: 3,
  };
  assertEquals(hostIdentity(bytes), whole);
  assertEquals(hostIdentity(bytes.subarray(0, 32)), { ...whole, iidr: 0, aidr: 0 });
});
