/** The kernel's nested SMMUv3, with a virtual function of a network card. */
import { assertEquals, assertNotEquals } from "@std/assert";
import { openDescriptors } from "../support/shared_pages.ts";
import { refusal } from "../support/mock_test.ts";
import { KernelGuest, PCI_CLASS, vfioPath, VSTE } from "../support/kernel_guest.ts";

const STREAM = 0x123;
const SID = BigInt(STREAM) << 32n;

function guest(): KernelGuest {
  return new KernelGuest(vfioPath(PCI_CLASS.ETHERNET), STREAM);
}

Deno.test("the hardware tells its ID registers, and a VF that it is a PCI function", () => {
  const before = openDescriptors();
  {
    using made = guest();
    const info = made.iommufd.getHwInfo(made.device.devId);
    assertEquals([info.dataType, info.data.length], [2, 40]);
    const [flags, , idr0, idr1] = new Uint32Array(info.data.buffer);
    assertEquals([flags, idr0 & 3, idr1 & 0x3f], [0, 3, 16], "both stages, 16 bits of StreamID");
    const { ranges } = made.iommufd.ioasIovaRanges(made.ioasId);
    assertEquals(ranges, [{ start: 0n, last: 0x7ff_ffffn }, {
      start: 0x810_0000n,
      last: 0xfff_ffff_ffffn,
    }]);
    assertEquals(refusal(() => made.iommufd.destroy(made.device.devId)), "IOMMU_DESTROY: EBUSY");
    const { vfio } = made.device;
    assertEquals(vfio.info().flags & 3, 3);
    assertEquals(vfio.info().regionCount >= 9, true);
    const config = new Uint8Array(new ArrayBuffer(4));
    vfio.read(7, 0, config);
    assertEquals([...new Uint16Array(config.buffer)], [0x8086, 0x10ca]);
    assertEquals(vfio.irq(2).count, 3);
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("one device is bound once, and to an iommufd", () => {
  using made = guest();
  const before = openDescriptors();
  const path = vfioPath(PCI_CLASS.ETHERNET);
  const told = refusal(() => made.iommufd.bindVfio(path));
  assertEquals(told, `VFIO_DEVICE_BIND_IOMMUFD on ${path}: EINVAL`);
  const other = vfioPath(PCI_CLASS.ETHERNET, 1);
  using stray = new KernelGuest(other, 1);
  assertEquals(
    refusal(() => stray.device.vfio.bind(-1)),
    `VFIO_DEVICE_BIND_IOMMUFD on ${other}: EINVAL`,
  );
  stray[Symbol.dispose]();
  assertEquals(openDescriptors(), before);
});

Deno.test("a stream is aborted, passed through, translated and put back", () => {
  using made = guest();
  const { device, iommufd } = made;
  const hwpts = [VSTE.ABORT, VSTE.BYPASS, VSTE.STAGE1, VSTE.INVALID].map((vste) =>
    made.nested(vste)
  );
  for (const hwptId of [...hwpts, hwpts[2], made.parent, hwpts[0]]) {
    assertEquals(device.attach(hwptId), hwptId);
  }
  assertEquals(refusal(() => iommufd.destroy(hwpts[0])), "IOMMU_DESTROY: EBUSY");
  for (const hwptId of hwpts.slice(1)) iommufd.destroy(hwptId);
  assertEquals(refusal(() => iommufd.destroy(made.viommuId)), "IOMMU_DESTROY: EBUSY");
  device.detach();
  device.detach();
  iommufd.destroy(hwpts[0]);
});

Deno.test("an STE that the kernel does not take is refused", async (t) => {
  using made = guest();
  const [low, high] = VSTE.STAGE1;
  const cases: { name: string; vste: [bigint, bigint]; errno: string }[] = [
    { name: "stage 2 only", vste: [0xdn, 0n], errno: "EIO" },
    { name: "both stages", vste: [0xfn, 0n], errno: "EIO" },
    { name: "a reserved Config", vste: [0x3n, 0n], errno: "EIO" },
    { name: "S2 bits", vste: [low | (1n << 52n), high], errno: "EIO" },
    { name: "STRW", vste: [low, high | (1n << 30n)], errno: "EIO" },
    { name: "EATS 2", vste: [low, high | (2n << 28n)], errno: "EIO" },
    { name: "PRIVCFG", vste: [low, high | (3n << 48n)], errno: "EIO" },
  ];
  for (const { name, vste, errno } of cases) {
    await t.step(name, () => {
      assertEquals(refusal(() => made.nested(vste)), `IOMMU_HWPT_ALLOC: ${errno}`);
    });
  }
  await t.step("what is not valid may be anything", () => {
    assertNotEquals(made.nested([0xffff_fffen, 0xffff_ffffn]), 0);
  });
  await t.step("a stage 1 for a stream without a vDEVICE", () => {
    const path = vfioPath(PCI_CLASS.ETHERNET, 1);
    using other = made.iommufd.bindVfio(path);
    const told = refusal(() => other.attach(made.nested(VSTE.STAGE1)));
    assertEquals(told, `VFIO_DEVICE_ATTACH_IOMMUFD_PT on ${path}: ENOENT`);
  });
});

Deno.test("every kind of command is forwarded", async (t) => {
  using made = guest();
  made.device.attach(made.nested(VSTE.STAGE1));
  const VMID = 0x77n << 32n;
  const ASID = 5n << 48n;
  const VA = 0x1234_5000n;
  const LEAF = 1n;
  // NUM 3, SCALE 1; TG 1: 4 KiB; TTL 3.
  const RANGE = (3n << 12n) | (1n << 20n);
  const GRANULE = (1n << 10n) | (3n << 8n);
  const cases: { name: string; command: [bigint, bigint] }[] = [
    { name: "CMD_CFGI_CD", command: [0x05n | SID, LEAF] },
    { name: "CMD_CFGI_CD_ALL", command: [0x06n | SID, 0n] },
    { name: "CMD_TLBI_NH_ALL", command: [0x10n | VMID, 0n] },
    { name: "CMD_TLBI_NH_ASID", command: [0x11n | VMID | ASID, 0n] },
    { name: "CMD_TLBI_NH_VA", command: [0x12n | VMID | ASID, VA | LEAF] },
    { name: "CMD_TLBI_NH_VA of a range", command: [0x12n | ASID | RANGE, VA | GRANULE] },
    { name: "CMD_TLBI_NH_VAA", command: [0x13n | VMID, VA] },
    { name: "CMD_TLBI_NH_VAA of a range", command: [0x13n | RANGE, VA | GRANULE | LEAF] },
    { name: "CMD_TLBI_NSNH_ALL", command: [0x30n, 0n] },
  ];
  for (const { name, command } of cases) {
    await t.step(name, () => {
      assertEquals(made.command(...command), { errno: 0, handled: 1 });
    });
  }
  await t.step("all of them, fifty times, at once", () => {
    const all = cases.flatMap(({ command }) => command);
    const batch = Array.from({ length: 50 }, () => all).flat();
    assertEquals(made.command(...batch), { errno: 0, handled: 450 });
  });
});

Deno.test("a command that is not forwarded stops its batch, which says where", async (t) => {
  using made = guest();
  const ALL: [bigint, bigint] = [0x30n, 0n];
  const refused: [bigint, bigint][] = [
    [0x00n, 0n],
    [0x01n | SID, 0n], // PREFETCH_CONFIG
    [0x02n | SID, 0n], // PREFETCH_ADDR
    [0x03n | SID, 0n], // CFGI_STE
    [0x04n, 31n], // CFGI_ALL
    [0x20n, 0n], // TLBI_EL2_ALL
    [0x22n, 0n], // TLBI_EL2_VA
    [0x28n, 0n], // TLBI_S12_VMALL
    [0x2an, 0n], // TLBI_S2_IPA
    [0x40n | SID, 0n], // ATC_INV, and this SMMU has no ATS
    [0x44n | SID, 0n], // RESUME
    [0x46n, 0n], // SYNC
    [0x05n | SID | (1n << 10n), 0n], // SSec
    [0x06n | (0x124n << 32n), 0n], // nobody's StreamID
    [0x30n | (1n << 32n), 0n], // a VMID where there is none
    [0x11n, 1n], // what is reserved
    [0x12n | (3n << 12n), 0n], // a range without a granule
    [0x12n, 1n << 10n], // a granule without a range
  ];
  for (const command of refused) {
    await t.step(command.map((word) => `0x${word.toString(16)}`).join(" "), () => {
      assertEquals(made.command(...command), { errno: 5, handled: 0 });
      assertEquals(made.command(...ALL, ...ALL, ...command, ...ALL), { errno: 5, handled: 2 });
    });
  }
  await t.step("none", () => assertEquals(made.command(), { errno: 22, handled: 0 }));
  await t.step("counts what was not done in a block of 63, too", () => {
    const many = Array.from({ length: 70 }, () => ALL).flat();
    assertEquals(made.command(...many, 0n, 0n), { errno: 5, handled: 70 });
  });
});
