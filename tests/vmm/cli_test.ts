import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { main } from "../../vmm/cli.ts";

/** What a command line printed, and its exit code. */
interface Outcome {
  readonly code: number;
  readonly out: readonly string[];
  readonly notes: readonly string[];
}

async function vsmmu(args: readonly string[], signal?: AbortSignal): Promise<Outcome> {
  const out: string[] = [];
  const notes: string[] = [];
  const code = await main(args, {
    out: (line) => out.push(line),
    note: (line) => notes.push(line),
    signal: signal ?? new AbortController().signal,
  });
  return { code, out, notes };
}

/** A program that prints `text` to standard output or, failing, to standard error. */
async function script(path: string, text: string, code: number = 0): Promise<void> {
  await Deno.writeTextFile(
    path,
    `#!/bin/sh\necho "${text}" ${code === 0 ? "" : ">&2"}\nexit ${code}\n`,
  );
  await Deno.chmod(path, 0o755);
}

Deno.test("vsmmu without a command prints the commands and fails, with --help it does not fail", async () => {
  const { code, out, notes } = await vsmmu([]);
  assertEquals([code, notes], [2, []]);
  for (
    const name of [
      "microvm",
      "serve",
      "replay",
      "minimise",
      "inspect",
      "compare",
      "probe",
      "bench",
      "fuzz",
    ]
  ) {
    assertStringIncludes(out.join("\n"), `vsmmu ${name}`);
  }
  for (const word of ["--help", "-h", "help"]) {
    assertEquals(await vsmmu([word]), { code: 0, out, notes: [] });
  }
});

Deno.test("vsmmu COMMAND --help lists every flag, whatever else is given", async (t) => {
  const cases = {
    microvm: ["--fault", "--run ACTIONS", "--quiet", "--json", "--smp N", "--qemu PATH"],
    serve: ["--directory DIR", "--record FILE", "--payload", "--json", "--smp N", "--qemu PATH"],
    replay: ["--seek LINE", "--until LINE", "--all", "--snapshot PATH", "--json"],
    minimise: ["--out PATH", "--device MODULE"],
    probe: ["--files-only", "--sysroot DIR", "--json"],
    fuzz: ["--seed N", "--steps N", "--case FILE", "--json"],
    differential: ["--seed N", "--count N", "--only STEPS", "--ours WHERE", "--json"],
    bench: [
      "--core",
      "--storage",
      "--guest",
      "--rounds N",
      "--seconds N",
      "--size MIB",
      "--json",
      "--smp N",
      "--qemu PATH",
    ],
  };
  for (const [name, flags] of Object.entries(cases)) {
    await t.step(name, async () => {
      const { code, out, notes } = await vsmmu([name, "--smp", "none", "--help"]);
      assertEquals([code, notes], [0, []]);
      for (const flag of flags) assertStringIncludes(out.join("\n"), `  ${flag} `);
      assertStringIncludes(out.at(-1)!, "Exit codes: 0 ");
    });
  }
});

Deno.test("vsmmu refuses a wrong command line in one line, before it does anything", async (t) => {
  const cases: [args: string, says: string][] = [
    ["boot", "Cannot run boot: the commands are microvm, serve, replay, minimise, inspect"],
    ["microvm --smp 0", "Cannot use --smp 0: it is a whole number from 1 to 64"],
    ["microvm --smp 3x", "Cannot use --smp 3x: it is a whole number from 1 to 64"],
    ["microvm --smp=", "Cannot use --smp: it needs a value, N"],
    ["microvm --smp 2 --smp=2", "Cannot use --smp more than once"],
    ["microvm --quiet --quiet", "Cannot use --quiet more than once"],
    ["microvm --memory 64", "Cannot use --memory 64: it is a whole number from 256 to 65536"],
    ["microvm --append --quiet", "Cannot use --append: it needs a value, WORDS"],
    ["microvm --disk", "Cannot use --disk: it needs a value, PATH"],
    [
      "microvm --features stage3",
      'Cannot use --features stage3: "stage3" is none of sidSize, ssidSize,',
    ],
    ["microvm --features httu", "Cannot use --features httu: httu needs a number, as in httu=1"],
    ["serve --features msi=no", "Cannot use --features msi=no: msi is on or off, not no"],
    [
      "microvm --ats --features stallModel=2,stallMax=1",
      "Cannot use --features stallModel=2,stallMax=1: Feature ats is true, but PCI functions",
    ],
    ["microvm --features msi,msi", "Cannot use --features msi,msi: msi is there more than once"],
    [
      "serve --features pri",
      "Cannot use --features pri: Feature pri is true, but page requests require ats (§6.3.1",
    ],
    ["microvm --json=yes", "Cannot use --json with a value"],
    ["differential --ours here", "Cannot use --ours here: it is qemu or process"],
    ["differential --only 3-1", "Cannot use --only 3-1: it is numbers of steps, such as 0-3,7"],
    ["differential --only 1 --count 2", "Cannot use --only with --count: it is for one"],
    ["microvm --colour", "Cannot use --colour: no such flag"],
    ["microvm --toString", "Cannot use --toString: no such flag"],
    ["microvm disk.img", 'Cannot use "disk.img"'],
    ["microvm -q", 'Cannot use "-q"'],
    ["microvm --", 'Cannot use "--"'],
    ["microvm --run disk,nonsense", "Cannot use --run nonsense: it is one of disk, fault"],
    ["microvm --run shell --json", "Cannot use --json with a shell"],
    ["microvm --interrupts msi", "Cannot use --interrupts msi: it is msix or intx"],
    ["microvm --bench-size 12", "Cannot use --bench-size 12: it is a multiple of 8"],
    ["microvm --timeout 0", "Cannot use --timeout 0: it is a whole number from 1 to 86400"],
    ["replay", "Cannot use nothing: it needs FILE"],
    ["microvm --registers shared", "Cannot use --registers shared: it is trapped"],
    ["passthrough --registers shared", "Cannot use --registers shared: it is trapped"],
    ["passthrough --take-back --devices nvme", "Cannot use --take-back with --devices nvme"],
    ["passthrough --take-back --fault", "Cannot use --take-back with --fault"],
    ["passthrough --take-back --compare", "Cannot use --take-back with --compare"],
    ["passthrough --take-back --deaf", "Cannot use --deaf without --take-back and --root-ports"],
    ["serve --bars shared", "Cannot use --bars shared: it is mapped or trapped"],
    ["serve --smp 65", "Cannot use --smp 65: it is a whole number from 1 to 64"],
    ["serve --fault", "Cannot use --fault: no such flag"],
    ["serve --payload", "Cannot use --payload without --record"],
    ["microvm --payload", "Cannot use --payload without --record"],
    ["replay", "Cannot use nothing: it needs FILE"],
    ["replay --json", "Cannot use nothing: it needs FILE"],
    ["replay a b --seek 5", "Cannot use --seek with 2 files: it is for one"],
    ["replay a --seek 1", "Cannot use --seek 1: it is a whole number from 2"],
    ["minimise a", "Cannot minimise without --out PATH"],
    ["minimise a b", 'Cannot use "b"'],
    ["bench --size 9", "Cannot use --size 9: it is a multiple of 8"],
    ["bench --threads 1,0", "Cannot use --threads 1,0: it is whole numbers from 1 to 64"],
    ["bench --pages 1,x", "Cannot use --pages 1,x: it is whole numbers from 1 to 1024"],
    ["bench --rounds 0", "Cannot use --rounds 0: it is a whole number from 1 to 99"],
    ["bench --core --memory none", "Cannot use --memory none: it is a whole number"],
  ];
  for (const [args, says] of cases) {
    await t.step(args, async () => {
      const { code, out, notes } = await vsmmu(args.split(" "));
      assertEquals([code, out, notes.length], [2, [], 1]);
      assertStringIncludes(notes[0], says);
    });
  }
});

Deno.test("vsmmu says in one line what is missing, and what a program said beneath it", async (t) => {
  const folder = await Deno.makeTempDir();
  const at = (name: string): string => `${folder}/${name}`;
  await script(at("old"), "QEMU emulator version 7.2.0");
  await script(at("other"), "busybox");
  await script(at("broken"), "bad library", 127);
  await Deno.writeFile(at("odd.img"), new Uint8Array(1000));
  await Deno.writeFile(at("empty"), new Uint8Array());
  const cases: { flag: string; path: string; says: RegExp; beneath?: string }[] = [
    { flag: "qemu", path: at("old"), says: /old: QEMU 7\.2\.0 is older than 10\.1/ },
    { flag: "qemu", path: at("other"), says: /as QEMU: it answers --version with "busybox"$/ },
    { flag: "qemu", path: at("none"), says: /none is not on this machine$/ },
    {
      flag: "qemu",
      path: at("broken"),
      says: /broken ended with exit status 127$/,
      beneath: "bad library",
    },
    { flag: "kernel", path: at("none"), says: /^Cannot read the kernel .*none: / },
    {
      flag: "kernel",
      path: at("odd.img"),
      says: /^Cannot boot .*odd\.img: it is an unknown format/,
    },
    { flag: "initrd", path: at("empty"), says: /^Cannot use the initramfs .*: it is empty$/ },
    { flag: "initrd", path: folder, says: /^Cannot use the initramfs .*: it is not a file$/ },
    { flag: "disk", path: at("none"), says: /^Cannot open the disk .*none: / },
    { flag: "disk", path: folder, says: /^Cannot open the disk .*: Is a directory/ },
    { flag: "disk", path: at("odd.img"), says: /^Cannot use the disk .*: it has 1000 bytes/ },
    {
      flag: "cache",
      path: at("empty"),
      says: /^Cannot make the cache folder .*empty: File exists/,
    },
  ];
  for (const { flag, path, says, beneath } of cases) {
    await t.step(`--${flag} ${path.replace(folder, "")}`, async () => {
      const { code, out, notes } = await vsmmu(["microvm", `--${flag}`, path]);
      assertEquals([code, out], [3, []]);
      assertMatch(notes[0], says);
      assertEquals(notes.slice(1), beneath === undefined ? [] : [`  ${beneath}`]);
    });
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("vsmmu ends with 130 and one line when it is interrupted", async (t) => {
  const signal = AbortSignal.abort();
  const folder = await Deno.makeTempDir();
  for (const args of [["microvm"], ["serve"], ["bench", "--storage"]]) {
    await t.step(args.join(" "), async () => {
      const { code, out, notes } = await vsmmu([...args, "--cache", folder], signal);
      assertEquals([code, out], [130, []]);
      assertEquals(notes.at(-1), "Interrupted; everything that was started is gone");
    });
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("vsmmu bench --core --json prints one object and nothing else", async () => {
  const { code, out } = await vsmmu(["bench", "--core", "--json"]);
  assertEquals(code, 0);
  const { measures } = JSON.parse(out.join("\n"));
  assertEquals(measures.map(({ unit }: { unit: string }) => unit), [
    ...["million/s", "ns", "ns", "bytes", "bytes", "bytes", "bytes"],
  ]);
  for (const { value, isWithin } of measures) {
    assertEquals([value >= 0, typeof isWithin], [true, "boolean"]);
  }
});

Deno.test("vsmmu replay names a trace that it cannot read", async () => {
  const path = await Deno.makeTempFile();
  assertEquals(await vsmmu(["replay", "--json", path]), {
    code: 3,
    out: [],
    notes: [`Cannot read ${path}: it is empty, or cut within its first line`],
  });
  await Deno.remove(path);
  const { code, notes } = await vsmmu(["replay", path]);
  assertEquals([code, notes.length], [3, 1]);
  assertStringIncludes(notes[0], `Cannot read ${path}: No such file`);
});
