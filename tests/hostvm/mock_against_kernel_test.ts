/**
 * Call sequences, good and bad, on devices of the mock driver, on the model and on the kernel: results, errors, ids,
 * records, bitmaps and memory are the same. SEED and COUNT choose others.
 */
import { assertEquals } from "@std/assert";
import { MockSequence } from "../support/mock_sequence.ts";
import { Random } from "../support/random.ts";
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
  const tally = new Map<string, number>();
  const content = new Random(SEED);
  for (let at = 0; at < BYTES; at += 4) pages.view.setUint32(at, content.word(), true);
  for (let i = 0; i < COUNT; i++) {
    const random = new Random(SEED * 1_000_003 + i);
    const buffer = pages.bytes.slice().buffer;
    using iommufd = new TwinTestIommufd({ address, fd, buffer });
    const sequence = new MockSequence(
      { iommufd, userVa: address, fd, sizeBytes: BigInt(BYTES) },
      random,
    );
    const calls: string[] = [];
    iommufd.onCall = (call, answer): void => {
      calls.push(`${call} -> ${answer}`);
      const name = call.split(" ").slice(0, call.startsWith("test") ? 2 : 1).join(" ");
      const kind = `${name} ${/^E[A-Z0-9]+$/.test(answer) ? answer : "ok"}`;
      tally.set(kind, (tally.get(kind) ?? 0) + 1);
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
  if (Deno.env.get("TALLY")) console.log([...tally].sort().map((x) => x.join(" ")).join("\n"));
  assertEquals([...found.values()].join("\n"), "");
});

function isEqual(one: BigUint64Array, other: BigUint64Array): boolean {
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false;
  return true;
}
