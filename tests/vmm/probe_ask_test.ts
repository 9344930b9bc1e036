/** Which devices are opened, and which are left alone. */
import { assertEquals } from "@std/assert";
import { ask, type KernelDoors } from "../../vmm/probe/ask.ts";
import { type FileFacts, fileFacts } from "../../vmm/probe/facts.ts";
import { Tree } from "../../vmm/probe/tree.ts";
import { ARM_HOST, type Content, HostTree } from "../support/host_tree.ts";
import { PlainIommufd } from "../support/plain_iommufd.ts";

async function asked(changes: Record<string, Content>, removed: string[] = []): Promise<{
  opened: string[];
  facts: ReturnType<typeof ask>;
}> {
  using host = new HostTree({ ...ARM_HOST, ...changes });
  for (const path of removed) host.remove(path);
  const files: FileFacts = await fileFacts(new Tree(host.root));
  const opened: string[] = [];
  const doors: KernelDoors = {
    iommufd: () => new PlainIommufd(),
    bind: (iommufd, path) => {
      opened.push(path);
      return (iommufd as PlainIommufd).bind();
    },
    missingCalls: () => ["IOMMU_HW_QUEUE_ALLOC"],
  };
  return { facts: ask(files, doors), opened };
}

Deno.test("devices with vfio-pci are asked, each by an iommufd of its own; others are not", async () => {
  const { facts, opened } = await asked({});
  assertEquals(opened, ["/dev/vfio/devices/vfio0", "/dev/vfio/devices/vfio1"]);
  assertEquals(facts.examinations.map(({ address, steps }) => [address, steps.bind]), [
    ["0000:01:10.0", "ok"],
    ["0000:01:10.1", "ok"],
  ]);
  assertEquals([facts.missingCalls, facts.unseen], [["IOMMU_HW_QUEUE_ALLOC"], []]);
});

Deno.test("a device that somebody has open, or that shares a group with the host, is left alone", async () => {
  const { facts, opened } = await asked({
    "/proc/812/fd/7": "-> /dev/vfio/devices/vfio0",
    "/proc/812/comm": "qemu\n",
    "/sys/kernel/iommu_groups/10/devices/0000:01:00.0": "-> ../../../../devices/0000:01:00.0",
  });
  assertEquals([opened, facts.examinations], [[], []]);
  assertEquals(facts.unseen, [
    "0000:01:10.0 was not opened: It is in use by qemu (812), and was left alone",
    "0000:01:10.1 was not opened: Its group, 10, has devices that the host uses: 0000:01:00.0 (igb)",
  ]);
});

Deno.test("without /dev/iommu no device is opened", async () => {
  const { facts, opened } = await asked({}, ["/dev/iommu"]);
  assertEquals([opened, facts.missingCalls], [[], undefined]);
  assertEquals(facts.unseen, ["No device was opened: /dev/iommu is absent"]);
});
