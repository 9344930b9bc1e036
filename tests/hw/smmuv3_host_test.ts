/**
 * Streams that hardware translates: what it is told, when, and what the guest sees when it refuses.
 * IHI 0070 §4.7.3 CMD_SYNC, §6.3.9 SMMU_CR0, §6.3.14 SMMU_GBPA, §7.1 Command queue errors.
 */
import { assertEquals } from "@std/assert";
import type { HostIommu } from "../../hw/smmuv3/host_iommu.ts";
import type { Observer } from "../../hw/smmuv3/observer.ts";
import { DATA, Guest } from "../support/guest.ts";

const SYNC = 0x46n;
const TLBI_ALL = 0x10n;
const CMDQ_CONS = 0x9c;
const CR0 = 0x20;
const CR0ACK = 0x24;
const GBPA = 0x44;
const UPDATE = 0x8000_0000;
const ABORT = 0x0010_0000;

/** Hardware behind streams 5 and 9 that notes what it is told, and does at most `most` commands of each batch. */
class NotingHost implements HostIommu {
  streamIds = [5, 9];
  most = Infinity;
  readonly notes: string[] = [];
  /** Called at each note. */
  look: () => string = () => "";

  setStream(streamId: number, use: number, ste: Uint32Array): void {
    const word = use === 2 ? ` ${ste[0].toString(16)}` : "";
    this.notes.push(`${streamId} ${["abort", "bypass", "nested"][use]}${word}${this.look()}`);
  }

  invalidate(commands: Uint32Array, count: number): number {
    const opcodes = Array.from({ length: count }, (_, i) => (commands[i * 4] & 0xff).toString(16));
    this.notes.push(`invalidate ${opcodes.join(" ")}${this.look()}`);
    return Math.min(count, this.most);
  }

  /** What was noted since the last time. */
  take(): string[] {
    return this.notes.splice(0);
  }
}

function hosted(observer?: Observer): { guest: Guest; host: NotingHost } {
  const host = new NotingHost();
  const guest = new Guest({ host, log2queue: 7, ...(observer ? { observer } : {}) });
  guest.ste(5, 0n);
  guest.ste(9, 0n);
  host.take();
  return { guest, host };
}

Deno.test("a fresh device, GBPA and SMMUEN decide for all streams before they are acknowledged", () => {
  const host = new NotingHost();
  const guest = new Guest({ host, enabled: false });
  assertEquals(host.take(), ["5 bypass", "9 bypass"]);
  const { smmu } = guest;
  host.look = (): string => smmu.read32(GBPA) >>> 31 === 1 ? ", updating" : "";
  smmu.write32(GBPA, ABORT);
  assertEquals(host.take(), [], "without Update");
  smmu.write32(GBPA, UPDATE | ABORT);
  assertEquals(host.take(), ["5 abort, updating", "9 abort, updating"]);
  smmu.write32(GBPA, UPDATE);
  assertEquals(host.take().length, 2);
  host.look = (): string => (smmu.read32(CR0ACK) & 1) === 0 ? ", unacknowledged" : "";
  guest.ste(5, 0b1001n); // bypass
  guest.enable();
  assertEquals(host.take(), ["5 bypass, unacknowledged", "9 abort, unacknowledged"]);
  smmu.write32(GBPA, UPDATE | ABORT);
  assertEquals(host.take(), [], "GBPA means nothing while SMMUEN is 1");
  smmu.write32(CR0, 0xc);
  assertEquals(host.take(), ["5 abort", "9 abort"]);
  smmu.reset();
  assertEquals(host.take(), ["5 bypass, unacknowledged", "9 bypass, unacknowledged"]);
});

Deno.test("CMD_CFGI_STE and its ranges tell hardware the STE of its streams, and of no others", async (t) => {
  const { guest, host } = hosted();
  const cases: { name: string; ste5: bigint; command: [bigint, bigint]; notes: string[] }[] = [
    { name: "V=0", ste5: 0n, command: [0x5_0000_0003n, 1n], notes: ["5 abort"] },
    { name: "abort", ste5: 0b0001n, command: [0x5_0000_0003n, 1n], notes: ["5 abort"] },
    { name: "bypass", ste5: 0b1001n, command: [0x5_0000_0003n, 1n], notes: ["5 bypass"] },
    {
      name: "stage 1",
      ste5: 0x4020_000bn,
      command: [0x5_0000_0003n, 1n],
      notes: ["5 nested 4020000b"],
    },
    { name: "ILLEGAL", ste5: 0b1101n, command: [0x5_0000_0003n, 1n], notes: ["5 abort"] },
    { name: "another stream", ste5: 0b1001n, command: [0x6_0000_0003n, 1n], notes: [] },
    { name: "range of 4", ste5: 0b1001n, command: [0x4_0000_0004n, 1n], notes: ["5 bypass"] },
    { name: "range of 4 beside", ste5: 0b1001n, command: [0xc_0000_0004n, 1n], notes: [] },
    { name: "all", ste5: 0b1001n, command: [0x04n, 31n], notes: ["5 bypass", "9 abort"] },
  ];
  for (const { name, ste5, command, notes } of cases) {
    await t.step(name, () => {
      guest.ste(5, ste5);
      guest.command(...command);
      assertEquals(host.take(), notes);
    });
  }
});

Deno.test("64 invalidations and a CMD_SYNC are one batch, and nothing looks done before it is", () => {
  const { guest, host } = hosted();
  const seen: number[] = [];
  host.look = (): string => {
    seen.push(guest.smmu.read32(CMDQ_CONS), guest.word(DATA));
    return "";
  };
  for (let i = 0; i < 64; i++) guest.queue(0x12n, BigInt(i) << 12n);
  guest.queue(SYNC | (1n << 12n) | (0x55n << 32n), BigInt(DATA));
  guest.ring();
  assertEquals(host.take(), [`invalidate ${Array(64).fill("12").join(" ")}`]);
  assertEquals(seen, [0, 0]);
  assertEquals([guest.smmu.read32(CMDQ_CONS), guest.word(DATA)], [65, 0x55]);
});

Deno.test("program order is kept across batches and STEs, and what hardware need not know is not sent", () => {
  const { guest, host } = hosted();
  guest.queue(0x11n); // TLBI_NH_ASID
  guest.queue(0x9_0000_0005n); // CFGI_CD of stream 9
  guest.queue(0x6_0000_0005n); // CFGI_CD of a stream without hardware
  guest.queue(0x5_0000_0003n, 1n); // CFGI_STE
  guest.queue(0x5_0000_0006n); // CFGI_CD_ALL
  guest.queue(0x01n); // PREFETCH_CONFIG
  guest.queue(SYNC);
  guest.queue(SYNC);
  guest.queue(0x30n); // TLBI_NSNH_ALL
  guest.ring();
  assertEquals(host.take(), ["invalidate 11 5", "5 abort", "invalidate 6", "invalidate 30"]);
  assertEquals(guest.smmu.read32(CMDQ_CONS), 9);
});

Deno.test("what hardware refuses stops the queue at that command, and goes on from there", () => {
  const refused: number[] = [];
  const observer: Observer = {
    command: (words, error) => {
      if (error !== 0) refused.push(words[0], error);
    },
    translation: () => {},
    transfer: () => {},
    event: () => {},
    interrupt: () => {},
  };
  const { guest, host } = hosted(observer);
  host.most = 2;
  guest.queue(TLBI_ALL);
  guest.queue(0x01n);
  guest.queue(0x11n);
  guest.queue(0x13n, 0x1000n);
  guest.queue(0x30n);
  guest.queue(SYNC | (1n << 12n) | (0x55n << 32n), BigInt(DATA));
  guest.ring();
  assertEquals(host.take(), ["invalidate 10 11 13 30"]);
  assertEquals(guest.smmu.read32(CMDQ_CONS), 0x0100_0003, "CERROR_ILL at the fourth");
  assertEquals([guest.smmu.read32(0x60), guest.gerror.pulses, guest.word(DATA)], [1, 1, 0]);
  assertEquals(refused, [0x13, 1]);
  host.most = Infinity;
  guest.smmu.write32(0x64, 1);
  assertEquals(host.take(), ["invalidate 13 30"]);
  assertEquals([guest.smmu.read32(CMDQ_CONS), guest.word(DATA)], [6, 0x55]);
});

Deno.test("an illegal command is reported only when hardware has done those before it", () => {
  const { guest, host } = hosted();
  guest.queue(TLBI_ALL);
  guest.queue(0xffn);
  guest.ring();
  assertEquals(host.take(), ["invalidate 10"]);
  assertEquals(guest.smmu.read32(CMDQ_CONS), 0x0100_0001);
  const other = hosted();
  other.host.most = 0;
  other.guest.queue(TLBI_ALL);
  other.guest.queue(0xffn);
  other.guest.ring();
  assertEquals(other.guest.smmu.read32(CMDQ_CONS), 0x0100_0000, "its own error comes first");
});

Deno.test("a longer run than one batch goes out in several, all of it", () => {
  const host = new NotingHost();
  const guest = new Guest({ host, log2queue: 11, features: { log2CommandQueue: 11 } });
  host.take();
  for (let i = 0; i < 2000; i++) guest.queue(TLBI_ALL);
  guest.ring();
  const counts = host.take().map((note) => note.split(" ").length - 1);
  assertEquals(counts, [1008, 992]);
  assertEquals(guest.smmu.read32(CMDQ_CONS), 2000);
});

Deno.test("an event of the hardware is recorded as it is, and the guest is told once", () => {
  const { guest } = hosted();
  guest.smmu.hostEvent(Uint32Array.of(0x10, 5, 0, 8, 0x2345_6000, 1, 0, 0));
  guest.smmu.hostEvent(Uint32Array.of(0x13, 9, 0, 0, 0x1000, 0, 0, 0));
  assertEquals(guest.eventq.pulses, 1);
  assertEquals(guest.events().map(([q0, , q2]) => [q0, q2]), [
    [0x5_0000_0010n, 0x1_2345_6000n],
    [0x9_0000_0013n, 0x1000n],
  ]);
});

Deno.test("hardware that gains a stream is told of it", () => {
  const { guest, host } = hosted();
  guest.ste(12, 0b1001n);
  host.streamIds = [5, 9, 12];
  guest.smmu.refreshHost();
  assertEquals(host.take(), ["5 abort", "9 abort", "12 bypass"]);
});
