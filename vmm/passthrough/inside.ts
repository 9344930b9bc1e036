/**
 * Inside the Host VM: a guest under KVM that gets functions of it, and what came of it.
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { SystemError } from "../../uapi/errno.ts";
import { EnvironmentError } from "../environment_error.ts";
import { runMicrovm } from "../microvm.ts";
import { pseudoRandomBytes } from "../provision/disk.ts";
import { resultLines } from "../report.ts";
import { checkCard, checkCardFault, checkNesting } from "./checks.ts";
import { Peer } from "./peer.ts";

/** Addresses of the Host VM's own end of the network card, and of the guest. */
const [PEER_IP, GUEST_IP] = ["10.0.9.1", "10.0.9.2"];
const FAULT_IOVA = 0x1234_5678_0000n;
const MSI_WINDOW = { base: 0x0800_0000, sizeBytes: 0x10_0000 };
/** Slots 1 and 2 are the emulated functions'; 3 shares the SMMU's interrupt. */
const CARD = { address: "0000:00:04.0", streamId: 0x20, driver: "igbvf", msiWindow: MSI_WINDOW };

const { mib, out, fault } = parseArgs(Deno.args, { string: ["mib", "out"], boolean: ["fault"] });
const content = pseudoRandomBytes(Number(mib) << 20, 0x7c9);
using peer = await Peer.listen(PEER_IP, content);
const { sends, takes } = peer.ports;
const interrupted = new AbortController();
Deno.addSignalListener("SIGINT", () => interrupted.abort());
Deno.addSignalListener("SIGTERM", () => interrupted.abort());
const result = await orEnd(runMicrovm({
  parts: { kernel: Deno.env.get("VSMMU_GUEST_KERNEL")! },
  cpuCount: 1,
  memoryMiB: 768,
  append: `iommu.strict=1 vsmmu.net=${GUEST_IP},${PEER_IP},${sends},${takes} ` +
    `vsmmu.iova=0x${FAULT_IOVA.toString(16)}`,
  actions: ["net", ...(fault ? ["netfault"] : [])],
  benchMiB: 8,
  interrupts: "msix",
  iommufd: "kernel",
  assign: ["/dev/vfio/devices/vfio0"],
  judge: (events, summary) => [
    ...checkCard(events, CARD, peer.summary),
    ...checkNesting(summary),
    ...(fault ? checkCardFault(events, CARD, FAULT_IOVA) : []),
  ],
  record: out === undefined ? undefined : { path: `${out}/trace.jsonl.gz` },
  interactive: false,
  timeoutSeconds: 600,
  console: (line) => console.error(line),
  progress: (line) => console.error(line),
  signal: interrupted.signal,
}));
for (const line of resultLines(result)) console.log(line);
if (out !== undefined) await Deno.writeTextFile(`${out}/result.json`, JSON.stringify(result));
Deno.exit(result.ok ? 0 : 1);

/** What is missing is said in a line. */
async function orEnd<T>(run: Promise<T>): Promise<T> {
  try {
    return await run;
  } catch (error) {
    if (!(error instanceof EnvironmentError || error instanceof SystemError)) throw error;
    console.error([error.message, ...(error as EnvironmentError).toolLines ?? []].join("\n  "));
    Deno.exit(3);
  }
}
