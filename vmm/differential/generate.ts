/**
 * Programs out of seeds.
 * @module
 */
import { OP } from "../../hw/smmuv3/spec/commands.ts";
import { REG } from "../../hw/smmuv3/spec/registers.ts";
import { Config } from "../../hw/smmuv3/spec/ste.ts";
import { CommandMix } from "./command_mix.ts";
import { COPY, NOWHERE, PLACE, READERS, WRITERS } from "./ground.ts";
import { mutate, type Mutation } from "./mutation.ts";
import type { Program, Step } from "./program.ts";
import { Random } from "../random.ts";
import { makeScene, type Scene, type SceneStream, type Visit } from "./scene.ts";

/** Commands that drop configuration. */
const CONFIGURATION: readonly number[] = [OP.CMD_CFGI_STE_RANGE, OP.CMD_CFGI_STE];
/** Bits of an input address that take it out of what is mapped. */
const FAR_BITS = Array.from({ length: 30 }, (_, i) => 25 + i);
/** Those that take a physical address to where nothing is, also for QEMU. */
const NOWHERE_BITS = [31, 40, 42, 43, 44, 47, 51];

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

/** Writes one program. */
class Writer {
  readonly #random: Random;
  readonly #scene: Scene;
  readonly #steps: Step[] = [];
  readonly #commands: CommandMix;
  #slot = 0;
  #log2events = 0;
  #log2commands = 0;

  constructor(random: Random, scene: Scene) {
    this.#random = random;
    this.#scene = scene;
    this.#commands = new CommandMix(random);
  }

  write(): Step[] {
    const random = this.#random;
    const { image, streams } = this.#scene;
    const mutations = random.of([0, 0, 1, 1, 2, 3]);
    const made: Mutation[] = [];
    for (let i = 0; i < mutations; i++) {
      const mutation = mutate(random, this.#scene, random.of(streams));
      if (mutation !== undefined) made.push(mutation);
    }
    for (const [gpa, value] of image.quads) {
      if (value !== 0n || image.noteAt(gpa) !== "") this.#store(gpa, value);
    }
    this.#bringUp();
    const count = random.between(6, 24);
    for (let i = 0; i < count; i++) this.#act(made);
    if (random.chance(0.25)) this.#misbehave();
    return this.#steps;
  }

  #store(gpa: number, value: bigint): void {
    const note = this.#scene.image.noteAt(gpa);
    this.#steps.push({ kind: "store", gpa, value, ...(note ? { note } : {}) });
  }

  #register(offset: number, value: number | bigint, bytes: 4 | 8 = 4): void {
    this.#steps.push({ kind: "register", offset, value: BigInt(value), bytes });
  }

  /** A register of 64 bits, at once or by halves. */
  #wide(offset: number, value: bigint): void {
    if (this.#random.chance(0.5)) return this.#register(offset, value, 8);
    this.#register(offset, value & 0xffff_ffffn);
    this.#register(offset + 4, value >> 32n);
  }

  /** A base address with RA; now and then with bits set that the size of what is there leaves no room for. */
  #address(gpa: number, log2size: number, probability: number): bigint {
    const extra = this.#random.chance(probability)
      ? this.#random.below(2 ** log2size) >> 6 << 6
      : 0;
    return BigInt(gpa + extra) | 1n << 62n;
  }

  #bringUp(): void {
    const random = this.#random;
    const { table } = this.#scene;
    const log2commands = this.#log2commands = random.of([1, 2, 3, 4, 8, 10]);
    this.#log2events = random.of([2, 3, 5, 7, 7]);
    if (random.chance(0.3)) this.#beforeEnable();
    this.#register(REG.CR1.offset, 0xd75);
    this.#register(REG.CR2.offset, random.chance(0.8) ? 0x6 : random.below(4) << 1);
    this.#wide(REG.STRTAB_BASE.offset, this.#address(PLACE.streamTable, 12, 0.2));
    this.#register(
      REG.STRTAB_BASE_CFG.offset,
      table.log2size | (table.twoLevel ? table.split << 6 | 1 << 16 : 0),
    );
    const commands = this.#address(PLACE.commands, log2commands + 4, 0.02);
    const records = this.#address(PLACE.events, this.#log2events + 5, 0.02);
    this.#wide(REG.CMDQ_BASE.offset, commands | BigInt(log2commands));
    this.#wide(REG.EVENTQ_BASE.offset, records | BigInt(this.#log2events));
    // A driver that takes over finds its indices anywhere; both ends of the queue at the same place are an empty one.
    const start = random.chance(0.3) ? random.below(2 << log2commands) : 0;
    this.#register(REG.CMDQ_PROD.offset, start);
    this.#register(REG.CMDQ_CONS.offset, start);
    const events = random.chance(0.3) ? random.below(2 << this.#log2events) : 0;
    this.#register(REG.EVENTQ_PROD.offset, events);
    this.#register(REG.EVENTQ_CONS.offset, events);
    this.#register(REG.CR0.offset, 0x8);
    this.#register(REG.CR0.offset, 0xc);
    this.#register(REG.IRQ_CTRL.offset, 0x5);
    this.#send([this.#commands.all(), this.#commands.allTlb()]);
    this.#register(REG.CR0.offset, 0xd);
  }

  /** Transactions that GBPA decides about. */
  #beforeEnable(): void {
    const random = this.#random;
    if (random.chance(0.5)) {
      this.#register(REG.GBPA.offset, random.chance(0.7) ? 0x8010_1000 : 0x0010_1000);
      this.#steps.push({ kind: "read", offset: REG.GBPA.offset });
    }
    this.#transfer(random.of(this.#scene.streams), {
      iova: BigInt(PLACE.data),
      gpa: PLACE.data,
      sizeBytes: 0x1000,
      leaves: [],
    });
    if (random.chance(0.5)) this.#register(REG.GBPA.offset, 0x8000_1000);
  }

  #send(commands: readonly (readonly [bigint, bigint])[]): void {
    const sync = this.#commands.sync();
    this.#steps.push({ kind: "commands", commands: [...commands, sync] });
  }

  #act(made: Mutation[]): void {
    const random = this.#random;
    const stream = random.of(this.#scene.streams);
    const chosen = random.below(100);
    if (chosen < 46) this.#visit(stream);
    else if (chosen < 53) this.#visitByAll(stream);
    else if (chosen < 67) this.#change(stream, made);
    else if (chosen < 75) this.#send(this.#commands.some(stream, random.of(stream.visits)));
    else if (chosen < 81) this.#steps.push({ kind: "drain" });
    else if (chosen < 87) this.#readRegister();
    else if (chosen < 90) this.#send([this.#commands.refused()]);
    else if (chosen < 93) this.#toggle(stream);
    else if (chosen < 96) this.#detach(stream);
    else this.#map(stream);
  }

  #visit(stream: SceneStream): void {
    const random = this.#random;
    const visit = random.of(stream.visits);
    const far = random.below(12);
    if (far > 2) return this.#transfer(stream, visit);
    if (far === 2) {
      const iova = visit.iova ^ BigInt(random.between(1, 255)) << 56n;
      return this.#transfer(stream, isTranslated(stream) ? { ...visit, iova } : visit);
    }
    // Just outside, or beyond what the input may be.
    const iova = far === 0
      ? visit.iova + BigInt(visit.sizeBytes)
      : visit.iova ^ (1n << BigInt(random.of(isTranslated(stream) ? FAR_BITS : NOWHERE_BITS)));
    this.#transfer(stream, { ...visit, iova: BigInt.asUintN(64, iova) });
  }

  /** Pages are used by all streams that have the same tables, for reads and writes: what is cached of them serves each. */
  #visitByAll(stream: SceneStream): void {
    const random = this.#random;
    const all = this.#scene.streams.filter(({ visits }) => visits === stream.visits);
    for (const visit of random.shuffled(stream.visits).slice(0, 2 * all.length - 1)) {
      for (const one of random.shuffled(all)) this.#transfer(one, visit);
    }
  }

  /** A transfer of up to four bytes, which is one transaction for QEMU too; sometimes of more. */
  #transfer({ streamId }: SceneStream, { iova, gpa, sizeBytes, leaves }: Visit): void {
    const random = this.#random;
    const bytes = this.#log2events < 7 || random.chance(0.93)
      ? random.of([1, 2, 4, 4, 4])
      : random.of([8, 16, 64]);
    const inside = bytes === 64 ? 0 : random.below(64 / bytes) * bytes;
    // Not aligned now and then, but never in two pages: which of them fails first is nobody's matter.
    const isOdd = this.#log2events === 7 && inside + bytes < 64 && random.chance(0.05);
    const block = random.below(Math.min(sizeBytes, 0x1000) / 64) * 64;
    const at = block + inside + (isOdd ? 1 : 0);
    const common = { stream: streamId, iova: iova - iova % 4096n + BigInt(at), bytes };
    if (WRITERS.includes(streamId)) {
      this.#steps.push({ kind: "write", ...common, gpa: gpa - gpa % 4096 + at });
    } else if (READERS.includes(streamId)) {
      // What is there before tells apart where reads come from.
      const slot = this.#slot++ % (COPY.bufferBytes / COPY.slotBytes);
      if (leaves.length > 0) this.#store(gpa - gpa % 4096 + at - at % 8, random.quad());
      this.#steps.push({ kind: "fetch", ...common, slot });
    }
  }

  /** A structure is changed, what caches it is told, and then it is used. */
  #change(stream: SceneStream, made: Mutation[]): void {
    const random = this.#random;
    const { image } = this.#scene;
    const undone = made.length > 0 && random.chance(0.5) ? made.pop()! : undefined;
    if (undone !== undefined) {
      image.store(undone.at, undone.old);
      image.unnote(undone.at, undone.name);
      this.#store(undone.at, undone.old);
      this.#send([this.#commands.all(), this.#commands.allTlb()]);
      return this.#visit(stream);
    }
    const mutation = mutate(random, this.#scene, stream);
    if (mutation === undefined) return;
    made.push(mutation);
    // Tags and granules that are not what the scene has made: only what drops everything is sure to do.
    const isOdd = made.some(({ name }) => /^(STE|CD)/.test(name));
    const commands = this.#commands.after(mutation, stream, isOdd);
    const isKept = !commands.some(([lo]) => CONFIGURATION.includes(Number(lo & 0xffn)));
    if (mutation.name.startsWith("stage 2") && isKept) image.note(mutation.at, "no CFGI");
    // Used before, it may be cached; used afterwards, it must not be.
    const used =
      stream.visits.find(({ leaves }) =>
        leaves.some(({ leaf }) => [leaf.descriptor, ...leaf.above].includes(mutation.at))
      ) ?? random.of(stream.visits);
    if (random.chance(0.7)) this.#transfer(stream, used);
    this.#store(mutation.at, mutation.value);
    this.#send(commands);
    this.#transfer(stream, random.chance(0.8) ? used : random.of(stream.visits));
  }

  /** A page that was not there is mapped: nothing may have been cached of it. */
  #map(stream: SceneStream): void {
    const { image } = this.#scene;
    const leaf = stream.visits.flatMap(({ leaves }) => leaves).find(({ leaf }) =>
      (image.load(leaf.descriptor) & 1n) === 0n
    );
    if (leaf === undefined) return this.#visit(stream);
    const { descriptor } = leaf.leaf;
    image.store(descriptor, image.load(descriptor) | 1n);
    this.#store(descriptor, image.load(descriptor));
    this.#visit(stream);
  }

  /** A stream that is in use is taken away, and given back. */
  #detach(stream: SceneStream): void {
    const visit = this.#random.of(stream.visits);
    const quad = this.#scene.image.load(stream.ste);
    const away = this.#random.of([quad & ~1n, quad & ~0b1110n]);
    this.#transfer(stream, visit);
    for (const value of [away, quad]) {
      this.#store(stream.ste, value);
      this.#send([this.#commands.ofStream(stream)]);
      this.#transfer(stream, visit);
    }
  }

  #readRegister(): void {
    const offset = this.#random.of([
      ...[REG.IDR0, REG.IDR1, REG.IDR2, REG.IDR3, REG.IDR4, REG.IDR5, REG.IIDR, REG.AIDR],
      ...[REG.CR0, REG.CR0ACK, REG.CR1, REG.CR2, REG.STATUSR, REG.GBPA, REG.IRQ_CTRL],
      ...[REG.IRQ_CTRLACK, REG.GERROR, REG.GERRORN, REG.STRTAB_BASE, REG.STRTAB_BASE_CFG],
      ...[REG.CMDQ_BASE, REG.CMDQ_PROD, REG.CMDQ_CONS, REG.EVENTQ_BASE, REG.EVENTQ_PROD],
      REG.EVENTQ_CONS,
    ]).offset;
    this.#steps.push({ kind: "read", offset });
  }

  /** Translation, events or commands are off for a while. */
  #toggle(stream: SceneStream): void {
    // What is queued meanwhile must find room.
    const kind = this.#random.below(this.#log2commands < 2 ? 2 : 3);
    if (kind === 1) {
      this.#register(REG.CR0.offset, 0x9);
      this.#visit(stream);
      this.#visit(stream);
      this.#register(REG.CR0.offset, 0xd);
      return;
    }
    if (kind === 2) {
      this.#register(REG.CR0.offset, 0x5);
      this.#send([this.#commands.all(), this.#commands.allTlb()].slice(this.#random.below(3)));
      this.#visit(stream);
      this.#register(REG.CR0.offset, 0xd);
      return this.#visit(stream);
    }
    this.#register(REG.CR0.offset, 0xc);
    this.#transfer(stream, {
      iova: BigInt(PLACE.data),
      gpa: PLACE.data,
      sizeBytes: 0x1000,
      leaves: [],
    });
    this.#register(REG.CR0.offset, 0xd);
    this.#visit(stream);
  }

  /** What drivers do not do, at the end: the two may go their own ways afterwards. */
  #misbehave(): void {
    const random = this.#random;
    const stream = random.of(this.#scene.streams);
    switch (random.below(7)) {
      case 0:
        this.#send([this.#commands.anything()]);
        break;
      case 1: {
        // More events than there is room for.
        const count = (1 << Math.min(this.#log2events, 5)) + 2;
        const visit = { iova: 1n << 54n, gpa: PLACE.data, sizeBytes: 0x1000, leaves: [] };
        for (let i = 0; i < count; i++) this.#transfer(stream, visit);
        this.#steps.push({ kind: "drain" });
        this.#transfer(stream, visit);
        break;
      }
      case 2: {
        const offset = random.below(0x100 >> 2) << 2;
        this.#register(offset, random.word());
        this.#steps.push({ kind: "read", offset });
        break;
      }
      case 3:
        // Another kind of table than before.
        this.#register(REG.CR0.offset, 0xc);
        this.#register(
          REG.STRTAB_BASE_CFG.offset,
          random.below(18) | random.below(16) << 6 | random.below(2) << 16,
        );
        this.#send([this.#commands.all(), this.#commands.allTlb()]);
        this.#register(REG.CR0.offset, 0xd);
        for (let i = 0; i < 3; i++) this.#visit(stream);
        break;
      case 5:
        // A queue where nothing is.
        this.#register(REG.CR0.offset, 0x5);
        this.#wide(REG.CMDQ_BASE.offset, BigInt(NOWHERE) | 3n | 1n << 62n);
        this.#register(REG.CMDQ_PROD.offset, 0);
        this.#register(REG.CMDQ_CONS.offset, 0);
        this.#register(REG.CR0.offset, 0xd);
        this.#send([]);
        break;
      case 6:
        this.#register(REG.CR0.offset, 0x9);
        this.#wide(REG.EVENTQ_BASE.offset, BigInt(NOWHERE) | 3n | 1n << 62n);
        this.#register(REG.EVENTQ_PROD.offset, 0);
        this.#register(REG.EVENTQ_CONS.offset, 0);
        this.#register(REG.CR0.offset, 0xd);
        for (let i = 0; i < 3; i++) this.#visit(stream);
        break;
      case 4:
        this.#register(REG.EVENTQ_IRQ_CFG0.offset, random.quad(), 8);
        this.#steps.push({ kind: "read", offset: REG.EVENTQ_IRQ_CFG0.offset });
        break;
    }
  }
}
