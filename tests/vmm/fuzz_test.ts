/** A hostile guest: that it gets far, that it notices what is broken, and what it once found. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { SmmuV3Options } from "../../hw/smmuv3/options.ts";
import { SmmuV3 } from "../../hw/smmuv3/smmuv3.ts";
import { main } from "../../vmm/cli.ts";
import { fuzz, type FuzzResult } from "../../vmm/fuzz/fuzz.ts";
import type { MakeDevice } from "../../vmm/fuzz/fuzzed_device.ts";
import { playCase } from "../../vmm/fuzz/play_case.ts";
import { altered } from "../support/guest.ts";

const FOUND = new URL("../fuzz/", import.meta.url);
const never = new AbortController().signal;

/** What it once found, by the file of the case. */
const MENDED: Readonly<Record<string, string>> = {
  "attempts_in_vain.jsonl":
    "each CMD_STALL_TERM, CMD_RESUME and write of a register tried all again that waited, although none could be told of",
};

Deno.test("what was once found holds now", async (t) => {
  const files = [...Deno.readDirSync(FOUND)].map(({ name }) => name).sort();
  assertEquals(files, Object.keys(MENDED), "each file says what it was");
  for (const [file, was] of Object.entries(MENDED)) {
    await t.step(`${file}: ${was}`, async () => {
      const text = await Deno.readTextFile(new URL(file, FOUND));
      assertEquals(playCase(JSON.parse(text)), undefined);
    });
  }
});

Deno.test("some runs hold", async () => {
  const seed = Date.now() % 2 ** 32;
  const { failure, steps, runs } = await fuzz({ seed, steps: 20_000, signal: never });
  assertEquals(failure, undefined, `deno task fuzz --seed ${seed} --steps 20000`);
  assertEquals([steps, runs], [20_000, 10]);
});

Deno.test("a guest reaches every command, the events of a device, all ways of translation, stalls", async () => {
  const { reach } = await fuzz({ seed: 4, steps: 40_000, signal: never });
  const reached = (counts: readonly number[]): number[] =>
    [...counts.keys()].filter((number) => counts[number] > 0);
  assertEquals(reached(reach.commands), [
    ...[0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x23],
    ...[0x28, 0x2a, 0x30, 0x40, 0x41, 0x44, 0x45, 0x46],
  ]);
  assertEquals(reached(reach.events), [
    ...[0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x10, 0x11, 0x12, 0x13],
  ]);
  assert(reach.translations.every((count) => count > 1000), `${reach.translations}`);
  assert(reach.refused > 100 && reach.stalls > 50 && reach.interrupts > 100);
});

Deno.test("a seed does the same each time", async () => {
  const run = async (): Promise<FuzzResult> => await fuzz({ seed: 7, steps: 3_000, signal: never });
  assertEquals(await run(), await run());
});

/** A device that was tampered with. */
function tampered(tamper: (smmu: SmmuV3) => void): MakeDevice {
  return (options) => {
    const smmu = new SmmuV3(options);
    tamper(smmu);
    return smmu;
  };
}

/** A device whose memory is another. */
function withMemory(alter: (memory: SmmuV3Options["memory"]) => object): MakeDevice {
  return (options) =>
    new SmmuV3({ ...options, memory: altered(options.memory, alter(options.memory)) });
}

const CANARIES: Readonly<Record<string, readonly [says: string, make: MakeDevice]>> = {
  "one that throws at a command that it does not know": [
    "No such command",
    withMemory((memory) => ({
      fetch: (gpa: number, into: Parameters<typeof memory.fetch>[1]): boolean => {
        const isFetched = memory.fetch(gpa, into);
        const isUnknown = into.bytes.length === 16 && (into.words[0] & 0x80) !== 0;
        if (isUnknown) throw new RangeError("No such command");
        return isFetched;
      },
    })),
  ],
  "one that looks at a command again and again": [
    "The device accessed memory n times, but n are enough",
    withMemory((memory) => ({
      fetch: (gpa: number, into: Parameters<typeof memory.fetch>[1]): boolean => {
        if (into.bytes.length === 16) { for (let i = 0; i < 100; i++) memory.fetch(gpa, into); }
        return memory.fetch(gpa, into);
      },
    })),
  ],
  "one that records events beside the queue": [
    "A record was written at n, outside the queue",
    withMemory((memory) => ({
      store: (gpa: number, from: Parameters<typeof memory.store>[1]): boolean =>
        memory.store(from.bytes.length === 32 ? gpa - 0x20 : gpa, from),
    })),
  ],
  "one whose CR0ACK is late": [
    "CRnACK is not CRn",
    tampered((smmu) => {
      const read = smmu.read32.bind(smmu);
      smmu.read32 = (offset): number => offset === 0x24 ? 0 : read(offset);
    }),
  ],
  "one whose CMDQ_CONS is late": [
    "n commands were not consumed",
    tampered((smmu) => {
      const read = smmu.read32.bind(smmu);
      smmu.read32 = (offset): number => Math.max(read(offset) - Number(offset === 0x9c), 0);
    }),
  ],
  "one whose snapshot forgets a register": [
    "A snapshot that was restored is another",
    tampered((smmu) => {
      const restore = smmu.restore.bind(smmu);
      smmu.restore = (snapshot, find): void =>
        restore({ ...snapshot, registers: snapshot.registers.slice(1) }, find);
    }),
  ],
  "one whose TLB has forgotten its size": [
    "The TLB holds n of n",
    tampered(({ translator }) => {
      Object.defineProperty(translator.tlb, "capacity", { value: 0 });
    }),
  ],
};

Deno.test("canary: broken devices are noticed, and what they fail at is made small", async (t) => {
  for (const [name, [says, make]] of Object.entries(CANARIES)) {
    await t.step(name, async () => {
      const { failure } = await fuzz({ seed: 3, steps: 60_000, signal: never, make });
      if (failure === undefined) throw new Error("It was not noticed");
      const text = failure.message.replaceAll(/0x[0-9a-f]+|\d+/g, "n");
      assertStringIncludes(text, says);
      const { steps } = failure.case;
      assert(steps.length <= 12, `${steps.length} steps: ${JSON.stringify(failure.case)}`);
      const again = JSON.parse(JSON.stringify(failure.case));
      assert(playCase(again, undefined, make) !== undefined, "it fails again from its text");
      assertEquals(playCase(again), undefined, "ours does not");
    });
  }
});

Deno.test("vsmmu fuzz tells how far it got, and plays a case", async (t) => {
  const run = async (args: string): Promise<[number, string, string]> => {
    const [out, notes]: string[][] = [[], []];
    const io = {
      out: (line: string): void => void out.push(line),
      note: (line: string): void => void notes.push(line),
      signal: never,
    };
    const code = await main(args.split(" "), io);
    return [code, out.join("\n"), notes.join("\n")];
  };
  const file = new URL("attempts_in_vain.jsonl", FOUND).pathname;
  const odd = await Deno.makeTempFile();
  const cases: [args: string, code: number, says: string][] = [
    ["fuzz --seed 1 --steps 2000", 0, "Everything held: seed 1, 2,000 steps in 1 runs"],
    ["fuzz --seed 1 --steps 2000 --json", 0, '"steps": 2000'],
    [`fuzz --case ${file}`, 0, "Everything held: 25 steps"],
    [`fuzz --case ${file} --json`, 0, '{"steps":25,"message":null}'],
    [`fuzz --case ${file} --seed 1`, 2, "Cannot use --case with --seed or --steps"],
    [`fuzz --case ${odd}`, 3, "it is no case of vsmmu fuzz"],
    ["fuzz --seed x", 2, "Cannot use --seed x: it is a whole number from 0 to 4294967295"],
    ["fuzz --steps 0", 2, "Cannot use --steps 0: it is a whole number from 1"],
  ];
  for (const [args, code, says] of cases) {
    await t.step(args.replace(file, "FILE").replace(odd, "ODD"), async () => {
      const [found, out, notes] = await run(args);
      assertEquals([found, notes.split("\n").length], [code, 1], out + notes);
      assertStringIncludes(code < 2 ? out : notes, says);
    });
  }
  await Deno.remove(odd);
});
