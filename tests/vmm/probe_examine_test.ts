/** A device is asked step by step, and everything is given back, whatever fails. */
import { assertEquals } from "@std/assert";
import { ERRNO } from "../../uapi/errno.ts";
import type { Iommufd } from "../../vmm/iommufd/iommufd.ts";
import { STEPS } from "../../vmm/probe/examination.ts";
import { type Doors, examine } from "../../vmm/probe/examine.ts";
import { type Fault, FaultyIommufd, NO_FAULT } from "../support/faulty_iommufd.ts";
import { type PlainChoice, PlainIommufd } from "../support/plain_iommufd.ts";

const IDR = [0x0d44_101b, 0x0273_0010, 0, 0x1414, 0, 0x74];

function armInfo(): PlainChoice {
  const words = new Uint32Array(10);
  words.set(IDR, 2);
  const hwInfo = {
    dataType: 2,
    data: new Uint8Array(words.buffer),
    maxPasidLog2: 10,
    capabilities: 8n,
  };
  return { hwInfo, ranges: [{ start: 0n, last: 0xfff_ffff_ffffn }] };
}

/** Doors to an iommufd that fails, what came of it, and what was left. */
function examined(fault: Fault, choice: PlainChoice = armInfo()): {
  result: ReturnType<typeof examine>;
  iommufd: FaultyIommufd;
  plain: PlainIommufd;
} {
  const plain = new PlainIommufd(choice);
  const iommufd = new FaultyIommufd(plain, fault);
  const doors: Doors = {
    iommufd: () => iommufd,
    bind: (bound: Iommufd) =>
      (bound as FaultyIommufd).bind((inner) => (inner as PlainIommufd).bind()),
  };
  const result = examine(doors, "0000:01:10.0", "/dev/vfio/devices/vfio0");
  return { result, iommufd, plain };
}

Deno.test("all steps are done in order, and the answers noted", () => {
  const { result, iommufd, plain } = examined(NO_FAULT);
  assertEquals(result, {
    address: "0000:01:10.0",
    steps: Object.fromEntries(STEPS.map((step) => [step, "ok"])),
    hwInfoType: 2,
    identity: { flags: 0, idr: IDR, iidr: 0, aidr: 0 },
    maxPasidLog2: 10,
    capabilities: 8,
    ranges: [{ start: 0n, last: 0xfff_ffff_ffffn }],
    alignment: 4096,
    leftOver: [],
  });
  assertEquals([iommufd.alive, plain.isClosed], [[], true]);
  assertEquals(plain.calls.slice(-9), [
    "attach", // to stage 2 again
    "destroy", // the nested HWPT
    "destroy", // the queue
    "destroy", // the vDEVICE
    "destroy", // the vIOMMU
    "detach",
    "destroy", // stage 2
    "destroy", // the IOAS
    "unbind",
  ]);
});

Deno.test("a device behind another IOMMU is asked no further", () => {
  const { result, iommufd } = examined(NO_FAULT, {});
  assertEquals(result.steps, { open: "ok", bind: "ok", hwInfo: "ok" });
  assertEquals([result.hwInfoType, result.identity], [0, undefined]);
  assertEquals(iommufd.alive, []);
});

Deno.test("whichever call fails, and how: it is told, and nothing is left", async (t) => {
  const { iommufd } = examined(NO_FAULT);
  const { calls } = iommufd;
  const names: Record<string, string> = {};
  for (let nth = 1; nth <= calls.length; nth++) {
    for (const code of ["ENOMEM", "EBUSY", "EOPNOTSUPP"] as const) {
      const name = `${nth} ${calls[nth - 1]} ${code}`;
      await t.step(name, () => {
        const { result, iommufd, plain } = examined({ nth, errno: ERRNO[code] });
        assertEquals(iommufd.failed, calls[nth - 1]);
        assertEquals(plain.isClosed, true);
        const isGivingBack = ["destroy", "detach"].includes(calls[nth - 1]) ||
          nth === calls.lastIndexOf("attach") + 1;
        const refused = Object.entries(result.steps).filter(([, outcome]) => outcome !== "ok");
        if (isGivingBack) {
          assertEquals(refused, []);
          assertEquals(result.leftOver.some((line) => line.endsWith(code)), true);
        } else {
          assertEquals(refused.length, 1);
          assertEquals(refused[0][1], code);
          names[calls[nth - 1]] = refused[0][0];
          assertEquals([result.leftOver, iommufd.alive], [[], []]);
        }
      });
    }
  }
  assertEquals(names, {
    bind: "bind",
    getHwInfo: "hwInfo",
    ioasAlloc: "ioas",
    hwptAlloc: "nested",
    attach: "attachNested",
    ioasIovaRanges: "iovaRanges",
    viommuAlloc: "viommu",
    vdeviceAlloc: "vdevice",
    veventqAlloc: "veventq",
  });
});
