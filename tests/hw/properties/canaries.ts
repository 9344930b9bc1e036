/**
 * Devices that are broken on purpose.
 * @module
 */
import type { AtsPort } from "../../../hw/ats_port.ts";
import type { GuestMemory } from "../../../hw/guest_memory.ts";
import type { SmmuV3Snapshot } from "../../../hw/smmuv3/smmuv3.ts";
import type { Tlb } from "../../../hw/smmuv3/translation/tlb.ts";
import { altered, CDS, Guest, STRTAB } from "../../support/guest.ts";
import type { MakeGuest } from "./property.ts";

/** A broken device, and the property that has to notice. */
export interface Canary {
  /** What it does wrong. */
  readonly name: string;
  /** The groups of the property. */
  readonly groups: string;
  readonly make: MakeGuest;
}

const COMMANDS = "P1 P2 P5 P6 P9";
const EVENTS = "P1 P3 P5 P16";
const CACHES = "P7 P11 P18";
const STES = "P12";
const WALKS = "P14 P15 P17 P19 P21 P22";
const UPDATES = "P19";
const SUBSTREAMS = "P20";
const STALLS = "P23";
const ATS = "P24";
const SNAPSHOTS = "P23 P24";
const REGISTERS = "P25";
const BRING_UP = "P26";
const CMDQ_PROD = 0x98;
const CMDQ_CONS = 0x9c;

/** A guest whose device was tampered with. */
function tampered(tamper: (guest: Guest) => void): MakeGuest {
  return (options) => {
    const guest = new Guest(options);
    tamper(guest);
    return guest;
  };
}

/** A guest whose device's TLB was tampered with. */
function withTlb(tamper: (tlb: Tlb) => Partial<Tlb>): MakeGuest {
  return tampered(({ smmu }) => {
    const { tlb } = smmu.translator;
    Object.assign(tlb, tamper(tlb));
  });
}

/** A guest whose device sees memory otherwise. */
function withMemory(tamper: (ram: GuestMemory) => Partial<GuestMemory>): MakeGuest {
  return (options = {}) => {
    const { wrap = (ram): GuestMemory => ram } = options;
    return new Guest({
      ...options,
      wrap: (ram) => {
        const memory = wrap(ram);
        return altered(memory, tamper(memory));
      },
    });
  };
}

/** Replaces what a write to a register does. */
function withWrites(
  guest: Guest,
  write: (offset: number, value: number, honest: (offset: number, value: number) => void) => void,
): void {
  const { smmu } = guest;
  const honest = smmu.write32.bind(smmu);
  smmu.write32 = (offset, value): void => write(offset, value, honest);
}

/** A guest whose device finds records of a size otherwise. */
function withRecords(
  sizeBytes: number,
  tamper: (quads: BigUint64Array, gpa: number) => void,
): MakeGuest {
  return withMemory((ram) => ({
    fetch: (gpa, into) => {
      if (!ram.fetch(gpa, into)) return false;
      if (into.bytes.length === sizeBytes) tamper(into.quads, gpa);
      return true;
    },
  }));
}

/** A guest whose device records events otherwise. */
function withEvents(tamper: (quads: BigUint64Array) => void): MakeGuest {
  return withMemory((ram) => ({
    store: (gpa, from) => {
      if (from.bytes.length === 32) tamper(from.quads);
      return ram.store(gpa, from);
    },
  }));
}

const isSte = (gpa: number): boolean => gpa >= STRTAB && gpa < STRTAB + 0x1000;
const opcode = (quads: BigUint64Array): number => Number(quads[0] & 0xffn);

/** All of them. */
export const CANARIES: readonly Canary[] = [
  {
    name: "a command queue that reads one slot beyond CMDQ_PROD",
    groups: COMMANDS,
    make: tampered((guest) =>
      withWrites(guest, (offset, value, honest) => {
        const isSmall = offset === CMDQ_PROD && value < 2 << guest.log2queue;
        honest(offset, isSmall ? (value + 1) & ((2 << guest.log2queue) - 1) : value);
        if (isSmall) honest(offset, value);
      })
    ),
  },
  {
    name: "a command queue that goes on behind an error",
    groups: COMMANDS,
    make: tampered((guest) =>
      withWrites(guest, (offset, value, honest) => {
        honest(offset, value);
        if (offset === CMDQ_PROD) honest(0x64, guest.smmu.read32(0x60));
      })
    ),
  },
  {
    name: "a CMDQ_CONS that can be written while the queue is enabled",
    groups: COMMANDS,
    make: tampered((guest) =>
      withWrites(guest, (offset, value, honest) => {
        const cr0 = guest.smmu.read32(0x20);
        if (offset === CMDQ_CONS) honest(0x20, 0);
        honest(offset, value);
        if (offset === CMDQ_CONS) honest(0x20, cr0);
      })
    ),
  },
  {
    name: "a CMD_SYNC whose message has eight bytes",
    groups: COMMANDS,
    make: withMemory((ram) => ({
      store32: (gpa, value) => ram.store32(gpa, value) && ram.store32(gpa, value ^ 1),
    })),
  },
  {
    name: "an event queue that overwrites what was not read",
    groups: EVENTS,
    make: tampered((guest) => overwriting(guest)),
  },
  {
    name: "an event queue that tells each event",
    groups: EVENTS,
    make: tampered((guest) => {
      const { smmu, eventq } = guest;
      const read = smmu.dma.read.bind(smmu.dma);
      smmu.dma.read = (...transfer): boolean => {
        const before = [smmu.read32(0x1_00a8), eventq.pulses, guest.messages.length];
        const done = read(...transfer);
        const isTold = eventq.pulses > before[1] || guest.messages.length > before[2];
        if (smmu.read32(0x1_00a8) !== before[0] && !isTold) eventq.pulse();
        return done;
      };
    }),
  },
  {
    name: "an event queue whose OVFLG is set instead of toggled",
    groups: EVENTS,
    make: tampered((guest) => {
      const { smmu } = guest;
      const read = smmu.read32.bind(smmu);
      let isSet = false;
      smmu.read32 = (offset): number => {
        const value = read(offset);
        if (offset !== 0x1_00a8) return value;
        isSet ||= value >>> 31 === 1;
        return isSet ? (value | 0x8000_0000) >>> 0 : value;
      };
    }),
  },
  {
    name: "an event that is recorded twice",
    groups: EVENTS,
    make: tampered((guest) => {
      const { smmu } = guest;
      const read = smmu.dma.read.bind(smmu.dma);
      smmu.dma.read = (...transfer): boolean => read(...transfer) || read(...transfer);
    }),
  },
  {
    name: "a TLB that ignores ASIDs",
    groups: CACHES,
    make: withTlb(({ domains }) => {
      const intern = domains.intern.bind(domains);
      domains.intern = (world, vmid): number => intern(world, vmid, -1);
      return {};
    }),
  },
  {
    name: "a TLB that ignores VMIDs",
    groups: CACHES,
    make: withTlb(({ domains }) => {
      const intern = domains.intern.bind(domains);
      domains.intern = (world, _vmid, asid): number => intern(world, 1, asid);
      return {};
    }),
  },
  {
    name: "a TLB in which an invalidation by address spares blocks",
    groups: CACHES,
    make: withTlb((tlb) => {
      const { invalidateRange } = tlb;
      return {
        invalidateRange: (lo, hi, ...rest) =>
          lo >= 0x4000_0000 && lo < 0x4080_0000 && hi === 0
            ? undefined
            : invalidateRange.call(tlb, lo, hi, ...rest),
      };
    }),
  },
  {
    name: "a TLB in which an invalidation by address spares global entries",
    groups: CACHES,
    make: withTlb((tlb) => {
      const { domains, invalidateRange } = tlb;
      return {
        invalidateRange: (...range) => {
          const { sharedOf } = domains;
          domains.sharedOf = (domain): number => domain;
          invalidateRange.apply(tlb, range);
          domains.sharedOf = sharedOf;
        },
      };
    }),
  },
  {
    name: "a TLB in which CMD_TLBI_NH_ASID does nothing",
    groups: CACHES,
    make: withTlb(() => ({ invalidateAsid: () => {} })),
  },
  {
    name: "a CMD_TLBI_S12_VMALL that leaves stage 2",
    groups: CACHES,
    make: withTlb((tlb) => {
      const { invalidateVmid } = tlb;
      return {
        invalidateVmid: (world, vmid) =>
          world === 1 ? undefined : invalidateVmid.call(tlb, world, vmid),
      };
    }),
  },
  {
    name: "a command queue that says it is done before it is",
    groups: CACHES,
    make: withTlb((tlb) => late(tlb, ["invalidateAll", "invalidateVmid", "invalidateRange"])),
  },
  {
    name: "a CMD_CFGI_CD that leaves what was found last",
    groups: CACHES,
    make: tampered(({ smmu }) => {
      smmu.translator.contexts.invalidateSubstream = (): void => {};
    }),
  },
  {
    name: "a cache of what is not there",
    groups: CACHES,
    make: tampered((guest) => {
      const faulted = new Set<string>();
      const { smmu } = guest;
      const read = smmu.dma.read.bind(smmu.dma);
      smmu.dma.read = (requester, lo, hi, into): boolean => {
        const key = `${requester.streamId} ${hi} ${lo}`;
        if (faulted.has(key)) return false;
        const done = read(requester, lo, hi, into);
        if (!done) faulted.add(key);
        return done;
      };
      const invalidateAll = smmu.translator.tlb.invalidateAll.bind(smmu.translator.tlb);
      smmu.translator.tlb.invalidateAll = (): void => {
        faulted.clear();
        invalidateAll();
      };
    }),
  },
  {
    name: "an STE that bypasses, and must have zeros where nothing counts",
    groups: STES,
    make: withRecords(64, (quads, gpa) => {
      const isBypass = (quads[0] & 0xfn) === 0b1001n;
      if (isSte(gpa) && isBypass && (quads[0] >> 4n | quads[2] | quads[3]) !== 0n) quads[0] = 0n;
    }),
  },
  {
    name: "an STE of stage 2 whose EATS and STRW count without stage 1 and IDR0.Hyp",
    groups: STES,
    make: withRecords(64, (quads, gpa) => {
      const isStage2 = (quads[0] & 0xfn) === 0b1101n;
      if (isSte(gpa) && isStage2 && (quads[1] >> 30n & 3n) !== 0n) quads[0] = 0n;
    }),
  },
  {
    name: "an STE of which half is what was read the last time",
    groups: STES,
    make: tornRecords(),
  },
  {
    name: "a walk that ignores APTable",
    groups: WALKS,
    make: withRecords(8, (quads) => quads[0] &= ~(3n << 61n)),
  },
  {
    name: "a walk that ignores output bits beyond the address size",
    groups: WALKS,
    make: withRecords(8, (quads) => quads[0] &= ~(0xfn << 44n)),
  },
  {
    name: "an access flag that is reported as set, and is not",
    groups: WALKS,
    make: withMemory(() => ({ compareExchange: () => 0 })),
  },
  {
    name: "an event without the tag of its address",
    groups: WALKS,
    make: withEvents((quads) => quads[2] &= (1n << 56n) - 1n),
  },
  {
    name: "an event whose RnW says what was written",
    groups: WALKS,
    make: withEvents((quads) => quads[1] ^= 1n << 35n),
  },
  {
    name: "an event of stage 2 that does not say so",
    groups: WALKS,
    make: withEvents((quads) => quads[1] &= ~(1n << 39n)),
  },
  {
    name: "an update that does not look whether the descriptor has changed",
    groups: UPDATES,
    make: withMemory((ram) => ({
      compareExchange: (gpa, expected, desired) => {
        const done = ram.compareExchange(gpa, expected, desired);
        if (done !== 0) ram.store(gpa, desired);
        return 0;
      },
    })),
  },
  {
    name: "an update that also clears",
    groups: UPDATES,
    make: withMemory((ram) => ({
      compareExchange: (gpa, expected, desired) => {
        desired.quads[0] &= ~(1n << 51n);
        return ram.compareExchange(gpa, expected, desired);
      },
    })),
  },
  {
    name: "a SubstreamID 0 that counts as none",
    groups: SUBSTREAMS,
    make: tampered(({ smmu }) => {
      const read = smmu.dma.read.bind(smmu.dma);
      smmu.dma.read = (requester, ...transfer): boolean => {
        const substreamId = requester.substreamId === 0 ? -1 : requester.substreamId;
        return read({ ...requester, substreamId }, ...transfer);
      };
    }),
  },
  {
    name: "a level 1 descriptor of CDs that is valid whatever it says",
    groups: SUBSTREAMS,
    make: withRecords(8, (quads, gpa) => {
      if (gpa >= CDS && gpa < CDS + 0x1_0000) quads[0] |= 1n;
    }),
  },
  {
    name: "a CMD_STALL_TERM of the neighbour",
    groups: STALLS,
    make: withRecords(16, (quads) => {
      if (opcode(quads) === 0x45) quads[0] ^= 1n << 32n;
    }),
  },
  {
    name: "a CMD_RESUME that always retries",
    groups: STALLS,
    make: withRecords(16, (quads) => {
      if (opcode(quads) === 0x44) quads[0] |= 1n << 12n;
    }),
  },
  {
    name: "a tag that is given to two at once",
    groups: STALLS,
    make: withEvents((quads) => quads[1] &= ~3n),
  },
  {
    name: "a snapshot without the tags of those that wait",
    groups: SNAPSHOTS,
    make: withSnapshots((snapshot) => ({
      ...snapshot,
      stalls: {
        ...snapshot.stalls,
        slots: snapshot.stalls.slots.map(([index, , transaction]) => [index, index, transaction]),
      },
    })),
  },
  {
    name: "a snapshot without those that software does not know of yet",
    groups: SNAPSHOTS,
    make: withSnapshots((snapshot) => ({
      ...snapshot,
      stalls: { ...snapshot.stalls, keptBack: [] },
    })),
  },
  {
    name: "page 0 without the registers of page 1",
    groups: REGISTERS,
    make: tampered((guest) => {
      const { smmu } = guest;
      const read = smmu.read32.bind(smmu);
      smmu.read32 = (offset): number => offset === 0xac ? 0 : read(offset);
    }),
  },
  {
    name: "split-stage ATS whose answers are physical addresses",
    groups: ATS,
    make: withRecords(64, (quads, gpa) => {
      const eats = quads[1] >> 28n & 3n;
      if (isSte(gpa) && eats === 2n && (quads[0] >> 1n & 7n) === 7n) quads[1] ^= 3n << 28n;
    }),
  },
  {
    name: "an ATSCHK that cannot be set",
    groups: ATS,
    make: tampered((guest) => {
      withWrites(guest, (offset, value, honest) => {
        honest(offset, offset === 0x20 ? value & ~0x10 : value);
      });
    }),
  },
  {
    name: "translation requests that record what is wrong with their configuration",
    groups: ATS,
    make: tampered((guest) => {
      withWrites(guest, (offset, value, honest) => {
        honest(offset, offset === 0x2c ? value | 8 : value);
      });
    }),
  },
  {
    name: "translated transactions that are translated again",
    groups: ATS,
    make: tampered(({ smmu }) => {
      const make = smmu.atsPort.bind(smmu);
      smmu.atsPort = (): AtsPort => {
        const port = make();
        return { ...port, translated: { ...port.translated, read: smmu.dma.read.bind(smmu.dma) } };
      };
    }),
  },
  {
    name: "a write of eight bytes whose upper half is lost",
    groups: REGISTERS,
    make: tampered(({ smmu }) => {
      const write = smmu.write.bind(smmu);
      smmu.write = (offset, bytes): void => write(offset, bytes.subarray(0, 4));
    }),
  },
  {
    name: "a CR0ACK that says so at the next write",
    groups: REGISTERS,
    make: tampered((guest) => {
      const { smmu } = guest;
      const read = smmu.read32.bind(smmu);
      let acknowledged = read(0x24);
      withWrites(guest, (offset, value, honest) => {
        if (offset === 0x20) acknowledged = read(0x24);
        honest(offset, value);
      });
      smmu.read32 = (offset): number => offset === 0x24 ? acknowledged : read(offset);
    }),
  },
  {
    name: "a reset that leaves errors",
    groups: BRING_UP,
    make: tampered(({ smmu }) => {
      const reset = smmu.reset.bind(smmu);
      smmu.reset = (): void => {
        const error = smmu.read32(0x60);
        reset();
        const snapshot = smmu.snapshot();
        if (error === 0) return;
        smmu.restore({ ...snapshot, registers: [...snapshot.registers, [0x60, error]] });
      };
    }),
  },
  {
    name: "a CMD_CFGI_ALL that leaves the last stream",
    groups: BRING_UP,
    make: tampered(({ smmu }) => {
      const { contexts } = smmu.translator;
      const honest = contexts.invalidateStreams.bind(contexts);
      contexts.invalidateStreams = (first, count): void => honest(first, Math.min(count, 3));
    }),
  },
];

/** A guest whose device is saved as something else. */
function withSnapshots(tamper: (snapshot: SmmuV3Snapshot) => SmmuV3Snapshot): MakeGuest {
  return tampered((guest) => {
    const honest = guest.renew.bind(guest);
    guest.renew = (find): void => {
      const { smmu } = guest;
      const snapshot = smmu.snapshot.bind(smmu);
      smmu.snapshot = (): SmmuV3Snapshot => tamper(snapshot());
      honest(find);
    };
  });
}

/** What is full looks as if its oldest record had been read. */
function overwriting({ smmu, log2queue }: Guest): void {
  const read = smmu.dma.read.bind(smmu.dma);
  smmu.dma.read = (...transfer): boolean => {
    const [prod, cons] = [smmu.read32(0x1_00a8), smmu.read32(0x1_00ac)];
    const isFull = ((prod ^ cons) & ((2 << log2queue) - 1)) === 1 << log2queue;
    if (isFull) smmu.write32(0x1_00ac, cons + 1);
    const done = read(...transfer);
    if (isFull) smmu.write32(0x1_00ac, cons);
    return done;
  };
}

/** Each call of some methods happens at the next one. */
function late<K extends "invalidateAll" | "invalidateVmid" | "invalidateRange">(
  tlb: Tlb,
  names: readonly K[],
): Partial<Tlb> {
  let waiting = (): void => {};
  return Object.fromEntries(names.map((name) => {
    const honest = tlb[name] as (...args: unknown[]) => void;
    return [name, (...args: unknown[]) => {
      const before = waiting;
      waiting = (): void => honest.apply(tlb, args);
      before();
    }];
  }));
}

/** A whole entry that never was: its upper half is that of the fetch before. */
function tornRecords(): MakeGuest {
  const before = new Map<number, bigint>();
  return withRecords(64, (quads, gpa) => {
    if (!isSte(gpa)) return;
    for (let i = 1; i < 4; i++) {
      const now = quads[i];
      quads[i] = before.get(gpa + i) ?? now;
      before.set(gpa + i, now);
    }
  });
}
