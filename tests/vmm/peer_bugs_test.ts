/**
 * Bugs that other emulations of an IOMMU for guests had, and the test of ours that would fail for each. The tests at the
 * end are those that concern the VMM and had no better place; those of the device are in
 * tests/hw/smmuv3_peer_bugs_test.ts.
 */
import { assert, assertEquals } from "@std/assert";
import { GuestRam } from "../../hw/guest_memory.ts";
import { SystemError } from "../../uapi/errno.ts";
import { ModelIommufd } from "../../vmm/iommufd/model.ts";
import { ArmSmmuV3, goodHost } from "../../vmm/iommufd/model/arm_smmuv3.ts";
import { smmuSource } from "../../vmm/qemu/device_tree.ts";
import { SELFTEST } from "../support/iommufd_test_abi.ts";
import { MockDevice } from "../support/mock_device.ts";
import { ModelTestIommufd } from "../support/model_test_iommufd.ts";
import { assertNamed, type NamedTests } from "../support/named_tests.ts";
import { NestedGuest } from "../support/nested_guest.ts";

/** A bug, and the tests that would fail. */
interface PeerBug {
  readonly bug: string;
  /** Where it was seen. */
  readonly seen: string;
  readonly tests: NamedTests;
}

const HERE = "vmm/peer_bugs_test.ts";
const DEVICE = "hw/smmuv3_peer_bugs_test.ts";

const PEER_BUGS: readonly PeerBug[] = [
  {
    bug: "the interrupt of CMD_SYNC comes before the invalidations that were collected are done",
    seen: "GoldenRiver",
    tests: {
      [DEVICE]: [
        "a CMD_SYNC gives no signal of any kind before hardware has done what lies before it",
      ],
      "hw/smmuv3_host_test.ts": [
        "64 invalidations and a CMD_SYNC are one batch, and nothing looks done before it is",
      ],
    },
  },
  {
    bug: "CMD_ATC_INV of a StreamID that is nobody's is a null pointer",
    seen: "GoldenRiver",
    tests: {
      [DEVICE]: [
        "CMD_ATC_INV, CMD_PRI_RESP and CMD_CFGI_CD of a stream that is nobody's do nothing",
      ],
    },
  },
  {
    bug: "the old table is released before the new one is attached, so that DMA finds none",
    seen: "GoldenRiver",
    tests: {
      "vmm/host_iommu_nested_test.ts": [
        "a table is made once for equal STEs, replaces what was there, and goes with its last user",
      ],
    },
  },
  {
    bug: "a batch that fails moves CMDQ_CONS back and says nothing",
    seen: "GoldenRiver",
    tests: {
      "hw/smmuv3_host_test.ts": [
        "what hardware refuses stops the queue at that command, and goes on from there",
      ],
      "vmm/host_iommu_invalidator_test.ts": [
        "everything before a refused command is done, and nothing else",
      ],
    },
  },
  {
    bug: "SPLIT beyond its three values is not 6, and OVFLG is set where it should toggle",
    seen: "Cloud Hypervisor, in review",
    tests: {
      "hw/smmuv3_stream_table_test.ts": ["SPLIT is 6, 8 or 10; everything else behaves as 6"],
      "hw/smmuv3_event_queue_test.ts": [
        "a full queue drops records and says so once until acknowledged; recording resumes with space",
      ],
    },
  },
  {
    bug:
      "CMD_CFGI_CD comes before the first CMD_CFGI_STE, is passed on and refused: a false CERROR_ILL",
    seen: "OpenVMM",
    tests: { [HERE]: ["CMD_CFGI_CD before the first CMD_CFGI_STE of its stream is no error"] },
  },
  {
    bug: "CMD_CFGI_STE_RANGE with Range 31 overflows 32 bits",
    seen: "OpenVMM",
    tests: {
      [DEVICE]: [
        "CMD_CFGI_STE_RANGE of each size drops exactly its streams, also the last that there are",
      ],
    },
  },
  {
    bug: "a fetch that fails after part of a batch was accepted hides the earlier command's error",
    seen: "OpenVMM",
    tests: {
      [DEVICE]: [
        "a queue that cannot be fetched is reported only when hardware has done what lies before",
      ],
    },
  },
  {
    bug: "fields of the CD in another order, and CD.A misread",
    seen: "OpenVMM",
    tests: {
      "hw/smmuv3_cd_test.ts": ["each single bit of a CD changes what the manual says, or nothing"],
      "hw/smmuv3_events_test.ts": [
        "CD.A and CD.R: abort or zeros, with or without a record, for the four faults",
      ],
    },
  },
  {
    bug: "a reset leaves registers behind, and a guest does not boot again",
    seen: "QEMU",
    tests: {
      "hw/smmuv3_registers_test.ts": [
        "reset() returns every register to its value after power-on and drops all caches",
      ],
    },
  },
  {
    bug: "bases are not aligned to what lies there",
    seen: "axvisor",
    tests: {
      "hw/smmuv3_command_queue_test.ts": [
        "the base is aligned down to the queue's size, at least 32 bytes",
      ],
      "hw/smmuv3_event_queue_test.ts": [
        "LOG2SIZE beyond IDR1.EVENTQS counts as EVENTQS; the base is aligned down to the size",
      ],
      "hw/smmuv3_stream_table_test.ts": [
        "the base is aligned down to the table's size, two-level to at least 64 bytes",
      ],
      "hw/smmuv3_cd_test.ts": ["TTB0 is aligned down to the size of its table"],
      "hw/smmuv3_ste_test.ts": ["S1ContextPtr is aligned down to the table of CDs"],
    },
  },
  {
    bug: "the firmware's table has the interrupts in another order than the device",
    seen: "QEMU",
    tests: {
      [HERE]: [
        "a guest is told of one interrupt for all sources, so that none can take another's place",
      ],
    },
  },
  {
    bug: "the guest has chosen a page size before it is known which the host has",
    seen: "virtio-iommu",
    tests: {
      "vmm/host_iommu_guest_features_test.ts": [
        "what every guest of ours sees must be true of the host",
      ],
      [HERE]: ["ID registers are the same from the first read to the last"],
    },
  },
  {
    bug: "STALL_MODEL or RIL that the host has otherwise is a dead device instead of an error",
    seen: "QEMU",
    tests: {
      "vmm/host_iommu_guest_features_test.ts": [
        "what is asked for is given, or refused with the host's value and the guest's",
        "what every guest of ours sees must be true of the host",
      ],
    },
  },
  {
    bug: "events that the host has lost look to the guest as if its own queue had been full",
    seen: "OpenVMM",
    tests: {
      [HERE]: [
        "events that the host has lost are counted, and are no overflow of the guest's queue",
      ],
    },
  },
  {
    bug: "queues of the hardware are not destroyed from the last to the first",
    seen: "QEMU",
    tests: {
      [HERE]: ["a queue of the hardware stays while one stands on it"],
      "hostvm/uapi_viommu_test.ts": [
        "hardware queues are made in order, and keep the memory mapped",
      ],
    },
  },
  {
    bug: "bits that are the host's reach it as the guest wrote them (HYP_OWN)",
    seen: "QEMU",
    tests: {
      "vmm/host_iommu_forwarded_command_test.ts": ["only bits that mean something are passed on"],
      "hw/smmuv3_registers_test.ts": [
        "each bit of each register is writable, or not, by itself",
        "everything else in the register space ignores writes",
      ],
    },
  },
  {
    bug:
      "dirty pages of terabytes, and bitmaps that are no multiple of 64 bits, are written elsewhere",
    seen: "Linux",
    tests: {
      [HERE]: ["dirty pages of odd ranges and of terabytes are told bit for bit, and nothing else"],
      "hostvm/mock_against_kernel_test.ts": [
        "the last page that a mock domain reaches is written to, and told, and none is after it",
      ],
    },
  },
];

Deno.test("each of the 18 bugs has tests, and they are there", async (t) => {
  assertEquals(PEER_BUGS.length, 18);
  for (const { bug, seen, tests } of PEER_BUGS) {
    await t.step(`${bug} (${seen})`, async () => {
      assert(Object.keys(tests).length > 0);
      await assertNamed(tests);
    });
  }
});

Deno.test("CMD_CFGI_CD before the first CMD_CFGI_STE of its stream is no error", () => {
  const guest = NestedGuest.make();
  const { root } = guest.stage1(8);
  guest.map(root, 0x1000n, 0x4080_0000);
  const consumed = (): unknown => [guest.smmu.read32(0x9c), guest.smmu.read32(0x60), guest.log];
  guest.queue(0x8_0000_0005n, 1n); // CFGI_CD
  guest.queue(0x8_0000_0006n); // CFGI_CD_ALL
  guest.queue(0x46n);
  guest.ring();
  assertEquals(consumed(), [3, 0, []]);
  guest.queue(0x8_0000_0003n, 1n); // CFGI_STE
  guest.queue(0x46n);
  guest.ring();
  assertEquals([guest.dmaWrite(8, 0x1000n, [1]), consumed()], [true, [5, 0, []]]);
  assertEquals(guest.host.move([[8, 24]]), undefined);
  guest.smmu.refreshHost();
  for (const streamId of [8n, 24n]) guest.queue(0x05n | (streamId << 32n), 1n);
  guest.queue(0x46n);
  guest.ring();
  assertEquals(consumed(), [8, 0, []], "neither of a StreamID that went, nor of one that came");
  guest.end();
});

Deno.test("a guest is told of one interrupt for all sources, so that none can take another's place", () => {
  // Four slots of four pins, as QEMU describes them.
  const rows = Array.from({ length: 16 }, (_, i) => {
    const [slot, pin] = [i >> 2, i & 3];
    return [slot << 11, 0, 0, pin + 1, 0x8003, 0, 0, 0, 3 + (slot + pin) % 4, 4];
  });
  const window = [0x200_0000, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x2eff_0000];
  const host = {
    reg: [0x40, 0x1000_0000, 0, 0x1000_0000],
    ranges: window,
    interruptMap: rows.flat(),
    msiMap: [0, 0x8004, 0, 0x1_0000],
  };
  // With messages the other sources have registers of their own for where theirs go.
  for (const [messages, name] of [[false, '"combined"'], [true, '"eventq"']] as const) {
    const { source } = smmuSource(host, "tcg", [], messages);
    const property = (name: string): string | undefined =>
      new RegExp(`compatible = "arm,smmu-v3";[^}]*\\b${name} = ([^;]*);`).exec(source)?.[1];
    assertEquals(property("interrupts"), "<0 6 1>");
    assertEquals(property("interrupt-names"), name);
  }
});

Deno.test("ID registers are the same from the first read to the last", () => {
  const guest = NestedGuest.make({ enabled: false });
  const offsets = [0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c];
  const ids = (): number[] => offsets.map((offset) => guest.smmu.read32(offset));
  const first = ids();
  assert(first[0] !== 0 && first[5] !== 0);
  const steps: (() => void)[] = [
    () => offsets.forEach((offset) => guest.smmu.write32(offset, ~guest.smmu.read32(offset))),
    () => guest.enable(),
    () => {
      guest.stage1(8);
      guest.command(0x8_0000_0003n, 1n);
      guest.dmaWrite(8, 0x1000n, [1]);
    },
    () => guest.host.move([[8, 24]]),
    () => guest.smmu.restore(guest.smmu.snapshot()),
    () => guest.smmu.reset(),
  ];
  for (const step of steps) {
    step();
    assertEquals(ids(), first, String(step));
  }
  guest.end();
});

Deno.test("events that the host has lost are counted, and are no overflow of the guest's queue", () => {
  const guest = NestedGuest.make({ log2queue: 10 });
  guest.stage1(8);
  guest.command(0x8_0000_0003n, 1n);
  guest.host.events[Symbol.dispose]();
  // The vEVENTQ holds 1024 records, as the guest's queue does.
  for (let i = 0; i < 1030; i++) guest.dmaWrite(8, 0x6666_0000n, [1]);
  guest.host.events.drain();
  assertEquals([guest.host.events.passed, guest.host.events.lost], [1024, 6]);
  assertEquals(guest.smmu.read32(0x1_00a8), 0x400, "EVENTQ_PROD: one lap, without OVFLG");
  assertEquals([guest.smmu.read32(0x60), guest.events().length], [0, 1024]);
  guest.end();
});

Deno.test("a queue of the hardware stays while one stands on it", () => {
  const buffer = new ArrayBuffer(0x1_0000);
  const model = new ModelTestIommufd({ address: 0x10_0000n, fd: 3, buffer });
  const ioasId = model.ioasAlloc();
  const device = new MockDevice(model, ioasId);
  const iova = 0x100_0000n;
  const { devId } = device;
  const hwptId = model.hwptAlloc({ flags: 1, devId, ptId: ioasId, dataType: 0 });
  const viommuId = model.viommuAlloc({ flags: 0, type: SELFTEST.VIOMMU_TYPE, devId, hwptId });
  model.ioasMap({ flags: 7, ioasId, userVa: 0x10_0000n, length: 0x1000n, iova });
  const [lower, upper] = [0, 1].map((index) =>
    model.hwQueueAlloc({
      flags: 0,
      viommuId,
      type: SELFTEST.HW_QUEUE_TYPE,
      index,
      nestingParentIova: iova,
      length: 0x1000n,
    })
  );
  assertEquals(refused(() => model.destroy(lower)), "EBUSY");
  assertEquals(refused(() => model.ioasUnmap(ioasId, iova, 0x1000n)), "EBUSY");
  for (const id of [upper, lower]) assertEquals(refused(() => model.destroy(id)), undefined);
  assertEquals(model.ioasUnmap(ioasId, iova, 0x1000n), 0x1000n);
});

Deno.test("dirty pages of odd ranges and of terabytes are told bit for bit, and nothing else", () => {
  const idrs = goodHost();
  idrs[0] |= 2 << 6; // HTTU: access flag and dirty state
  const ram = new GuestRam();
  ram.map(0, new ArrayBuffer(0x1_0000));
  const model = new ModelIommufd({ pin: () => 0 });
  const device = model.bind({ driver: new ArmSmmuV3({ memory: ram, idrs }), streamId: 1 });
  const ioasId = model.ioasAlloc();
  // 16 TiB, of which each piece is the same memory.
  const base = 0x1000_0000_0000n;
  const length = 1n << 44n;
  model.ioasMap({ flags: 7, ioasId, userVa: 0n, length, iova: base });
  const { devId } = device;
  const hwptId = model.hwptAlloc({ flags: 2, devId, ptId: ioasId, dataType: 0 });
  device.attach(hwptId);
  model.hwptSetDirtyTracking(hwptId, 1);
  const port = model.port(devId);
  const write = (page: bigint): void => {
    const at = base + page * 0x1000n;
    const [lo, hi] = [Number(at & 0xffff_ffffn), Number(at >> 32n)];
    assert(port.write({ streamId: 1, substreamId: -1 }, lo, hi, new Uint8Array(1)), `${page}`);
  };
  const bits = (first: bigint, pages: bigint, pageSize = 0x1000n): number[] => {
    // A byte on each side, and no multiple of eight bytes.
    const size = Number((pages * 0x1000n / pageSize + 7n) / 8n);
    const whole = new Uint8Array(size + 2);
    const bitmap = whole.subarray(1, 1 + size);
    const iova = base + first * 0x1000n;
    const range = { iova, length: pages * 0x1000n, pageSize, bitmap };
    model.hwptGetDirtyBitmap({ hwptId, flags: 1, ...range });
    assertEquals([whole[0], whole.at(-1)], [0, 0], "beside the bitmap");
    return [...bitmap.keys()].flatMap((byte) =>
      [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (bitmap[byte] >> bit & 1) === 1).map((bit) =>
        byte * 8 + bit
      )
    );
  };
  for (const page of [0n, 1n, 7n, 8n, 13n]) write(page);
  assertEquals(bits(0n, 14n), [0, 1, 7, 8, 13]);
  assertEquals(bits(1n, 12n), [0, 6, 7], "neither what is before nor what is after");
  assertEquals(bits(7n, 1n), [0]);
  assertEquals(bits(9n, 3n), []);
  // A bit for each GiB of all 16 TiB, and the last page of them.
  const last = (length >> 12n) - 1n;
  assertEquals(bits(0n, last + 1n, 1n << 30n), [0]);
});

function refused(call: () => unknown): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    if (error instanceof SystemError) return error.code;
    throw error;
  }
}
