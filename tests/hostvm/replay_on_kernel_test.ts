/** Recorded guests on the kernel's iommufd and on the model at once: each call has the same answer. */
import { assert, assertEquals } from "@std/assert";
import { KernelBeside } from "../../vmm/trace/replay/kernel_beside.ts";
import { runReplay } from "../../vmm/trace/replay/replayer_run.ts";
import { openTrace } from "../../vmm/trace/trace_file.ts";

const DEVICES = ["/dev/vfio/devices/vfio0", "/dev/vfio/devices/vfio1"];
const FOLDER = new URL("../traces", import.meta.url).pathname;

Deno.test("a recorded guest replays on the kernel as on the model", async (t) => {
  for (const name of ["linux-7.3-nested", "linux-7.3-nested-fault", "linux-7.3-nested-domains"]) {
    await t.step(name, async () => {
      const { header, operations } = await openTrace(`${FOLDER}/${name}.jsonl.gz`);
      using beside = new KernelBeside(DEVICES);
      const { result } = await runReplay(header, operations, { beside });
      assertEquals(result.kinds.map(({ first }) => first), []);
      assertEquals(beside.disagreements, []);
      assert(beside.calls > 500, `${beside.calls} calls`);
      assert(result.operations > 2000);
    });
  }
});
