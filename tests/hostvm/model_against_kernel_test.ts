/**
 * Call sequences, good and bad, on the model and on the kernel's iommufd with two real functions: results,
 * errors and ids are the same. SEED and COUNT choose others.
 */
import { assertEquals } from "@std/assert";
import { GuestRam } from "../../hw/guest_memory.ts";
import { createMemfd } from "../../uapi/memfd.ts";
import { Pinned } from "../../uapi/pinned.ts";
import type { BoundDevice } from "../../vmm/iommufd/iommufd.ts";
import { KernelIommufd } from "../../vmm/iommufd/kernel.ts";
import { ModelIommufd } from "../../vmm/iommufd/model.ts";
import type { Source } from "../../vmm/iommufd/model/area.ts";
import { ArmSmmuV3 } from "../../vmm/iommufd/model/arm_smmuv3.ts";
import { TwinIommufd } from "../../vmm/iommufd/twin.ts";
import { Sequence, type SequenceGround } from "../support/iommufd_sequence.ts";
import { Random } from "../../vmm/random.ts";

const SEED = Number(Deno.env.get("SEED") ?? 1);
const COUNT = Number(Deno.env.get("COUNT") ?? 400);
const CALLS = 24;
/** More than offset and length of a map reach together: what lies beyond is not ours to know. */
const USER_SIZE = 0x40000;
const FILE_SIZE = 0x10000;
const EFAULT = 14;
const EINVAL = 22;

/** Memory that both can pin. */
class Memory implements Disposable {
  readonly #user = new Pinned(USER_SIZE + 0x1000);
  readonly file = createMemfd("sequences", FILE_SIZE);
  readonly userVa = BigInt(Math.ceil(this.#user.address / 0x1000) * 0x1000);

  /** Where it is for the model; what is not there, the kernel cannot pin either. */
  pin(source: Source, length: bigint): number {
    if (source.kind === "file") {
      return source.start + length <= BigInt(FILE_SIZE) ? Number(source.start) : -EINVAL;
    }
    const offset = source.userVa - this.userVa;
    const isThere = offset >= 0n && offset + length <= BigInt(USER_SIZE);
    return isThere ? 0x100_0000 + Number(offset) : -EFAULT;
  }

  [Symbol.dispose](): void {
    this.file[Symbol.dispose]();
  }
}

/** Model and kernel, with the same devices in both. */
class Ground implements Disposable, SequenceGround {
  readonly iommufd: TwinIommufd;
  readonly model: ModelIommufd;
  readonly devices: readonly BoundDevice[];
  readonly userVa: bigint;
  readonly fd: number;
  readonly fileSize = BigInt(FILE_SIZE);

  constructor(memory: Memory) {
    const kernel = KernelIommufd.open();
    this.model = new ModelIommufd({
      pin: (source, length) => memory.pin(source, length),
      isOpen: (fd) => fd === memory.file.number,
    });
    this.iommufd = new TwinIommufd(this.model, kernel);
    const bound = ["vfio0", "vfio1"].map((name) => kernel.bindVfio(`/dev/vfio/devices/${name}`));
    const { data } = kernel.getHwInfo(bound[0].devId);
    const idrs = [...new Uint32Array(data.slice().buffer).slice(2)];
    const driver = new ArmSmmuV3({ memory: new GuestRam(), idrs });
    this.devices = bound.map((device, i) =>
      this.iommufd.bind(this.model.bind({ driver, streamId: 0x100 + i }), device)
    );
    this.userVa = memory.userVa;
    this.fd = memory.file.number;
  }

  [Symbol.dispose](): void {
    for (const device of this.devices) device[Symbol.dispose]();
    this.iommufd[Symbol.dispose]();
  }
}

Deno.test(`${COUNT} sequences from seed ${SEED} have the same answers from model and kernel`, () => {
  using memory = new Memory();
  /** The first of each kind; the calls of a sequence before it lead there. */
  const found = new Map<string, string>();
  let ground = new Ground(memory);
  for (let i = 0; i < COUNT; i++) {
    const { iommufd, model } = ground;
    const before = iommufd.calls;
    const sequence = new Sequence(ground, new Random(SEED, i));
    const calls: string[] = [];
    iommufd.onCall = (call, answer): void => void calls.push(`${call} -> ${answer}`);
    sequence.run(CALLS);
    sequence.end();
    const [first] = iommufd.disagreements;
    if (first === undefined) {
      assertEquals(model.size, 2, `sequence ${i} of seed ${SEED} left something in the model`);
      continue;
    }
    const kind = `${first.call.split(" ")[0]}: model ${first.first}, kernel ${first.second}`;
    if (!found.has(kind)) {
      const seen = calls.slice(0, first.number - before).join("\n    ");
      found.set(kind, `${kind}\n  sequence ${i} of seed ${SEED}: ${first.call}\n    ${seen}`);
    }
    // What comes after a disagreement says nothing.
    ground[Symbol.dispose]();
    ground = new Ground(memory);
  }
  ground[Symbol.dispose]();
  assertEquals([...found.values()].join("\n"), "");
});
