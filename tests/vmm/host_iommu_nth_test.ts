/**
 * Every call to the host fails once, with each errno that it may have, and then all from some call on. The host seam
 * never throws; a device never reads through a table that its guest has taken away; nothing is left; one line says why.
 */
import { assert, assertEquals } from "@std/assert";
import { ERRNO, errnoName, SystemError } from "../../uapi/errno.ts";
import type { BoundDevice } from "../../vmm/iommufd/iommufd.ts";
import type { ModelIommufd } from "../../vmm/iommufd/model.ts";
import { type Fault, faultText, FaultyIommufd, NO_FAULT } from "../support/faulty_iommufd.ts";
import { CDS, DATA, RAM } from "../support/guest.ts";
import { NestedGuest } from "../support/nested_guest.ts";

const IOVA = 0x1234_5000n;
const OTHER_IOVA = 0x1234_6000n;
const FIRST = DATA;
const SECOND = DATA + 0x1000;
const SYNC = 0x46n;
const GERROR = 0x60;
const GERRORN = 0x64;
const RAM_RANGE = { gpa: RAM, sizeBytes: 0x100_0000, offset: 0, writable: true };

const ERRNOS = [
  ERRNO.ENOMEM,
  ERRNO.EBUSY,
  ERRNO.EINVAL,
  ERRNO.EIO,
  ERRNO.EOPNOTSUPP,
  ERRNO.EAGAIN,
  ERRNO.EFAULT,
  ERRNO.ENOENT,
  ERRNO.ETIMEDOUT,
];
const CAN_BE_LATE = ["attach", "ioasUnmap", "hwptInvalidate"];
/** Here ENOENT is true: there is nothing. */
const GONE = ["destroy", "ioasUnmap"];

/** What a read gave: a byte, or nothing when it was aborted. */
type Read = number | undefined;

/** A run of the scenario. */
interface Run {
  readonly iommufd: FaultyIommufd;
  readonly model: ModelIommufd;
  /** What the constructor threw. */
  readonly refused: SystemError | undefined;
  readonly log: readonly string[];
  /** Where each read of the scenario is, and what it gave. */
  readonly reads: readonly (readonly [string, Read])[];
  /** Whether the guest's driver got to the end. */
  readonly isWhole: boolean;
}

/** The guest's driver, and a device that reads at every step. */
class Scenario {
  readonly reads: [string, Read][] = [];
  readonly #guest: NestedGuest;

  constructor(guest: NestedGuest) {
    this.#guest = guest;
  }

  /** False when the guest's command queue came to a stand: its driver would reset the SMMU. */
  run(): boolean {
    return this.#streams() && this.#contexts() && this.#invalidations() && this.#registers();
  }

  #streams(): boolean {
    const guest = this.#guest;
    guest.ram.write(FIRST, Uint8Array.of(0x11));
    guest.ram.write(SECOND, Uint8Array.of(0x22));
    this.#read("before any STE", 8, BigInt(FIRST));
    guest.ste(8, 0b1001n);
    if (!this.#do([0x8_0000_0003n, 1n])) return false;
    this.#read("bypass", 8, BigInt(FIRST));
    guest.map(guest.stage1(8).root, IOVA, FIRST);
    if (!this.#do([0x8_0000_0003n, 1n])) return false;
    this.#read("stage 1", 8, IOVA);
    this.#read("stage 1 without a mapping", 8, BigInt(FIRST));
    guest.map(guest.stage1(16, { asid: 2 }).root, IOVA, SECOND);
    if (!this.#do([0x10_0000_0003n, 1n])) return false;
    this.#read("stage 1 of another stream", 16, IOVA);
    guest.ste(16, BigInt(CDS + 8 * 64) | 0b1011n);
    if (!this.#do([0x10_0000_0003n, 1n])) return false;
    this.#read("the other stream with the first one's tables", 16, IOVA);
    guest.ste(16, 0n);
    if (!this.#do([0x10_0000_0003n, 1n])) return false;
    this.#read("without an STE", 16, IOVA);
    return true;
  }

  /** Tables replaced, with another STE and beneath the same one. */
  #contexts(): boolean {
    const guest = this.#guest;
    const root = guest.root();
    guest.map(root, IOVA, SECOND);
    const cd = guest.cd(CDS + 0x2000, { ttb0: root, asid: 3 });
    guest.ste(8, BigInt(cd) | 0b1011n);
    if (!this.#do([0x8_0000_0003n, 1n])) return false;
    this.#read("another STE", 8, IOVA);
    const third = guest.root();
    guest.map(third, IOVA, FIRST);
    guest.cd(cd, { ttb0: third, asid: 4 });
    if (!this.#do([0x8_0000_0003n, 1n])) return false;
    this.#read("another CD, the same STE", 8, IOVA);
    guest.cd(cd, { ttb0: root, asid: 5 });
    if (!this.#do([0x8_0000_0005n, 1n])) return false;
    this.#read("another CD, CMD_CFGI_CD", 8, IOVA);
    return true;
  }

  #invalidations(): boolean {
    const guest = this.#guest;
    const { root } = guest.stage1(8, { asid: 6 });
    const leaf = guest.map(root, IOVA, FIRST);
    const other = guest.map(root, OTHER_IOVA, FIRST);
    if (!this.#do([0x8_0000_0003n, 1n])) return false;
    this.#read("cached", 8, IOVA);
    this.#read("cached too", 8, OTHER_IOVA);
    guest.quad(leaf, BigInt(SECOND) | 0xc43n);
    guest.quad(other, 0n);
    const tlbis = [IOVA, OTHER_IOVA].map((iova): [bigint, bigint] => [0x6_0000_0000_0012n, iova]);
    if (!this.#do(...tlbis)) return false;
    this.#read("invalidated", 8, IOVA);
    this.#read("unmapped", 8, OTHER_IOVA);
    guest.quad(leaf, 0n);
    if (!this.#do([0x30n, 0n])) return false;
    this.#read("all invalidated", 8, IOVA);
    return true;
  }

  #registers(): boolean {
    const guest = this.#guest;
    guest.smmu.write32(0x20, 0xc); // SMMUEN=0
    this.#read("SMMUEN=0", 8, BigInt(SECOND));
    guest.smmu.write32(0x44, 0x8010_0000); // GBPA: Update, ABORT
    this.#read("GBPA.ABORT", 8, BigInt(SECOND));
    guest.smmu.write32(0x20, 0xd);
    guest.map(guest.stage1(24, { asid: 7 }).root, IOVA, SECOND);
    assertEquals(guest.host.move([[8, 24]]), undefined);
    this.#read("moved", 8, IOVA);
    guest.smmu.refreshHost();
    this.#read("by its new StreamID", 8, IOVA);
    guest.host.stageTwo.unmap(RAM_RANGE);
    this.#read("RAM taken away", 8, IOVA);
    return true;
  }

  #read(where: string, streamId: number, iova: bigint): void {
    this.reads.push([where, this.#guest.dmaRead(streamId, iova)?.[0]]);
  }

  /** Commands and CMD_SYNC. What the SMMU refuses is tried once more, as a driver may. */
  #do(...commands: [bigint, bigint][]): boolean {
    const { smmu } = this.#guest;
    for (const [w0, w1] of commands) this.#guest.queue(w0, w1);
    this.#guest.queue(SYNC);
    this.#guest.ring();
    const hasError = (): boolean => ((smmu.read32(GERROR) ^ smmu.read32(GERRORN)) & 1) === 1;
    if (hasError()) smmu.write32(GERRORN, smmu.read32(GERRORN) ^ 1);
    return !hasError();
  }
}

/** Runs the scenario from nothing to nothing. What should not be thrown is thrown on. */
function run(fault: Fault): Run {
  let iommufd: FaultyIommufd | undefined;
  let model: ModelIommufd | undefined;
  const devices: BoundDevice[] = [];
  let guest: NestedGuest | undefined;
  let refused: SystemError | undefined;
  try {
    guest = NestedGuest.make({
      between: (inner) => {
        model = inner as ModelIommufd;
        return iommufd = new FaultyIommufd(inner, fault);
      },
      bound: (bind) => {
        const device = iommufd!.bind(bind);
        devices.push(device);
        return device;
      },
    });
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    refused = error;
  }
  let scenario: Scenario | undefined;
  let isWhole = false;
  if (guest !== undefined) {
    scenario = new Scenario(guest);
    isWhole = scenario.run();
    guest.host[Symbol.dispose]();
    for (const stream of [8, 16]) {
      for (const iova of [IOVA, BigInt(FIRST)]) {
        assertEquals(guest.dmaRead(stream, iova), undefined, "taken down");
      }
    }
  }
  for (const device of devices) device[Symbol.dispose]();
  return {
    iommufd: iommufd!,
    model: model!,
    refused,
    log: guest?.log ?? [],
    reads: scenario?.reads ?? [],
    isWhole,
  };
}

/** What reads give when nothing fails. */
const EXPECTED: readonly (readonly [string, Read])[] = [
  ["before any STE", undefined],
  ["bypass", 0x11],
  ["stage 1", 0x11],
  ["stage 1 without a mapping", undefined],
  ["stage 1 of another stream", 0x22],
  ["the other stream with the first one's tables", 0x11],
  ["without an STE", undefined],
  ["another STE", 0x22],
  ["another CD, the same STE", 0x11],
  ["another CD, CMD_CFGI_CD", 0x22],
  ["cached", 0x11],
  ["cached too", 0x11],
  ["invalidated", 0x22],
  ["unmapped", undefined],
  ["all invalidated", undefined],
  ["SMMUEN=0", 0x22],
  ["GBPA.ABORT", undefined],
  ["moved", undefined],
  ["by its new StreamID", 0x22],
  ["RAM taken away", undefined],
];

/** Each read is aborted, or gives what it should. */
function checkReads({ reads }: Run): void {
  reads.forEach(([where, got], i) => {
    assertEquals(where, EXPECTED[i][0]);
    assert(got === undefined || got === EXPECTED[i][1], `${where}: read 0x${got?.toString(16)}`);
  });
}

const whole = run(NO_FAULT);

Deno.test("when nothing fails all reads give what they should, and nothing is left or said", () => {
  assertEquals(whole.reads, EXPECTED);
  assertEquals([whole.log, whole.isWhole, whole.refused], [[], true, undefined]);
  assertEquals([whole.iommufd.alive, whole.model.size], [[], 0]);
  for (
    const name of [
      ...["bind", "ioasAlloc", "hwptAlloc", "viommuAlloc", "veventqAlloc", "vdeviceAlloc"],
      ...["ioasMapFile", "attach", "hwptInvalidate", "read", "destroy", "ioasUnmap", "detach"],
    ]
  ) assert(whole.iommufd.calls.includes(name), name);
});

Deno.test("whichever call fails, with whatever errno, before its effect or after", async (t) => {
  for (let nth = 1; nth <= whole.iommufd.calls.length; nth++) {
    const name = whole.iommufd.calls[nth - 1];
    await t.step(`${nth} ${name}`, () => {
      const isGone = GONE.includes(name);
      for (const errno of ERRNOS.filter((errno) => !isGone || errno !== ERRNO.ENOENT)) {
        for (const isLate of CAN_BE_LATE.includes(name) ? [false, true] : [false]) {
          const fault = { nth, errno, isLate };
          const result = run(fault);
          const text = faultText(fault);
          assertEquals(result.iommufd.failed, name, text);
          checkReads(result);
          assertEquals([result.iommufd.alive, result.model.size], [[], 0], text);
          if (result.refused !== undefined) {
            assertEquals([result.refused.errno, result.log], [errno, []], text);
            continue;
          }
          assertEquals([result.isWhole, result.log.length], [true, 1], `${text}: ${result.log}`);
          assert(result.log[0].includes(errnoName(errno)), result.log[0]);
        }
      }
    });
  }
});

Deno.test("whichever call is the last that works: nothing is thrown, no device reads what it must not", async (t) => {
  for (let nth = 1; nth <= whole.iommufd.calls.length; nth++) {
    await t.step(`${nth} ${whole.iommufd.calls[nth - 1]}`, () => {
      for (const errno of [ERRNO.EIO, ERRNO.ENOMEM, ERRNO.EBUSY]) {
        const result = run({ nth, errno, isLasting: true });
        checkReads(result);
        assert(result.refused !== undefined || result.log.length > 0);
      }
    });
  }
});
