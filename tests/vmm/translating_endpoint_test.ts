/**
 * An endpoint with an ATC, and one that can be stalled, as a VMM serves them: two functions, one guest's memory, and the
 * wire of the SMMU.
 */
import { assertEquals, assertThrows } from "@std/assert";
import { EventFd } from "../../uapi/eventfd.ts";
import { Poller } from "../../uapi/poll.ts";
import type { Features } from "../../hw/smmuv3/features.ts";
import { Counters } from "../../vmm/counters.ts";
import type { IommufdKind, RecordingConfiguration } from "../../vmm/device_configuration.ts";
import { EnvironmentError } from "../../vmm/environment_error.ts";
import { DeviceMachine } from "../../vmm/machine.ts";
import { Replayer } from "../../vmm/trace/replay/replayer.ts";
import { TextRing } from "../../vmm/trace/ring.ts";
import { openTrace } from "../../vmm/trace/trace_file.ts";
import { SharedPages } from "../support/shared_pages.ts";
import { realize, VfioUserClient, words } from "../support/vfio_user_client.ts";

const RAM = 0x4000_0000;
const SIZE = 0x10_0000;
const [CMDQ, EVENTQ, PRIQ, STRTAB, CD, ROOT, DATA] = [
  0x1_0000,
  0x1_8000,
  0x2_0000,
  0x3_0000,
  0x4_0000,
  0x5_0000,
  0x9_0000,
]
  .map((at) => RAM + at);
const SID = 8;
const IOVA = 0x7000;

/** What an SMMU has, and what its endpoint does of its own. */
interface Kind {
  readonly features: Partial<Features>;
  readonly endpoint: { readonly ats?: boolean; readonly stalls?: boolean };
}
const TRANSLATING: Kind = { features: { ats: true, pri: true }, endpoint: { ats: true } };
const STALLING: Kind = { features: { stallModel: 0, stallMax: 2 }, endpoint: { stalls: true } };

/** A guest that holds both functions by their sockets. */
class Served implements Disposable {
  readonly #stack = new DisposableStack();
  readonly memory: DataView;
  readonly interrupts: EventFd;
  readonly smmu: VfioUserClient;
  readonly tester: VfioUserClient;
  #prod = 0;

  constructor(kind: Kind = TRANSLATING, recording?: RecordingConfiguration) {
    const folder = Deno.makeTempDirSync();
    this.#stack.defer(() => Deno.removeSync(folder, { recursive: true }));
    const [smmuSocketPath, socketPath] = [`${folder}/smmu.sock`, `${folder}/dma.sock`];
    const poller = new Poller();
    this.#stack.use(made(kind, smmuSocketPath, socketPath, poller, "none", recording));
    const ram = this.#stack.use(new SharedPages(SIZE));
    this.memory = ram.view;
    this.interrupts = this.#stack.use(EventFd.create());
    const join = (path: string, intx?: EventFd): VfioUserClient => {
      const client = this.#stack.use(new VfioUserClient(path, poller));
      poller.step(0);
      const shared = { gpa: BigInt(RAM), sizeBytes: BigInt(SIZE), fd: ram.fd };
      realize(client, { ram: shared, ...(intx ? { intx: intx.fd } : {}) });
      return client;
    };
    this.smmu = join(smmuSocketPath, this.interrupts);
    this.tester = join(socketPath);
  }

  set(client: VfioUserClient, at: number, value: number, region = 0): void {
    client.request(10, words(BigInt(at), region, 4, value >>> 0), { room: 32 });
  }

  get(client: VfioUserClient, at: number): number {
    const { payload } = client.request(9, words(BigInt(at), 0, 4), { room: 36 });
    return new DataView(payload.buffer, payload.byteOffset).getUint32(16, true);
  }

  quad(gpa: number, value: bigint): void {
    this.memory.setBigUint64(gpa - RAM, value, true);
  }

  /** Brings the SMMU up with one stream of one page, and lets the tester use ATS and page requests. */
  enable(): void {
    const { smmu, tester } = this;
    this.quad(STRTAB + SID * 64, BigInt(CD) | 0b1011n);
    this.quad(STRTAB + SID * 64 + 8, 1n << 28n); // EATS
    this.quad(CD, 16n | 1n << 30n | 1n << 31n | 0x6205n << 32n);
    this.quad(CD + 8, BigInt(ROOT));
    for (let level = 0; level < 3; level++) {
      this.quad(ROOT + level * 0x1000, BigInt(ROOT + (level + 1) * 0x1000) | 3n);
    }
    const registers = [
      [0x80, STRTAB],
      [0x88, 4],
      [0x90, CMDQ | 4],
      [0xc0, PRIQ | 4],
      [0x50, 7],
      [0x20, 0x1b],
    ];
    for (const [at, value] of registers) this.set(smmu, at, value);
    this.set(tester, 0x104, 0x8000_0000, 7);
    this.set(tester, 0x114, 32, 7);
    this.set(tester, 0x10c, 1, 7);
    this.set(tester, 0x04, IOVA);
  }

  /** IOVA is at `gpa`, or nowhere. */
  map(gpa: number): void {
    this.quad(ROOT + 3 * 0x1000 + (IOVA >> 12) * 8, gpa === 0 ? 0n : BigInt(gpa) | 0xc43n);
  }

  command(low: bigint, high = 0n): void {
    this.quad(CMDQ + this.#prod % 16 * 16, low);
    this.quad(CMDQ + this.#prod % 16 * 16 + 8, high);
    this.#prod = (this.#prod + 1) % 32;
    this.set(this.smmu, 0x98, this.#prod);
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

function made(
  { features, endpoint }: Kind,
  smmuSocketPath: string,
  socketPath: string,
  poller: Poller,
  iommufd: IommufdKind = "none",
  recording?: RecordingConfiguration,
): DeviceMachine {
  return new DeviceMachine({
    smmuSocketPath,
    features,
    iommufd,
    ...(recording ? { recording } : {}),
    endpoints: [{ kind: "dma-test", ...endpoint, socketPath, streamId: SID }],
  }, { poller, counters: new Counters(), log: () => {}, ask: () => {}, unplug: () => {} });
}

/** A page that the guest maps when it is asked for. */
function askAndUse(served: Served): void {
  const { smmu, tester } = served;
  served.enable();
  served.set(tester, 0x1010, 0b10);
  assertEquals(served.get(tester, 0x1014), 12 << 16, "nothing is there");
  served.interrupts.drain();
  served.set(tester, 0x1030, 0b1_0011 | 5 << 16);
  assertEquals(served.interrupts.drain() > 0, true, "PRIQ");
  assertEquals(served.get(smmu, 0x1_00c8), 1);
  assertEquals(served.memory.getBigUint64(PRIQ - RAM + 8, true), BigInt(IOVA) | 5n);
  served.map(DATA);
  served.command(0x41n | BigInt(SID) << 32n, 5n | 2n << 12n);
  assertEquals(served.get(tester, 0x1034), 0x8000_0000 + 0x2_0005);
  served.set(tester, 0x1010, 0b10);
  assertEquals([served.get(tester, 0x1014), served.get(tester, 0x1018)], [
    0b11 << 8 | 12 << 16,
    DATA,
  ]);
  assertEquals(served.get(tester, 0x1024), 1);
  served.command(0x40n | BigInt(SID) << 32n, 52n);
  assertEquals([served.get(tester, 0x1024), served.get(tester, 0x1028)], [0, 1]);
}

Deno.test("a page is asked for, which the guest is told of by the wire, mapped, used and taken back", () => {
  using served = new Served();
  askAndUse(served);
});

Deno.test("a recording has all that the endpoint asked and was told, and replays", async () => {
  const ring = new TextRing();
  {
    using served = new Served(TRANSLATING, { ring: ring.buffer, guest: {}, payload: false });
    askAndUse(served);
  }
  const path = Deno.makeTempFileSync();
  Deno.writeFileSync(path, ring.read());
  const { header, operations } = await openTrace(path);
  Deno.removeSync(path);
  const replayer = new Replayer(header);
  const seen = new Set<string>();
  for await (const { operation } of operations) {
    assertEquals(replayer.step(operation), [], operation.op);
    seen.add(operation.op);
    for (const [kind] of operation.out ?? []) seen.add(kind);
  }
  for (const kind of ["translation-request", "page-request", "respond", "invalidate"]) {
    assertEquals(seen.has(kind), true, kind);
  }
});

Deno.test("a transfer to where nothing is waits until the guest resumes it", () => {
  using served = new Served(STALLING);
  const { smmu, tester } = served;
  served.enable();
  served.quad(CD, 16n | 1n << 30n | 1n << 31n | 0x7205n << 32n); // S
  for (const [at, value] of [[0xa0, EVENTQ | 4], [0x20, 0xd]]) served.set(smmu, at, value);
  for (const [at, value] of [[0x0c, 8], [0x1c, DATA], [0x14, 1]]) served.set(tester, at, value);
  served.get(tester, 0x00);
  assertEquals(served.get(tester, 0x10), 0xffff_fffd);
  const [word0, word1, address] = [0, 8, 16]
    .map((at) => served.memory.getBigUint64(EVENTQ - RAM + at, true));
  assertEquals([word0, word1 >> 31n & 1n, address], [
    0x10n | BigInt(SID) << 32n,
    1n,
    BigInt(IOVA),
  ]);
  served.map(DATA);
  assertEquals(served.get(tester, 0x10), 0xffff_fffd, "nobody has answered");
  served.command(0x44n | 1n << 12n | BigInt(SID) << 32n, word1 & 0xffffn);
  assertEquals(served.get(tester, 0x10), 0);
  assertEquals(served.memory.getBigUint64(DATA - RAM, true), 0x1234_5678_1234_5678n);
});

Deno.test("an endpoint can have nothing that the SMMU has not, or that an iommufd has no way for", () => {
  const folder = Deno.makeTempDirSync();
  const make = (kind: Kind, iommufd?: IommufdKind): DeviceMachine =>
    made(kind, `${folder}/smmu.sock`, `${folder}/dma.sock`, new Poller(), iommufd);
  assertThrows(
    () => make({ ...TRANSLATING, features: {} }),
    RangeError,
    "Endpoint dma-test has ats, but feature ats of its SMMU is false",
  );
  assertThrows(
    () => make({ ...STALLING, features: {} }),
    RangeError,
    "Endpoint dma-test stalls, but feature stallModel of its SMMU is 1",
  );
  assertThrows(() => make(STALLING, "model"), EnvironmentError, "Cannot stall an endpoint");
  Deno.removeSync(folder, { recursive: true });
});
