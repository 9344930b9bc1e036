import { assertEquals, assertStringIncludes } from "@std/assert";
import { COMMANDS } from "../../hw/smmuv3/queues/commands.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { divergenceLines } from "../../vmm/trace/replay/divergence.ts";
import type { TraceHeader } from "../../vmm/trace/format.ts";
import type { DeviceMaker } from "../../vmm/trace/replay/replayer.ts";
import { runReplay } from "../../vmm/trace/replay/replayer_run.ts";
import { openTrace, type TraceLine } from "../../vmm/trace/trace_file.ts";
import { recordDriver } from "../support/recorded_driver.ts";

type Options = ConstructorParameters<typeof SmmuV3>[0];

/** A device whose memory is seen through something else. */
function seen(options: Options, memory: Partial<Options["memory"]>): Options {
  const { fetch, store, store32, compareExchange, read, write } = options.memory;
  return { ...options, memory: { fetch, store, store32, compareExchange, read, write, ...memory } };
}

/** A device of which a command does something else while `use` runs. */
async function withCommand(opcode: number, use: () => Promise<void>): Promise<void> {
  const commands = COMMANDS as ({ run: unknown; name: string } | undefined)[];
  const whole = commands[opcode]!;
  commands[opcode] = { ...whole, run: () => {} };
  try {
    await use();
  } finally {
    commands[opcode] = whole;
  }
}

/** A device whose registers its maker may change. */
function withRegisters(
  options: Options,
  alter: (smmu: SmmuV3, words: Uint32Array) => void,
): SmmuV3 {
  const registers = new ArrayBuffer(0x2_0000);
  const smmu = new SmmuV3({ ...options, registers });
  alter(smmu, new Uint32Array(registers));
  return smmu;
}

interface Broken {
  readonly name: string;
  /** What the message has to say. */
  readonly says: string[];
  readonly make?: DeviceMaker;
  /** The command that does nothing. */
  readonly opcode?: number;
}

/** Those that real guests meet: with the trace of the corpus that catches them. */
interface BrokenForLinux extends Broken {
  readonly trace: string;
}

const BROKEN: readonly Broken[] = [
  {
    name: "CMD_TLBI_NH_VA does nothing",
    opcode: 0x12,
    says: ["an invalidation was not honoured: the TLB answered for", "CMD_TLBI_NH_VA (Address="],
  },
  {
    name: "CMD_TLBI_NH_ASID drops nothing",
    opcode: 0x11,
    says: ["an invalidation was not honoured: the TLB answered for", "CMD_TLBI_NH_ASID (ASID=0x1)"],
  },
  {
    name: "CMD_CFGI_CD does nothing",
    opcode: 0x05,
    says: ["the cached configuration of StreamID 0x1 answered although CMD_CFGI_CD"],
  },
  {
    name: "CMD_SYNC writes no message",
    make: (options) => new SmmuV3(seen(options, { store32: () => true })),
    says: ["CMD_SYNC was consumed and its completion message was not written", "MSIAddress 0x"],
  },
  {
    name: "CMDQ_CONS is off by one after the wrap",
    make: (options) =>
      withRegisters(options, (smmu, words) => {
        const write32 = smmu.write32.bind(smmu);
        smmu.write32 = (at, value) => {
          write32(at, value);
          const slots = (1 << (words[0x90 / 4] & 31)) - 1;
          if (at === 0x98 && value > 0 && (words[0x9c / 4] & slots) === 0) words[0x9c / 4]++;
        };
      }),
    says: ["CMDQ_CONS.RD is 0x11 where the recording had 0x10: it is off by one, at the wrap"],
  },
  {
    name: "the access flag is not checked",
    make: (options) =>
      new SmmuV3(seen(options, {
        fetch: (gpa, into) => {
          const ok = options.memory.fetch(gpa, into);
          if (into.words.length === 2 && (into.words[0] & 0x43) === 0x43) into.words[0] |= 0x400;
          return ok;
        },
      })),
    says: ["the access flag was not checked", "F_ACCESS", "AF=0x0"],
  },
  {
    name: "a read-only page is writable",
    make: (options) =>
      new SmmuV3(seen(options, {
        fetch: (gpa, into) => {
          const ok = options.memory.fetch(gpa, into);
          if (into.words.length === 2) into.words[0] &= ~0x80;
          return ok;
        },
      })),
    says: ["a read-only page was taken as writable", "F_PERMISSION", "AP=0x3"],
  },
  {
    name: "event records name another stream",
    make: (options) =>
      new SmmuV3(seen(options, {
        store: (gpa, from) => {
          from.words[1] ^= 0x100;
          return options.memory.store(gpa, from);
        },
      })),
    says: ["its record says a wrong StreamID: 0x102 instead of 0x2"],
  },
  {
    name: "the overflow flag is not toggled",
    make: (options) =>
      withRegisters(options, (smmu, words) => {
        const { read32 } = smmu;
        smmu.read32 = (at) => {
          words[0x1_00a8 / 4] &= 0x7fff_ffff;
          return read32.call(smmu, at);
        };
      }),
    says: ["EVENTQ_PROD.OVFLG was not toggled", "expected 0x1"],
  },
  {
    name: "GERROR is not toggled",
    make: (options) =>
      withRegisters(options, (smmu, words) => {
        const write32 = smmu.write32.bind(smmu);
        smmu.write32 = (at, value) => {
          write32(at, value);
          words[0x60 / 4] = words[0x64 / 4];
        };
      }),
    says: ["GERROR.CMDQ_ERR was not toggled", "CERROR 1"],
  },
  {
    name: "the level 2 stream table is indexed beyond its span",
    make: (options) =>
      new SmmuV3(seen(options, {
        fetch: (gpa, into) => options.memory.fetch(into.words.length === 16 ? gpa + 64 : gpa, into),
      })),
    says: [
      "the STE was fetched at",
      "the index into the level 2 stream table is wrong by 1 entry",
    ],
  },
  {
    name: "a stream that aborts is bypassed",
    make: (options) =>
      new SmmuV3(seen(options, {
        fetch: (gpa, into) => {
          const ok = options.memory.fetch(gpa, into);
          if (into.words.length === 16 && (into.words[0] & 0xf) === 1) into.words[0] |= 0x8;
          return ok;
        },
      })),
    says: ["a stream that aborts was let through (bypass instead of abort)", "V=0x1"],
  },
  {
    name: "a block of 2 MiB is kept as 4 KiB",
    make: (options) => {
      const smmu = new SmmuV3(options);
      const { tlb } = smmu.translator;
      const insert = tlb.insert.bind(tlb);
      tlb.insert = (lo, hi, domain, _log2size, _log2leaf, gpaLo, gpaHi, permissions) =>
        insert(lo, hi, domain, 12, 12, gpaLo | (lo & 0x1f_f000), gpaHi, permissions);
      return smmu;
    },
    says: ["a block was walked as a smaller page", "maps 2 MiB, and the TLB holds only 4 KiB"],
  },
  {
    name: "an interrupt for each event",
    make: (options) =>
      new SmmuV3(seen(options, {
        store: (gpa, from) => {
          const ok = options.memory.store(gpa, from);
          if ((gpa & 0xff) !== 0) options.lines!.eventq!.pulse();
          return ok;
        },
      })),
    says: ["an interrupt for each event instead of one when the queue becomes non-empty"],
  },
];

/** One of the above, for a real guest. */
function linux(name: string, trace: string, ...says: string[]): BrokenForLinux {
  return { ...BROKEN.find((broken) => broken.name === name)!, trace, says };
}

const BROKEN_FOR_LINUX: readonly BrokenForLinux[] = [
  linux(
    "CMD_TLBI_NH_VA does nothing",
    "linux-7.3-strict",
    "the TLB answered for 0x",
    "although CMD_TLBI_NH_VA (Address=0x",
  ),
  linux("CMD_TLBI_NH_ASID drops nothing", "linux-7.3-lazy", "although CMD_TLBI_NH_ASID (ASID=0x"),
  linux(
    "CMD_CFGI_CD does nothing",
    "linux-7.3-domains",
    "the cached configuration of StreamID 0x8 answered although CMD_CFGI_CD (StreamID=0x8",
  ),
  linux(
    "CMD_SYNC writes no message",
    "linux-7.3-strict",
    "CMD_SYNC was consumed and its completion message was not written",
  ),
  linux(
    "CMDQ_CONS is off by one after the wrap",
    "linux-6.12-strict",
    "it is off by one, at the wrap of the command queue (0x400 entries)",
  ),
  linux(
    "event records name another stream",
    "linux-7.3-fault",
    "wrong StreamID: 0x110 instead of 0x10",
  ),
  linux(
    "the level 2 stream table is indexed beyond its span",
    "linux-7.3-strict",
    "the index into the level 2 stream table is wrong by 1 entry (L1STD Span=0x9",
  ),
  {
    name: "CR0ACK does not follow CR0",
    trace: "linux-7.3-strict",
    make: (options) =>
      withRegisters(options, (smmu, words) => {
        const { read32 } = smmu;
        smmu.read32 = (at) => {
          words[0x24 / 4] = 0;
          return read32.call(smmu, at);
        };
      }),
    says: ["CR0ACK does not acknowledge what was written: CMDQEN"],
  },
  {
    name: "fewer output address bits",
    trace: "linux-7.3-strict",
    make: (options) => new SmmuV3({ ...options, features: { ...options.features, oas: 44 } }),
    says: ["the device has other features than the recorded one: IDR5.OAS"],
  },
  {
    name: "no interrupt for an event",
    trace: "linux-7.3-fault",
    make: (options) => new SmmuV3({ ...options, lines: {}, msi: { send: () => true } }),
    says: ["an interrupt was lost", "an event queue that becomes non-empty raises an interrupt"],
  },
  {
    name: "pages of 4 KiB are kept as 2 MiB",
    trace: "linux-7.3-strict",
    make: (options) => {
      const smmu = new SmmuV3(options);
      const { tlb } = smmu.translator;
      const insert = tlb.insert.bind(tlb);
      tlb.insert = (lo, hi, domain, _log2size, _log2leaf, gpaLo, gpaHi, permissions) =>
        insert(lo, hi, domain, 21, 21, gpaLo & 0xffe0_0000, gpaHi, permissions);
      return smmu;
    },
    says: ["the transaction was translated to 0x", "instead of 0x", "(a page of 4 KiB)"],
  },
];

Deno.test("a device that is not broken replays the recorded driver identically", async () => {
  const { header, lines } = recordDriver();
  const { result } = await runReplay(header, lines);
  assertEquals([result.operations, result.kinds], [lines.length, []]);
});

/** Replays against a broken device, and looks at what is said of the first divergence. */
async function caught(broken: Broken, open: () => Promise<Trace> | Trace): Promise<void> {
  const check = async (): Promise<void> => {
    const { header, lines } = await open();
    const { result } = await runReplay(header, lines, { make: broken.make });
    assertEquals(result.kinds.length, 1);
    const text = divergenceLines(result.kinds[0].first, "driver.jsonl.gz").join("\n");
    for (const said of broken.says) assertStringIncludes(text, said);
    assertStringIncludes(text, "Most likely: ");
    assertStringIncludes(text, `--seek ${result.line}`);
  };
  await (broken.opcode === undefined ? check() : withCommand(broken.opcode, check));
}

interface Trace {
  readonly header: TraceHeader;
  readonly lines: AsyncIterable<TraceLine> | Iterable<TraceLine>;
}

Deno.test("a broken device is caught, and the message names what is broken", async (t) => {
  const recorded = recordDriver();
  for (const broken of BROKEN) await t.step(broken.name, () => caught(broken, () => recorded));
});

Deno.test("real guests catch a broken device, and the message names what is broken", async (t) => {
  for (const broken of BROKEN_FOR_LINUX) {
    await t.step(broken.name, () =>
      caught(broken, async () => {
        const path = new URL(`../traces/${broken.trace}.jsonl.gz`, import.meta.url).pathname;
        const { header, operations } = await openTrace(path);
        return { header, lines: operations };
      }));
  }
});
