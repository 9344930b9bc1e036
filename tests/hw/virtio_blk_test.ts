/** The block device's requests. Statuses: 0 OK, 1 IOERR, 2 UNSUPP. @module */
import { assertEquals } from "@std/assert";
import type { BlockStore } from "../../hw/endpoints/block_store.ts";
import {
  type BlockRequest,
  blockRequest,
  type Buffer,
  type DiskRig,
  diskRig,
} from "../support/virtio_driver.ts";

/** FLUSH, DISCARD, WRITE_ZEROES. */
const ALL = 0x0000_6200;

function statusOf({ memory }: DiskRig, request: BlockRequest): number {
  return memory.bytes[request.status - memory.base];
}

function at({ memory }: DiskRig, iova: number, size: number): Uint8Array {
  return memory.bytes.subarray(iova - memory.base, iova - memory.base + size);
}

/** Runs one request; returns its status byte and the length in the used ring. */
function run(
  rig: DiskRig,
  type: number,
  sector: number,
  data: readonly Buffer[] = [],
): [number, number] {
  const request = blockRequest(rig.memory, rig.driver.free, type, sector, data);
  const head = rig.driver.add(request.buffers);
  rig.driver.kick();
  const [element] = rig.driver.take();
  assertEquals(element?.id, head);
  return [statusOf(rig, request), element.len];
}

/** A range of discard or write zeroes at `iova`. */
function range({ memory }: DiskRig, iova: number, sector: number, count: number, flags = 0): void {
  const offset = iova - memory.base;
  memory.view.setUint32(offset, sector % 2 ** 32, true);
  memory.view.setUint32(offset + 4, Math.floor(sector / 2 ** 32), true);
  memory.view.setUint32(offset + 8, count, true);
  memory.view.setUint32(offset + 12, flags, true);
}

/** A store that says what was asked of it, and can refuse. */
class SpyStore implements BlockStore {
  readonly sizeBytes = 64 * 512;
  readonly calls: string[] = [];
  refuse = "";

  read(offset: number, into: Uint8Array): boolean {
    return this.#note("read", offset, into.length);
  }
  write(offset: number, from: Uint8Array): boolean {
    return this.#note("write", offset, from.length);
  }
  flush(): boolean {
    return this.#note("flush");
  }
  discard(offset: number, sizeBytes: number): boolean {
    return this.#note("discard", offset, sizeBytes);
  }

  #note(name: string, ...numbers: number[]): boolean {
    this.calls.push([name, ...numbers].join(" "));
    return name !== this.refuse;
  }
}

Deno.test("IN reads sectors into one buffer", () => {
  const rig = diskRig();
  const iova = rig.driver.free + 0x1000;
  assertEquals(run(rig, 0, 3, [{ iova, size: 1024, writable: true }]), [0, 1025]);
  assertEquals(at(rig, iova, 1024), rig.contents.subarray(3 * 512, 5 * 512));
  assertEquals(at(rig, iova, 2), Uint8Array.of(3, 4), "byte i of the disk is i + i / 512");
});

Deno.test("IN and OUT take any cut of their parts", async (t) => {
  const cuts = [[512, 512], [1, 1023], [1023, 1], [100, 412, 500, 12], [3, 5, 7, 1009]];
  for (const cut of cuts) {
    await t.step(cut.join("+"), () => {
      const rig = diskRig({ size: 16 });
      let iova = rig.driver.free + 0x1000;
      const data = cut.map((size) => {
        iova += 0x1000 - 3;
        return { iova, size, writable: true };
      });
      assertEquals(run(rig, 0, 7, data), [0, 1025]);
      const read = data.flatMap(({ iova, size }) => [...at(rig, iova, size)]);
      assertEquals(Uint8Array.from(read), rig.contents.subarray(7 * 512, 9 * 512));
      assertEquals(run(rig, 1, 20, data.map((buffer) => ({ ...buffer, writable: false }))), [0, 1]);
      assertEquals(
        rig.contents.subarray(20 * 512, 22 * 512),
        rig.contents.subarray(7 * 512, 9 * 512),
      );
    });
  }
});

Deno.test("header, data and status may share descriptors as the driver likes", () => {
  const rig = diskRig();
  const base = rig.driver.free;
  blockRequest(rig.memory, base, 1, 5);
  at(rig, base + 16, 512).fill(0x5a);
  rig.driver.add([
    { iova: base, size: 4, writable: false },
    { iova: base + 4, size: 12 + 500, writable: false },
    { iova: base + 516, size: 12, writable: false },
    { iova: base + 0x1000, size: 1, writable: true },
  ]);
  at(rig, base + 0x1000, 1)[0] = 0xff;
  rig.driver.kick();
  assertEquals(rig.driver.take(), [{ id: 0, len: 1 }]);
  assertEquals(at(rig, base + 0x1000, 1)[0], 0);
  assertEquals(rig.contents.subarray(5 * 512, 6 * 512), new Uint8Array(512).fill(0x5a));
  assertEquals(rig.contents[6 * 512], 6);
});

Deno.test("a request longer than the kept buffer is moved whole", () => {
  const rig = diskRig({ sectors: 6000, memoryBytes: 0x40_0000 });
  const iova = rig.driver.free + 0x1000;
  const size = 5999 * 512;
  const expected = rig.contents.slice(512);
  assertEquals(run(rig, 0, 1, [{ iova, size, writable: true }]), [0, size + 1]);
  assertEquals(at(rig, iova, size), expected);
  assertEquals(run(rig, 1, 0, [{ iova, size, writable: false }]), [0, 1]);
  assertEquals(rig.contents.subarray(0, size), expected);
});

Deno.test("sectors outside the disk, and parts of sectors, are errors that change nothing", async (t) => {
  const cases = [
    { name: "last sector", sector: 63, size: 512, status: 0 },
    { name: "all sectors", sector: 0, size: 64 * 512, status: 0 },
    { name: "one sector too many", sector: 63, size: 1024, status: 1 },
    { name: "first sector outside", sector: 64, size: 512, status: 1 },
    { name: "sector 2^32", sector: 2 ** 32, size: 512, status: 1 },
    { name: "sector 2^55, beyond bytes of 64 bits", sector: 2 ** 55, size: 512, status: 1 },
    { name: "last sector number", sector: 2 ** 64 - 2 ** 11, size: 512, status: 1 },
    { name: "half a sector", sector: 0, size: 256, status: 1 },
    { name: "a sector and a byte", sector: 0, size: 513, status: 1 },
  ];
  for (const { name, sector, size, status } of cases) {
    for (const type of [0, 1]) {
      await t.step(`${name}, ${type === 0 ? "IN" : "OUT"}`, () => {
        const rig = diskRig();
        const before = rig.contents.slice();
        const iova = rig.driver.free + 0x1000;
        at(rig, iova, size).fill(0xcc);
        const [got, len] = run(rig, type, sector, [{ iova, size, writable: type === 0 }]);
        assertEquals(got, status);
        if (status === 0) return;
        assertEquals(len, type === 0 ? 0 : 1);
        assertEquals(rig.contents, before);
        assertEquals(at(rig, iova, size), new Uint8Array(size).fill(0xcc));
      });
    }
  }
});

Deno.test("a request without a status byte is not carried out", () => {
  const rig = diskRig();
  const before = rig.contents.slice();
  blockRequest(rig.memory, rig.driver.free, 1, 0);
  rig.driver.add([{ iova: rig.driver.free, size: 16 + 512, writable: false }]);
  rig.driver.kick();
  assertEquals([rig.driver.status, rig.driver.take()], [0x4f, []]);
  assertEquals(rig.contents, before);
});

Deno.test("a length beyond 1 GiB, or a range beyond 32 MiB, is an error, however large the disk", () => {
  const spy = new SpyStore();
  const store: BlockStore = Object.assign(spy, { sizeBytes: 2 ** 40 });
  const rig = diskRig({ lo: ALL, disk: { store } });
  assertEquals(run(rig, 0, 0, [{ iova: 0, size: 0x4000_0200, writable: true }]), [1, 0]);
  const iova = rig.driver.free + 0x1000;
  range(rig, iova, 0, 0x1_0001);
  assertEquals(run(rig, 11, 0, [{ iova, size: 16, writable: false }]), [1, 1]);
  assertEquals(spy.calls, []);
  range(rig, iova, 0, 0x1_0000);
  assertEquals(run(rig, 11, 0, [{ iova, size: 16, writable: false }]), [0, 1]);
  assertEquals(spy.calls, ["discard 0 33554432"]);
});

Deno.test("FLUSH reaches the store, and its failure the driver", () => {
  const store = new SpyStore();
  const rig = diskRig({ lo: ALL, disk: { store } });
  assertEquals(run(rig, 4, 0), [0, 1]);
  store.refuse = "flush";
  assertEquals(run(rig, 4, 0), [1, 1]);
  assertEquals(store.calls, ["flush", "flush"]);
});

Deno.test("a write is made durable at once only for a driver that cannot flush", async (t) => {
  for (
    const { lo, calls } of [{ lo: ALL, calls: ["write 512 512"] }, {
      lo: 0,
      calls: ["write 512 512", "flush"],
    }]
  ) {
    await t.step(lo === 0 ? "without FLUSH" : "with FLUSH", () => {
      const store = new SpyStore();
      const rig = diskRig({ lo, disk: { store } });
      assertEquals(
        run(rig, 1, 1, [{ iova: rig.driver.free + 0x1000, size: 512, writable: false }]),
        [0, 1],
      );
      assertEquals(store.calls, calls);
    });
  }
});

Deno.test("what the store refuses is IOERR", async (t) => {
  for (
    const { refuse, type, writable } of [
      { refuse: "read", type: 0, writable: true },
      { refuse: "write", type: 1, writable: false },
      { refuse: "discard", type: 11, writable: false },
      { refuse: "write", type: 13, writable: false },
    ]
  ) {
    await t.step(`${refuse} in request ${type}`, () => {
      const store = new SpyStore();
      store.refuse = refuse;
      const rig = diskRig({ lo: ALL, disk: { store } });
      const iova = rig.driver.free + 0x1000;
      range(rig, iova, 0, 1);
      assertEquals(run(rig, type, 0, [{ iova, size: type > 1 ? 16 : 512, writable }])[0], 1);
    });
  }
});

Deno.test("GET_ID answers twenty bytes, or as many as there is room for", async (t) => {
  const cases = [
    { serial: "vsmmu-disk-0", size: 20, text: "vsmmu-disk-0\0\0\0\0\0\0\0\0", len: 21 },
    { serial: "a-serial-of-far-more-than-twenty", size: 20, text: "a-serial-of-far-more", len: 21 },
    { serial: "vsmmu", size: 3, text: "vsm", len: 4 },
    { serial: "vsmmu", size: 24, text: "vsmmu\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", len: 20 },
  ];
  for (const { serial, size, text, len } of cases) {
    await t.step(`${serial} in ${size}`, () => {
      const rig = diskRig({ disk: { serial } });
      const iova = rig.driver.free + 0x1000;
      assertEquals(run(rig, 8, 0, [{ iova, size, writable: true }]), [0, len]);
      assertEquals(String.fromCharCode(...at(rig, iova, text.length)), text);
    });
  }
});

Deno.test("DISCARD and WRITE_ZEROES", async (t) => {
  // Each range: sector, count, flags.
  const cases = [
    {
      name: "one range",
      ranges: [[2, 3, 0]],
      discard: ["discard 1024 1536"],
      zero: ["write 1024 1536"],
    },
    {
      name: "two ranges",
      ranges: [[0, 1, 0], [63, 1, 0]],
      discard: ["discard 0 512", "discard 32256 512"],
      zero: ["write 0 512", "write 32256 512"],
    },
    { name: "unmap", ranges: [[2, 3, 1]], discard: 2, zero: ["write 1024 1536"] },
    { name: "an unknown flag", ranges: [[2, 3, 2]], discard: 2, zero: 2 },
    { name: "beyond the end", ranges: [[0, 1, 0], [63, 2, 0]], discard: 1, zero: 1 },
    { name: "a sector of 64 bits", ranges: [[2 ** 63, 1, 0]], discard: 1, zero: 1 },
    { name: "a count of 32 bits", ranges: [[0, 0xffff_ffff, 0]], discard: 1, zero: 1 },
    { name: "nine ranges", ranges: Array(9).fill([0, 1, 0]), discard: 1, zero: 1 },
  ] as const;
  for (const { name, ranges, ...expected } of cases) {
    for (const [kind, type] of [["discard", 11], ["zero", 13]] as const) {
      await t.step(`${kind}: ${name}`, () => {
        const store = new SpyStore();
        const rig = diskRig({ lo: ALL, disk: { store } });
        const iova = rig.driver.free + 0x1000;
        ranges.forEach(([sector, count, flags]: readonly [number, number, number], i: number) =>
          range(rig, iova + 16 * i, sector, count, flags)
        );
        const [status] = run(rig, type, 0, [{ iova, size: 16 * ranges.length, writable: false }]);
        const want = expected[kind];
        assertEquals([status, store.calls], typeof want === "number" ? [want, []] : [0, want]);
      });
    }
  }
  await t.step("a part of a range is an error", () => {
    const rig = diskRig({ lo: ALL });
    assertEquals(run(rig, 11, 0, [{ iova: rig.driver.free, size: 15, writable: false }]), [1, 1]);
  });
  await t.step("zeroes are zeroes, also beyond the kept buffer", () => {
    const rig = diskRig({ lo: ALL, sectors: 5000 });
    const iova = rig.driver.free + 0x1000;
    run(rig, 0, 1, [{ iova, size: 512, writable: true }]);
    range(rig, iova, 1, 4998);
    assertEquals(run(rig, 13, 0, [{ iova, size: 16, writable: false }]), [0, 1]);
    assertEquals(rig.contents.subarray(512, 4999 * 512).some((byte) => byte !== 0), false);
    assertEquals([rig.contents[511], rig.contents[4999 * 512]], [255, 4999 % 256]);
  });
  await t.step("a driver that did not accept them is not served", () => {
    const rig = diskRig({ lo: 0 });
    const iova = rig.driver.free + 0x1000;
    range(rig, iova, 0, 1);
    const data = [{ iova, size: 16, writable: false }];
    assertEquals([run(rig, 11, 0, data), run(rig, 13, 0, data)], [[2, 1], [2, 1]]);
  });
});

Deno.test("a read-only disk refuses whatever changes it", () => {
  const rig = diskRig({ lo: 0x0000_0220, disk: { readOnly: true } });
  assertEquals(rig.driver.status, 0x0f);
  const before = rig.contents.slice();
  const iova = rig.driver.free + 0x1000;
  range(rig, iova, 0, 1);
  const out = [{ iova, size: 512, writable: false }];
  const ranges = [{ iova, size: 16, writable: false }];
  assertEquals([run(rig, 1, 0, out), run(rig, 11, 0, ranges), run(rig, 13, 0, ranges)], [[1, 1], [
    1,
    1,
  ], [1, 1]]);
  assertEquals(run(rig, 0, 0, [{ iova, size: 512, writable: true }])[0], 0);
  assertEquals(rig.contents, before);
  assertEquals(
    diskRig({ lo: 0x0000_2000, disk: { readOnly: true } }).driver.status,
    0x03,
    "DISCARD is not offered",
  );
});

Deno.test("a request of unknown type is UNSUPP", () => {
  const rig = diskRig();
  const data = [{ iova: rig.driver.free + 0x1000, size: 512, writable: true }];
  for (const type of [2, 3, 5, 10, 14, 0x8000_0001, 0xffff_ffff]) {
    assertEquals(run(rig, type, 0, data), [2, 0], `type ${type}`);
  }
});

Deno.test("an aborted DMA fails its request and no other", async (t) => {
  const page = 0x1000;
  const cases = [
    { name: "header", type: 0, reads: true, target: "header", status: 1, len: 0 },
    { name: "data of OUT", type: 1, reads: true, target: "data", status: 1, len: 1 },
    { name: "data of IN", type: 0, writes: true, target: "data", status: 1, len: 0 },
  ] as const;
  for (const { name, type, target, status, len, ...kind } of cases) {
    await t.step(name, () => {
      const rig = diskRig();
      const bad = rig.driver.free;
      const good = bad + 2 * page;
      const dataAt = bad + 4 * page;
      const first = target === "header" ? bad : dataAt;
      rig.memory.faults = [{ first, end: first + 16, ...kind }];
      const failing = blockRequest(rig.memory, bad, type, 0, [{
        iova: dataAt,
        size: 512,
        writable: type === 0,
      }]);
      const passing = blockRequest(rig.memory, good, 0, 1, [{
        iova: dataAt + page,
        size: 512,
        writable: true,
      }]);
      const heads = [rig.driver.add(failing.buffers), rig.driver.add(passing.buffers)];
      rig.driver.kick();
      assertEquals(rig.driver.take(), [{ id: heads[0], len }, { id: heads[1], len: 513 }]);
      assertEquals([statusOf(rig, failing), statusOf(rig, passing), rig.driver.status], [
        status,
        0,
        0x0f,
      ]);
      assertEquals(at(rig, dataAt + page, 512), rig.contents.subarray(512, 1024));
    });
  }
  await t.step("the second of two data pages", () => {
    const rig = diskRig();
    const iova = rig.driver.free + page;
    rig.memory.faults = [{ first: iova + page, end: iova + 2 * page, writes: true }];
    assertEquals(run(rig, 0, 0, [{ iova, size: 2 * page, writable: true }]), [1, 0]);
    assertEquals(rig.driver.status, 0x0f);
  });
  await t.step(
    "a status byte that cannot be written: the device needs a reset, and says so",
    () => {
      const rig = diskRig();
      const ok = blockRequest(rig.memory, rig.driver.free, 4, 0);
      const bad = blockRequest(rig.memory, rig.driver.free + 2 * page, 4, 0);
      rig.memory.faults = [{ first: bad.status, end: bad.status + 1, writes: true }];
      const head = rig.driver.add(ok.buffers);
      rig.driver.add(bad.buffers);
      rig.driver.add(ok.buffers);
      rig.driver.kick();
      assertEquals(
        rig.driver.take(),
        [{ id: head, len: 1 }],
        "what was answered before is given back",
      );
      assertEquals([rig.driver.status, rig.irq.level], [0x4f, true]);
      rig.driver.kick();
      assertEquals(rig.driver.take(), [], "nothing is served until the reset");
      rig.memory.faults = [];
      rig.memory.bytes.fill(0, 0, 0x1000);
      rig.driver.availIndex = rig.driver.usedIndex = 0;
      rig.driver.start();
      assertEquals(run(rig, 4, 0), [0, 1]);
    },
  );
});
