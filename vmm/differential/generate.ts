/**
 * Programs out of seeds.
 * @module
 */
import { OP } from "../../hw/smmuv3/spec/commands.ts";
import { REG } from "../../hw/smmuv3/spec/registers.ts";
import { Config } from "../../hw/smmuv3/spec/ste.ts";
import { Random } from "../random.ts";
import { NOWHERE, PLACE } from "./ground.ts";
import { mutate, type Mutation } from "./mutation.ts";
import type { Program, Step } from "./program.ts";
import { makeScene, type SceneStream } from "./scene.ts";
import { StepWriter } from "./step_writer.ts";

/** Commands that drop configuration. */
const CONFIGURATION: readonly number[] = [OP.CMD_CFGI_STE_RANGE, OP.CMD_CFGI_STE];
/** Bits of an input address that take it out of what is mapped. */
const FAR_BITS = Array.from({ length: 30 }, (_, i) => 25 + i);
/** Those that take a physical address to where nothing is, also for QEMU; but for one, where it has a window of PCI. */
const NOWHERE_BITS = [31, 31, 39, 40, 40, 42, 42, 43, 43, 44, 44, 47, 47, 51, 51];

/** The program of a seed. */
export function generate(seed: number): Program {
  for (let attempt = 0;; attempt++) {
    const random = new Random(seed, attempt);
    try {
      return { seed, steps: new Writer(random, makeScene(random)).write() };
    } catch (error) {
      // Tables that do not fit the window: another draw does.
      if (!(error instanceof RangeError) || attempt > 20) throw error;
    }
  }
}

function isTranslated({ config }: SceneStream): boolean {
  return config >= Config.Stage1;
}

/** Tags and granules may not be what the scene has made: only what drops everything is sure to do. */
function hasOddTags(made: readonly Mutation[]): boolean {
  return made.some(({ name }) => /^(STE|CD)/.test(name));
}

/** Writes one program. */
class Writer extends StepWriter {
  #log2commands = 0;

  write(): Step[] {
    const random = this.random;
    const { image, streams } = this.scene;
    const mutations = random.of([0, 0, 1, 1, 2, 3]);
    const made: Mutation[] = [];
    for (let i = 0; i < mutations; i++) {
      const mutation = mutate(random, this.scene, random.of(streams));
      if (mutation !== undefined) made.push(mutation);
    }
    for (const [gpa, value] of image.quads) {
      if (value !== 0n || image.noteAt(gpa) !== "") this.store(gpa, value);
    }
    this.#bringUp();
    const count = random.between(6, 24);
    for (let i = 0; i < count; i++) this.#act(made);
    if (random.chance(0.25)) this.#misbehave();
    return this.steps;
  }

  #bringUp(): void {
    const random = this.random;
    const { table } = this.scene;
    const log2commands = this.#log2commands = random.of([1, 2, 3, 4, 8, 10]);
    this.log2events = random.of([2, 3, 5, 7, 7]);
    if (random.chance(0.3)) this.#beforeEnable();
    this.register(REG.CR1.offset, 0xd75);
    this.register(REG.CR2.offset, random.chance(0.8) ? 0x6 : random.below(4) << 1);
    this.wide(REG.STRTAB_BASE.offset, this.address(PLACE.streamTable, 12, 0.2));
    this.register(
      REG.STRTAB_BASE_CFG.offset,
      table.log2size | (table.twoLevel ? table.split << 6 | 1 << 16 : 0),
    );
    const commands = this.address(PLACE.commands, log2commands + 4, 0.02);
    const records = this.address(PLACE.events, this.log2events + 5, 0.02);
    this.wide(REG.CMDQ_BASE.offset, commands | BigInt(log2commands));
    this.wide(REG.EVENTQ_BASE.offset, records | BigInt(this.log2events));
    // A driver that takes over finds its indices anywhere; both ends of the queue at the same place are an empty one.
    const start = random.chance(0.3) ? random.below(2 << log2commands) : 0;
    this.register(REG.CMDQ_PROD.offset, start);
    this.register(REG.CMDQ_CONS.offset, start);
    const events = random.chance(0.3) ? random.below(2 << this.log2events) : 0;
    this.register(REG.EVENTQ_PROD.offset, events);
    this.register(REG.EVENTQ_CONS.offset, events);
    this.register(REG.CR0.offset, 0x8);
    this.register(REG.CR0.offset, 0xc);
    this.register(REG.IRQ_CTRL.offset, 0x5);
    this.send([this.commands.all(), this.commands.allTlb()]);
    this.register(REG.CR0.offset, 0xd);
  }

  /** Transactions that GBPA decides about. */
  #beforeEnable(): void {
    const random = this.random;
    if (random.chance(0.5)) {
      this.register(REG.GBPA.offset, random.chance(0.7) ? 0x8010_1000 : 0x0010_1000);
      this.steps.push({ kind: "read", offset: REG.GBPA.offset });
    }
    this.transfer(random.of(this.scene.streams), {
      iova: BigInt(PLACE.data),
      gpa: PLACE.data,
      sizeBytes: 0x1000,
      leaves: [],
    });
    if (random.chance(0.5)) this.register(REG.GBPA.offset, 0x8000_1000);
  }

  #act(made: Mutation[]): void {
    const random = this.random;
    const stream = random.of(this.scene.streams);
    const chosen = random.below(100);
    if (chosen < 41) this.#visit(stream);
    else if (chosen < 53) this.#visitByAll(stream);
    else if (chosen < 67) this.#change(stream, made);
    else if (chosen < 75) this.send(this.commands.some(stream, random.of(stream.visits)));
    else if (chosen < 81) this.steps.push({ kind: "drain" });
    else if (chosen < 87) this.#readRegister();
    else if (chosen < 90) this.send([this.commands.refused()]);
    else if (chosen < 93) this.#toggle(stream);
    else if (chosen < 95) this.#detach(stream);
    else if (chosen < 98) this.#unmap(stream, made);
    else this.#map(stream);
  }

  #visit(stream: SceneStream): void {
    const random = this.random;
    const visit = random.of(stream.visits);
    const far = random.below(12);
    if (far > 2) return this.transfer(stream, visit);
    if (far === 2) {
      const iova = visit.iova ^ BigInt(random.between(1, 255)) << 56n;
      return this.transfer(stream, isTranslated(stream) ? { ...visit, iova } : visit);
    }
    // Just outside, or beyond what the input may be.
    const iova = far === 0
      ? visit.iova + BigInt(visit.sizeBytes)
      : visit.iova ^ (1n << BigInt(random.of(isTranslated(stream) ? FAR_BITS : NOWHERE_BITS)));
    this.transfer(stream, { ...visit, iova: BigInt.asUintN(64, iova) }, true);
  }

  /** Pages are used by all streams that have the same tables, for reads and writes: what is cached of them serves each. */
  #visitByAll(stream: SceneStream): void {
    const random = this.random;
    const all = this.scene.streams.filter(({ visits }) => visits === stream.visits);
    for (const visit of random.shuffled(stream.visits).slice(0, 2 * all.length - 1)) {
      for (const one of random.shuffled(all)) this.transfer(one, visit);
    }
  }

  /** A structure is changed, what caches it is told, and then it is used. */
  #change(stream: SceneStream, made: Mutation[]): void {
    const random = this.random;
    const { image } = this.scene;
    const undone = made.length > 0 && random.chance(0.5) ? made.pop()! : undefined;
    if (undone !== undefined) {
      image.store(undone.at, undone.old);
      image.unnote(undone.at, undone.name);
      this.store(undone.at, undone.old);
      this.send([this.commands.all(), this.commands.allTlb()]);
      return this.#visit(stream);
    }
    const mutation = mutate(random, this.scene, stream);
    if (mutation === undefined) return;
    made.push(mutation);
    const commands = this.commands.after(mutation, stream, hasOddTags(made));
    const isKept = !commands.some(([lo]) => CONFIGURATION.includes(Number(lo & 0xffn)));
    if (/^stage 2 (table|page of)/.test(mutation.name) && isKept) {
      image.note(mutation.at, "no CFGI");
    }
    // Used before, it may be cached; used afterwards, it must not be.
    const used =
      stream.visits.find(({ leaves }) =>
        leaves.some(({ leaf }) => [leaf.descriptor, ...leaf.above].includes(mutation.at))
      ) ?? random.of(stream.visits);
    if (random.chance(0.7)) this.transfer(stream, used);
    this.store(mutation.at, mutation.value);
    this.send(commands);
    this.transfer(stream, random.chance(0.8) ? used : random.of(stream.visits));
  }

  /** A page that was not there is mapped: nothing may have been cached of it. */
  #map(stream: SceneStream): void {
    const { image } = this.scene;
    const leaf = stream.visits.flatMap(({ leaves }) => leaves).find(({ leaf }) =>
      (image.load(leaf.descriptor) & 1n) === 0n
    );
    if (leaf === undefined) return this.#visit(stream);
    const { descriptor } = leaf.leaf;
    image.store(descriptor, image.load(descriptor) | 1n);
    this.store(descriptor, image.load(descriptor));
    this.#visit(stream);
  }

  /** A stream that is in use is taken away, and given back. */
  #detach(stream: SceneStream): void {
    const visit = this.random.of(stream.visits);
    const quad = this.scene.image.load(stream.ste);
    const away = this.random.of([quad & ~1n, quad & ~0b1110n]);
    this.transfer(stream, visit);
    for (const value of [away, quad]) {
      this.store(stream.ste, value);
      this.send([this.commands.ofStream(stream)]);
      this.transfer(stream, visit);
    }
  }

  /** A page that is in use is unmapped, and mapped again: only the former needs commands. */
  #unmap(stream: SceneStream, made: readonly Mutation[]): void {
    const random = this.random;
    const { image } = this.scene;
    const mapped = stream.visits.filter(({ leaves }) => leaves.length > 0);
    if (mapped.length === 0) return this.#visit(stream);
    const visit = random.of(mapped);
    const tag = random.chance(0.1) ? BigInt(random.between(1, 127)) << 56n : 0n;
    const used = { ...visit, iova: visit.iova ^ tag };
    const { stage, leaf } = random.of(visit.leaves);
    const at = leaf.descriptor;
    const old = image.load(at);
    const unmapped = { name: `stage ${stage} leaf bit 0`, gpa: at, at, old, value: old & ~1n };
    this.transfer(stream, used);
    this.store(at, unmapped.value);
    this.send(this.commands.after(unmapped, stream, hasOddTags(made)));
    this.transfer(stream, used);
    this.store(at, old);
    this.transfer(stream, used);
  }

  #readRegister(): void {
    const offset = this.random.of([
      ...[REG.IDR0, REG.IDR1, REG.IDR2, REG.IDR3, REG.IDR4, REG.IDR5, REG.IIDR, REG.AIDR],
      ...[REG.CR0, REG.CR0ACK, REG.CR1, REG.CR2, REG.STATUSR, REG.GBPA, REG.IRQ_CTRL],
      ...[REG.IRQ_CTRLACK, REG.GERROR, REG.GERRORN, REG.STRTAB_BASE, REG.STRTAB_BASE_CFG],
      ...[REG.CMDQ_BASE, REG.CMDQ_PROD, REG.CMDQ_CONS, REG.EVENTQ_BASE, REG.EVENTQ_PROD],
      REG.EVENTQ_CONS,
    ]).offset;
    this.steps.push({ kind: "read", offset });
  }

  /** Translation, events or commands are off for a while. */
  #toggle(stream: SceneStream): void {
    // What is queued meanwhile must find room.
    const kind = this.random.below(this.#log2commands < 2 ? 2 : 3);
    if (kind === 1) {
      this.register(REG.CR0.offset, 0x9);
      this.#visit(stream);
      this.#visit(stream);
      this.register(REG.CR0.offset, 0xd);
      return;
    }
    if (kind === 2) {
      this.register(REG.CR0.offset, 0x5);
      this.send([this.commands.all(), this.commands.allTlb()].slice(this.random.below(3)));
      this.#visit(stream);
      this.register(REG.CR0.offset, 0xd);
      return this.#visit(stream);
    }
    this.register(REG.CR0.offset, 0xc);
    this.transfer(stream, {
      iova: BigInt(PLACE.data),
      gpa: PLACE.data,
      sizeBytes: 0x1000,
      leaves: [],
    });
    this.register(REG.CR0.offset, 0xd);
    this.#visit(stream);
  }

  /** What drivers do not do, at the end: the two may go their own ways afterwards. */
  #misbehave(): void {
    const random = this.random;
    const stream = random.of(this.scene.streams);
    switch (random.below(8)) {
      case 0:
        this.send([this.commands.anything()]);
        break;
      case 1: {
        // More events than there is room for.
        const count = (1 << Math.min(this.log2events, 5)) + 2;
        const visit = { iova: 1n << 54n, gpa: PLACE.data, sizeBytes: 0x1000, leaves: [] };
        for (let i = 0; i < count; i++) this.transfer(stream, visit);
        this.steps.push({ kind: "drain" });
        this.transfer(stream, visit);
        break;
      }
      case 2: {
        const offset = random.below(0x100 >> 2) << 2;
        this.register(offset, random.word());
        this.steps.push({ kind: "read", offset });
        break;
      }
      case 3:
        // Another kind of table than before.
        this.register(REG.CR0.offset, 0xc);
        this.register(
          REG.STRTAB_BASE_CFG.offset,
          random.below(18) | random.below(16) << 6 | random.below(2) << 16,
        );
        this.send([this.commands.all(), this.commands.allTlb()]);
        this.register(REG.CR0.offset, 0xd);
        for (let i = 0; i < 3; i++) this.#visit(stream);
        break;
      case 5:
        // A queue where nothing is.
        this.register(REG.CR0.offset, 0x5);
        this.wide(REG.CMDQ_BASE.offset, BigInt(NOWHERE) | 3n | 1n << 62n);
        this.register(REG.CMDQ_PROD.offset, 0);
        this.register(REG.CMDQ_CONS.offset, 0);
        this.register(REG.CR0.offset, 0xd);
        this.send([]);
        break;
      case 6:
        this.register(REG.CR0.offset, 0x9);
        this.wide(REG.EVENTQ_BASE.offset, BigInt(NOWHERE) | 3n | 1n << 62n);
        this.register(REG.EVENTQ_PROD.offset, 0);
        this.register(REG.EVENTQ_CONS.offset, 0);
        this.register(REG.CR0.offset, 0xd);
        for (let i = 0; i < 3; i++) this.#visit(stream);
        break;
      case 7:
        // Further than the queue is long.
        this.register(REG.CMDQ_PROD.offset, random.below(2 ** 20) | 2 << this.#log2commands);
        break;
      case 4:
        this.register(REG.EVENTQ_IRQ_CFG0.offset, random.quad(), 8);
        this.steps.push({ kind: "read", offset: REG.EVENTQ_IRQ_CFG0.offset });
        break;
    }
  }
}
