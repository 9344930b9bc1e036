/**
 * Devices that are broken on purpose.
 * @module
 */
import type { GuestMemory } from "../../../hw/guest_memory.ts";
import type { Tlb } from "../../../hw/smmuv3/translation/tlb.ts";
import { altered, Guest } from "../../support/guest.ts";
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
];

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
