import { assertEquals, assertRejects } from "@std/assert";
import {
  checkQemu,
  parseQemuVersion,
  rootHostTools,
  rootQemuTool,
  versionObstacle,
} from "../../vmm/provision/qemu.ts";
import type { Tool } from "../../vmm/tool.ts";

/** A shell that answers `--version` and `-device help` as a QEMU would. */
function pretendedQemu(version: string, devices: string): Tool {
  const script = `case "$1" in --version) echo '${version}' ;; *) echo '${devices}' ;; esac`;
  return { name: "qemu", command: "sh", args: ["-c", script, "/opt/qemu-system-aarch64"], env: {} };
}

Deno.test("parseQemuVersion() reads what QEMU says of itself", async (t) => {
  const cases = [
    {
      text: "QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)\nCopyright",
      version: "11.1.3",
    },
    { text: "QEMU emulator version 7.2.19 (Debian 1:7.2+dfsg-7)\n", version: "7.2.19" },
    { text: "QEMU emulator version 10.1.50 (v10.1.0-1-g0000000-dirty)", version: "10.1.50" },
    { text: "qemu-img version 11.1.3", version: undefined },
    { text: "", version: undefined },
  ];
  for (const { text, version } of cases) {
    await t.step(text || "nothing", () => assertEquals(parseQemuVersion(text), version));
  }
});

Deno.test("versionObstacle() refuses a QEMU before 10.1 and names both sides", async (t) => {
  const cases = [
    {
      version: "7.2.19",
      obstacle: "QEMU 7.2.19 is older than 10.1, which first had vfio-user-pci",
    },
    {
      version: "10.0.2",
      obstacle: "QEMU 10.0.2 is older than 10.1, which first had vfio-user-pci",
    },
    { version: "10.1.0", obstacle: undefined },
    { version: "10.10", obstacle: undefined },
    { version: "11.0.0", obstacle: undefined },
  ];
  for (const { version, obstacle } of cases) {
    await t.step(version, () => assertEquals(versionObstacle(version), obstacle));
  }
});

Deno.test("checkQemu() takes a QEMU with vfio-user-pci and says why it takes no other", async (t) => {
  const good = "QEMU emulator version 11.1.3";
  const device = 'name "vfio-user-pci", bus PCI';
  assertEquals((await checkQemu(pretendedQemu(good, device))).version, "11.1.3");
  const cases = [
    {
      name: "too old",
      tool: pretendedQemu("QEMU emulator version 7.2.19", device),
      message:
        "Cannot use /opt/qemu-system-aarch64: QEMU 7.2.19 is older than 10.1, which first had vfio-user-pci",
    },
    {
      name: "without the device",
      tool: pretendedQemu(good, 'name "vfio-user-pci-quirk", bus PCI'),
      message:
        "Cannot use /opt/qemu-system-aarch64: this build of QEMU 11.1.3 has no device vfio-user-pci",
    },
    {
      name: "another program",
      tool: pretendedQemu("sh 1.0", ""),
      message: 'Cannot use /opt/qemu-system-aarch64 as QEMU: it answers --version with "sh 1.0"',
    },
    {
      name: "absent",
      tool: { name: "q", command: "/nonexistent/qemu-system-aarch64", args: [], env: {} },
      message:
        "Cannot ask /nonexistent/qemu-system-aarch64 for its version: /nonexistent/qemu-system-aarch64 is not on this machine",
    },
  ];
  for (const { name, tool, message } of cases) {
    await t.step(name, () => assertRejects(() => checkQemu(tool), Error, message));
  }
});

Deno.test("A root's programs run through its own loader, on either architecture", () => {
  const qemu = rootQemuTool("/c/root", "amd64");
  assertEquals(qemu.command, "/c/root/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
  assertEquals(qemu.args, [
    "--library-path",
    "/c/root/usr/lib/x86_64-linux-gnu",
    "/c/root/usr/bin/qemu-system-aarch64",
    "-L",
    "/c/root/usr/share/qemu",
  ]);
  assertEquals(qemu.env, { QEMU_MODULE_DIR: "/c/root/usr/lib/x86_64-linux-gnu/qemu" });

  const { mke2fs } = rootHostTools("/c/root", "arm64");
  assertEquals(mke2fs.command, "/c/root/usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1");
  assertEquals(mke2fs.args, [
    "--library-path",
    "/c/root/usr/lib/aarch64-linux-gnu",
    "/c/root/usr/sbin/mke2fs",
  ]);
  assertEquals(mke2fs.env, { MKE2FS_CONFIG: "/c/root/etc/mke2fs.conf" });
});
