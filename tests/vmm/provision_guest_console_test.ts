import { assertEquals } from "@std/assert";
import { GuestConsole, type GuestEvent, guestEvents } from "../../vmm/provision/guest_console.ts";

function events(lines: readonly string[]): GuestEvent[] {
  const guest = new GuestConsole();
  return lines.flatMap((line) => guest.push(line) ?? []);
}

Deno.test("GuestConsole reads each line of our /init", async (t) => {
  const digest = "6a8dc0764ebded26567d4631cc37bd6f48ed53cb1f8a6bbacfb1100fa2fd7b1c";
  const cases: { line: string; event: unknown }[] = [
    { line: "kernel 7.3.4+deb13-arm64", event: { kind: "kernel", release: "7.3.4+deb13-arm64" } },
    {
      line: "group 12 DMA-FQ 0000:00:01.0 0000:00:01.1",
      event: {
        kind: "group",
        index: 12,
        type: "DMA-FQ",
        devices: ["0000:00:01.0", "0000:00:01.1"],
      },
    },
    { line: "run disk", event: { kind: "run", action: "disk" } },
    { line: "mount ok", event: { kind: "ok", step: "mount" } },
    { line: "reread ok", event: { kind: "ok", step: "reread" } },
    { line: "unmount ok", event: { kind: "ok", step: "unmount" } },
    {
      line: `sha256 /data/input.bin ${digest}`,
      event: { kind: "sha256", path: "/data/input.bin", digest },
    },
    {
      line: "map 2 64 1 155 909",
      event: {
        kind: "map",
        threads: 2,
        pages: 64,
        isScattered: true,
        mapUs: 15.5,
        unmapUs: 90.9,
      },
    },
    {
      line: "card 0000:00:04.0 igbvf 10.0.9.2",
      event: { kind: "card", address: "0000:00:04.0", driver: "igbvf", ip: "10.0.9.2" },
    },
    {
      line: "reserved 0000:00:04.0 0x0000000008000000 0x00000000080fffff direct",
      event: {
        kind: "reserved",
        address: "0000:00:04.0",
        start: 0x0800_0000n,
        last: 0x080f_ffffn,
        type: "direct",
      },
    },
    {
      line: "interrupts 0000:00:04.0 3 761",
      event: { kind: "interrupts", address: "0000:00:04.0", vectors: 3, count: 761 },
    },
    { line: "kept 0000:00:04.0", event: { kind: "kept", address: "0000:00:04.0" } },
    {
      line: "gone 0000:00:04.0 pulled",
      event: { kind: "gone", address: "0000:00:04.0", how: "pulled" },
    },
    {
      line: "lspci \tCapabilities: [a0] Express  (v2)",
      event: { kind: "lspci", line: "\tCapabilities: [a0] Express  (v2)" },
    },
    {
      line: "moved 0000:01:00.0 0000:03:00.0",
      event: { kind: "moved", from: "0000:01:00.0", to: "0000:03:00.0" },
    },
    {
      line: "config 0000:00:04.0 0001a0 1b 00 01 00 04 08 00 00",
      event: {
        kind: "config",
        address: "0000:00:04.0",
        offset: 0x1a0,
        bytes: [0x1b, 0, 1, 0, 4, 8, 0, 0],
      },
    },
    {
      line: "pasid 0000:00:04.0 2 0x345670000 3",
      event: {
        kind: "pasid",
        address: "0000:00:04.0",
        pasid: 2,
        iova: 0x3_4567_0000n,
        page: 3,
      },
    },
    {
      line: "pasid 0000:00:04.0 0 14049284096 ",
      event: { kind: "pasid", address: "0000:00:04.0", pasid: 0, iova: 0x3_4567_1000n },
    },
    {
      line: "ats 0000:00:02.0 0x8000 0x00000000 0 2 0x80000005",
      event: {
        kind: "ats",
        address: "0000:00:02.0",
        control: 0x8000,
        result: 0,
        kept: 0,
        invalidations: 2,
        answer: 0x8000_0005,
      },
    },
    {
      line: "ats 0000:00:02.0 0x8000 none 0 1 0x80000005",
      event: {
        kind: "ats",
        address: "0000:00:02.0",
        control: 0x8000,
        kept: 0,
        invalidations: 1,
        answer: 0x8000_0005,
      },
    },
    { line: "doorbell 0000:00:04.0", event: { kind: "doorbell", address: "0000:00:04.0" } },
    { line: "reset 0000:00:05.0", event: { kind: "reset", address: "0000:00:05.0" } },
    {
      line: "dma 0000:00:02.0 0x123456780000 0xDEAD0002",
      event: { kind: "dma", device: "0000:00:02.0", iova: 0x1234_5678_0000n, result: 0xdead_0002 },
    },
    {
      line: "FAIL No disk appeared as /dev/vda",
      event: { kind: "fail", reason: "No disk appeared as /dev/vda" },
    },
    { line: "done", event: { kind: "done" } },
  ];
  for (const { line, event } of cases) {
    await t.step(line, () => {
      assertEquals<unknown>(events([`[    2.715177] vsmmu: ${line}\r`]), [
        { atSeconds: 2.715177, ...event as object },
      ]);
      assertEquals<unknown>(events([`vsmmu: ${line}`]), [
        { atSeconds: undefined, ...event as object },
      ]);
    });
  }
});

Deno.test("GuestConsole passes over what is cut short, foreign or only looks like ours", () => {
  const lines = [
    "",
    "[    2.0] vsmmu: ",
    "[    2.0] vsmmu: group one DMA",
    "[    2.0] vsmmu: sha256 /data/input.bin 6a8d",
    "[    2.0] vsmmu: dma 0000:00:02.0 devmem: failed",
    "[    2.0] vsmmu: dma 0000:00:02.0",
    "[    2.0] vsmmu: mount",
    "[    2.0] vsmmu: card 0000:00:04.0 igbvf",
    "[    2.0] vsmmu: reserved 0000:00:04.0 8000000 80fffff",
    "[    2.0] vsmmu: interrupts 0000:00:04.0 3 many",
    "[    2.0] vsmmu: config 0000:00:04.0 xyz 00",
    "[    2.0] vsmmu: hello world",
    "[    2.0] vsmmu: end read 100",
    "[    0.0] Kernel command line: console=ttyAMA0 vsmmu.run=disk",
    "[    2.0] virtio_blk virtio0: [vda] 393216 512-byte logical blocks",
    "someone says vsmmu: done",
    "\x00\xff",
  ];
  assertEquals(events(lines), []);
});

Deno.test("GuestConsole takes a measurement from the timestamps of its begin and its end", () => {
  assertEquals<unknown>(
    events([
      "[    5.000000] vsmmu: begin read",
      "[    5.100000] random: a line between",
      "[    5.500000] vsmmu: end read 268435456",
      "[    6.000000] vsmmu: begin read",
      "[    6.500000] vsmmu: end write 100",
      "vsmmu: begin write",
      "[    7.000000] vsmmu: end write 100",
    ]),
    [{ atSeconds: 5.5, kind: "bench", direction: "read", bytes: 268435456, seconds: 0.5 }],
  );
});

Deno.test("GuestConsole reads the SMMU driver's lines of old and new kernels", async (t) => {
  const record = [
    "arm-smmu-v3 9050000.smmuv3: event 0x10 received:",
    "arm-smmu-v3 9050000.smmuv3: \t0x0000001000000010",
    "arm-smmu-v3 9050000.smmuv3: \t0x0000020000000000",
    "arm-smmu-v3 9050000.smmuv3: \t0x0000123456780000",
    "arm-smmu-v3 9050000.smmuv3: \t0x0000000000000000",
  ];
  const cases = [
    {
      name: "6.12",
      probe: "arm-smmu-v3 9050000.smmuv3: ias 44-bit, oas 44-bit (features 0x00088705)",
      after: [],
    },
    {
      name: "7.3",
      probe: "arm-smmu-v3 9050000.smmuv3: oas 44-bit (features 0x01088705)",
      after: [
        "arm-smmu-v3 9050000.smmuv3: event: F_TRANSLATION client: 0000:00:02.0 sid: 0x10 ssid: 0x0 iova: 0x123456780000 ipa: 0x0",
        'arm-smmu-v3 9050000.smmuv3: unpriv data write s1 "Input address caused fault" stag: 0x0',
      ],
    },
  ];
  for (const { name, probe, after } of cases) {
    await t.step(name, () => {
      const lines = [probe, ...record, ...after].map((line) => `[    2.500000] ${line}\r`);
      assertEquals<unknown>(events(lines), [
        { atSeconds: 2.5, kind: "probe", device: "9050000.smmuv3" },
        {
          atSeconds: 2.5,
          kind: "smmuEvent",
          type: 0x10,
          streamId: 0x10,
          iova: 0x1234_5678_0000n,
        },
      ]);
    });
  }
});

Deno.test("GuestConsole tells the SubstreamID of an event that has one", () => {
  const words = ["0x0000002000002810", "0x0000020000000000", "0x0000000345671000", "0x0"];
  const lines = [
    "event 0x10 received:",
    ...words.map((word) => `\t0x${word.slice(2).padStart(16, "0")}`),
  ].map((said) => `[    2.500000] arm-smmu-v3 9050000.smmuv3: ${said}`);
  assertEquals<unknown>(events(lines), [{
    atSeconds: 2.5,
    kind: "smmuEvent",
    type: 0x10,
    streamId: 0x20,
    substreamId: 2,
    iova: 0x3_4567_1000n,
  }]);
});

Deno.test("GuestConsole hears a kernel panic, with a caller's name in the line or without", () => {
  const reason = "VFS: Unable to mount root fs on unknown-block(0,0)";
  const said = "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)";
  assertEquals<unknown>(events([`[    1.000000] ${said}`, `[    1.000000][    T1] ${said}`]), [
    { atSeconds: 1, kind: "panic", reason },
    { atSeconds: 1, kind: "panic", reason },
  ]);
});

Deno.test("guestEvents() yields events as lines come", async () => {
  async function* lines(): AsyncGenerator<string> {
    yield "[    2.000000] vsmmu: run disk";
    yield "noise";
    yield await Promise.resolve("[    3.000000] vsmmu: done");
  }
  const kinds: string[] = [];
  for await (const event of guestEvents(lines())) kinds.push(event.kind);
  assertEquals(kinds, ["run", "done"]);
});
