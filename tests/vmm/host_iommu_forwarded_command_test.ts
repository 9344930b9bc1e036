/** Commands as Linux takes them: linux/iommufd.h `struct iommu_viommu_arm_smmuv3_invalidate`, IHI 0070 §4. */
import { assertEquals } from "@std/assert";
import { type Features, features } from "../../hw/smmuv3/features.ts";
import { ForwardedCommands } from "../../vmm/host_iommu/forwarded_command.ts";

function forward(choice: Partial<Features>, command: bigint[]): bigint[] | undefined {
  const words = new Uint32Array(BigUint64Array.from(command).buffer);
  const entry = new Uint32Array(4).fill(0xdead);
  const isOne = new ForwardedCommands(features(choice)).translate(words, 0, entry, 0);
  return isOne ? [...new BigUint64Array(entry.buffer)] : undefined;
}

const ONES = 0xffff_ffff_ffff_ff00n;
const ALL = 0xffff_ffff_ffff_ffffn;

Deno.test("only bits that mean something are passed on", async (t) => {
  const small = { asid16: false, ssidSize: 0, rangeInvalidation: false };
  const cases: { name: string; with?: Partial<Features>; command: bigint[]; entry?: bigint[] }[] = [
    { name: "NSNH_ALL", command: [ONES | 0x30n, ALL], entry: [0x30n, 0n] },
    { name: "NH_ALL", command: [ONES | 0x10n, ALL], entry: [0x10n, 0n] },
    { name: "NH_ASID", command: [ONES | 0x11n, ALL], entry: [0xffff_0000_0000_0011n, 0n] },
    {
      name: "NH_ASID of 8 bits",
      with: small,
      command: [ONES | 0x11n, ALL],
      entry: [0x00ff_0000_0000_0011n, 0n],
    },
    {
      name: "NH_VA with a range",
      command: [ONES | 0x12n, ALL],
      entry: [0xffff_0000_01f1_f012n, 0xffff_ffff_ffff_ff01n],
    },
    {
      name: "NH_VA without TG has no range and no level",
      command: [ONES | 0x12n, 0x1234_5000n | 0x301n],
      entry: [0xffff_0000_0000_0012n, 0x1234_5001n],
    },
    {
      name: "16K level 1 is no level",
      command: [0x1012n, 0x1234_4000n | 0x900n],
      entry: [0x1012n, 0x1234_4800n],
    },
    {
      name: "NH_VA on hardware without ranges",
      with: small,
      command: [ONES | 0x12n, ALL],
      entry: [0x00ff_0000_0000_0012n, 0xffff_ffff_ffff_f001n],
    },
    {
      name: "NH_VAA",
      command: [ONES | 0x13n, ALL],
      entry: [0x01f1_f013n, 0xffff_ffff_ffff_ff01n],
    },
    { name: "EL2_ALL", command: [0x20n, 0n], entry: [0x10n, 0n] },
    {
      name: "EL2_VA",
      command: [0x0007_0000_0000_0022n, 0x1001n],
      entry: [0x0007_0000_0000_0012n, 0x1001n],
    },
    { name: "CFGI_CD", command: [ONES | 0x05n, ALL], entry: [0xffff_ffff_ffff_f005n, 1n] },
    {
      name: "CFGI_CD without substreams",
      with: small,
      command: [ONES | 0x05n, ALL],
      entry: [0xffff_ffff_0000_0005n, 1n],
    },
    { name: "CFGI_CD_ALL", command: [ONES | 0x06n, ALL], entry: [0xffff_ffff_0000_0006n, 0n] },
    {
      name: "ATC_INV",
      command: [ONES | 0x40n, ALL],
      entry: [0xffff_ffff_ffff_fa40n, 0xffff_ffff_ffff_f03fn],
    },
    { name: "CMD_SYNC is none", command: [0x46n, 0n] },
    { name: "CFGI_STE is none", command: [0x03n, 1n] },
  ];
  for (const { name, with: choice = {}, command, entry } of cases) {
    await t.step(name, () => assertEquals(forward(choice, command), entry));
  }
});
