/**
 * Call sequences, good and bad, on devices of the mock driver, on the model and on the kernel: results, errors, ids,
 * records, bitmaps and memory are the same. SEED and COUNT choose others.
 */
import { assertEquals, assertThrows } from "@std/assert";
import { SystemError } from "../../uapi/errno.ts";
import { iommuTest, MockDevice } from "../support/mock_device.ts";
import { MockSequence } from "../support/mock_sequence.ts";
import { Random } from "../../vmm/random.ts";
import { SharedPages } from "../support/shared_pages.ts";
import { TwinTestIommufd } from "../support/twin_test_iommufd.ts";

const SEED = Number(Deno.env.get("SEED") ?? 1);
const COUNT = Number(Deno.env.get("COUNT") ?? 400);
const CALLS = 40;
const BYTES = 0x4_0000;

Deno.test(`${COUNT} sequences from seed ${SEED} on mock devices have the same answers`, () => {
  using pages = new SharedPages(BYTES);
  const { address } = pages;
  const fd = pages.fd.number;
  /** The first of each kind; the calls of a sequence before it lead there. */
  const found = new Map<string, string>();
  const content = new Random(SEED);
  for (let at = 0; at < BYTES; at += 4) pages.view.setUint32(at, content.word(), true);
  for (let i = 0; i < COUNT; i++) {
    const random = new Random(SEED, i);
    const buffer = pages.bytes.slice().buffer;
    using iommufd = new TwinTestIommufd({ address, fd, buffer });
    const sequence = new MockSequence(
      { iommufd, userVa: address, fd, sizeBytes: BigInt(BYTES) },
      random,
    );
    const calls: string[] = [];
    iommufd.onCall = (call, answer): void => {
      calls.push(`${call} -> ${answer}`);
    };
    sequence.run(CALLS);
    sequence.end();
    const [first] = iommufd.disagreements;
    const isSame = isEqual(new BigUint64Array(buffer), new BigUint64Array(pages.bytes.buffer));
    if (first === undefined && isSame) continue;
    const kind = first === undefined
      ? "memory"
      : `${
        first.call.split(" ").slice(0, 2).join(" ")
      }: model ${first.first}, kernel ${first.second}`;
    if (found.has(kind)) continue;
    const seen = calls.slice(0, first?.number).join("\n    ");
    found.set(kind, `${kind}\n  sequence ${i} of seed ${SEED}: ${first?.call}\n    ${seen}`);
  }
  assertEquals([...found.values()].join("\n"), "");
});

Deno.test("the last page that a mock domain reaches is written to, and told, and none is after it", () => {
  using pages = new SharedPages(0x4000);
  const { address } = pages;
  const buffer = pages.bytes.slice().buffer;
  using iommufd = new TwinTestIommufd({ address, fd: pages.fd.number, buffer });
  const device = new MockDevice(iommufd, iommufd.ioasAlloc());
  const { devId } = device;
  const ioasId = iommufd.ioasAlloc();
  const data = Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0);
  const hwpt = { flags: 2, devId, ptId: ioasId, dataType: 0xdead, data };
  const hwptId = iommufd.hwptAlloc(hwpt);
  // Three levels of 2 KiB pages: the mock driver has no table that reaches a terabyte.
  const ranges = [{ start: 0n, last: 0x3f_ffff_ffffn }];
  assertEquals(iommufd.ioasIovaRanges(ioasId), { ranges, alignment: 0x1000n });
  const iova = 0x3f_ffff_c000n;
  const map = { flags: 7, ioasId, userVa: address, length: 0x4000n, iova };
  iommufd.ioasMap(map);
  assertThrows(() => iommufd.ioasMap({ ...map, iova: iova + 0x4000n }), SystemError, "EINVAL");
  iommufd.hwptSetDirtyTracking(hwptId, 1);
  const bits = Uint8Array.of(0b1010);
  const where = { iova, length: 0x4000n, page_size: 0x1000n };
  iommuTest(iommufd, "DIRTY", hwptId, where, bits);
  const bitmap = new Uint8Array(1);
  const range = { hwptId, iova: iova + 0x1000n, length: 0x3000n, pageSize: 0x1000n, bitmap };
  iommufd.hwptGetDirtyBitmap({ ...range, flags: 1 });
  assertEquals([...bitmap], [0b101]);
  assertEquals(iommufd.disagreements, []);
});

function isEqual(one: BigUint64Array, other: BigUint64Array): boolean {
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false;
  return true;
}
