/**
 * An Arm SMMUv3: what software sees at its registers, and the way of DMA through it. IHI 0070 §6.3.
 *
 * A write has taken effect when it returns: acknowledge registers, consumed commands and completion messages of
 * CMD_SYNC are in place before the guest's next instruction.
 *
 * ```ts
 * import { GuestRam } from "../guest_memory.ts";
 * import { SmmuV3 } from "./smmuv3.ts";
 * const ram = new GuestRam();
 * ram.map(0x4000_0000, new ArrayBuffer(0x10_0000));
 * const smmu = new SmmuV3({ memory: ram });
 * smmu.write32(0x20, 0b1000); // CR0.CMDQEN
 * console.assert(smmu.read32(0x24) === 0b1000); // CR0ACK
 * ```
 * @module
 */
import type { AtsPort } from "../ats_port.ts";
import { get, maskOf } from "../bits.ts";
import type {
  DmaPort,
  FindWaiting,
  MmioDevice,
  MsiPort,
  Requester,
  StallableDmaPort,
} from "../device.ts";
import type { GuestMemory } from "../guest_memory.ts";
import { AtsStreams } from "./ats/streams.ts";
import { TranslatedAddresses } from "./ats/translated_addresses.ts";
import { TranslationRequests } from "./ats/translation_requests.ts";
import { CommandQueue } from "./queues/command_queue.ts";
import type { CommandTarget } from "./queues/command.ts";
import { TranslatedDma } from "./dma.ts";
import type { EndpointPort, PageRequestKind } from "./endpoint_port.ts";
import { EventReminder } from "./event_reminder.ts";
import { PageRequestQueue } from "./queues/page_request_queue.ts";
import { PageRequests } from "./page_requests.ts";
import { EventQueue, Recorded } from "./queues/event_queue.ts";
import { Fault } from "./fault.ts";
import { type Features, features } from "./features.ts";
import { GlobalErrors } from "./global_errors.ts";
import { HostBatch } from "./host_batch.ts";
import { HostStreams } from "./host_streams.ts";
import { identify } from "./identify.ts";
import { Interrupts } from "./interrupts.ts";
import type { Observer } from "./observer.ts";
import type { SmmuV3Options } from "./options.ts";
import { MappedRegisters, type RegisterWriter } from "./mapped_registers.ts";
import { RegisterFile } from "./register_file.ts";
import { unguarded } from "./register_guards.ts";
import { CERROR, CR0, CR2, GBPA, GERROR, REG, REGISTER_SPACE_SIZE } from "./spec/registers.ts";
import { restoredTransaction, StallableDma, type Way } from "./stallable_dma.ts";
import { checkVersion, type SmmuV3Snapshot, SNAPSHOT_VERSION } from "./snapshot.ts";
import { Stalls } from "./stalls.ts";
import { Translator } from "./translation/translate.ts";

export type { SmmuV3Snapshot } from "./snapshot.ts";

const SMMUEN = maskOf(CR0.SMMUEN);
const CMDQEN = maskOf(CR0.CMDQEN);

/** The device. */
export class SmmuV3 implements MmioDevice {
  /** The chosen features. */
  readonly features: Features;
  /** The way of endpoints to memory; their messages go where the device's own go. */
  readonly dma: DmaPort;

  /** Translates one page at a time without moving data, for those who do that themselves. */
  readonly translator: Translator;

  readonly #memory: GuestMemory;
  readonly #registers: RegisterFile;
  readonly #mapped: MappedRegisters | undefined;
  readonly #reminder: EventReminder | undefined;
  readonly #commands: CommandQueue;
  readonly #events: EventQueue;
  readonly #pageRequests: PageRequests;
  readonly #interrupts: Interrupts;
  readonly #errors: GlobalErrors;
  readonly #stalls: Stalls;
  readonly #streams: HostStreams | undefined;
  readonly #ats: AtsStreams;
  readonly #hostFault = new Fault();
  readonly #observer: Observer | undefined;

  /** A device in its reset state; throws a RangeError when the features cannot be. */
  constructor(options: SmmuV3Options) {
    const { memory, msi, host, observer } = options;
    this.features = features(options.features);
    this.#observer = observer;
    const registers = this.#registers = new RegisterFile(options.registers);
    this.#mapped = options.page && new MappedRegisters(options.page, registers.words);
    registers.mirror = this.#mapped;
    this.#reminder = options.page && new EventReminder();
    this.#interrupts = new Interrupts(
      registers,
      memory,
      this.features,
      options.lines ?? {},
      msi,
      observer,
    );
    this.#errors = new GlobalErrors(registers, this.#interrupts);
    this.#events = new EventQueue(registers, memory, this.features);
    this.#pageRequests = new PageRequests(
      new PageRequestQueue(registers, memory, this.features),
      this.#errors,
      this.#interrupts,
      options.endpoints,
    );
    this.#stalls = new Stalls(this.features, (fault) => this.#recordStall(fault));
    this.translator = new Translator(
      registers,
      memory,
      this.features,
      (fault) => this.#record(fault),
      observer,
      options.log2tlbSets ?? 10,
    );
    this.#ats = new AtsStreams(
      registers,
      this.features,
      this.translator,
      (fault) => this.#record(fault),
    );
    this.#streams = host && new HostStreams(host, registers, memory, this.features);
    const batch = host && new HostBatch(host);
    const target = this.#target(options.endpoints);
    this.#commands = new CommandQueue(registers, memory, this.features, target, batch, observer);
    this.#memory = memory;
    this.dma = this.port(msi);
    this.reset();
  }

  /** Returns every register to its reset value, forgets everything cached and aborts what is stalled. */
  reset(): void {
    this.#stalls.terminateAll();
    this.#registers.reset((words) => identify(words, this.features));
    this.#reminder?.told(0);
    this.translator.forget();
    this.#streams?.refresh();
  }

  /** Tells hardware about all its streams anew: some are there that were not, or have other StreamIDs. */
  refreshHost(): void {
    this.#streams?.refresh();
  }

  /** Records an event of the hardware: the eight words of its record, with the guest's StreamID. */
  hostEvent(words: Uint32Array): void {
    this.#hostFault.record.words.set(words);
    this.#record(this.#hostFault);
  }

  /**
   * An endpoint asks for the page at [hi:lo], as one of a group (PRGIndex, 0 to 511). What cannot be queued is answered
   * through the `EndpointPort` at once, as §8.1 and §8.2 say; Stop Markers never are.
   */
  requestPage(
    requester: Requester,
    lo: number,
    hi: number,
    group: number,
    kind: PageRequestKind,
  ): void {
    this.#pageRequests.ask(requester, lo, hi, group, kind);
  }

  /**
   * Its state between two operations as a plain value that JSON can hold: a fresh device of the same features that
   * restores it answers everything from then on as this one does. Guest memory is not part of it, nor is what endpoints
   * have; where registers are memory, what software wrote there and nobody has looked at is.
   */
  snapshot(): SmmuV3Snapshot {
    return {
      version: SNAPSHOT_VERSION,
      registers: this.#registers.snapshot(),
      tlb: this.translator.tlb.snapshot(),
      contexts: this.translator.contexts.snapshot(),
      events: this.#events.snapshot(),
      unanswered: this.#commands.isUnanswered,
      stalls: this.#stalls.snapshot(),
      ...(this.#mapped ? { mapped: this.#mapped.snapshot() } : {}),
      ...(this.#reminder ? { untold: this.#reminder.since } : {}),
    };
  }

  /**
   * Becomes what a snapshot says. What is stalled in it waits for software as before: `find` is asked for the endpoint's side
   * of each such transaction; of one that nobody waits for software may still dispose, and nothing comes of it. What was
   * stalled here is forgotten, and not told. Throws a RangeError when the snapshot is of another version, or of a TLB or an
   * IDR5.STALL_MAX of another size.
   */
  restore(snapshot: SmmuV3Snapshot, find: FindWaiting = () => undefined): void {
    checkVersion(snapshot);
    const commit = this.#stalls.prepare(
      snapshot.stalls,
      (stalled) => restoredTransaction(this.#way(), stalled, find),
    );
    this.translator.tlb.restore(snapshot.tlb);
    commit();
    this.#registers.restore(snapshot.registers);
    if (snapshot.mapped !== undefined) this.#mapped?.restore(snapshot.mapped);
    this.#events.restore(snapshot.events);
    this.#commands.isUnanswered = snapshot.unanswered;
    this.#reminder?.told(snapshot.untold ?? 0);
    const { contexts, tlb } = this.translator;
    contexts.restore(snapshot.contexts, this.features, tlb.domains);
    this.#streams?.refresh();
  }

  /** A way to memory for endpoints whose messages take `msi` to where no RAM is. */
  port(msi?: MsiPort): DmaPort {
    return new TranslatedDma(this.translator, this.#memory, msi, this.#observer);
  }

  /** A way to memory for endpoints whose transactions can be stalled; PCI functions are none. */
  stallablePort(): StallableDmaPort {
    return new StallableDma(this.#way());
  }

  /** A way to translations and to memory for endpoints that have an ATC. Without feature `ats` nothing is answered. */
  atsPort(): AtsPort {
    const streams = this.#ats;
    const requests = new TranslationRequests(streams);
    const pages = new TranslatedAddresses(streams);
    return {
      translate: requests.translate.bind(requests),
      requestPage: this.requestPage.bind(this),
      translated: new TranslatedDma(pages, this.#memory, undefined, this.#observer),
    };
  }

  /** Reads 4 or 8 bytes, aligned; other accesses read zero. */
  read(offset: number, into: Uint8Array): void {
    into.fill(0);
    if (!isAccess(offset, into.length)) return;
    for (let i = 0; i < into.length; i += 4) {
      const value = this.read32(offset + i);
      for (let byte = 0; byte < 4; byte++) into[i + byte] = value >>> (8 * byte);
    }
  }

  /** Writes 4 or 8 bytes, aligned; other accesses are ignored. */
  write(offset: number, from: Uint8Array): void {
    if (!isAccess(offset, from.length)) return;
    for (let i = 0; i < from.length; i += 4) {
      const value = from[i] | (from[i + 1] << 8) | (from[i + 2] << 16) | (from[i + 3] << 24);
      this.write32(offset + i, value >>> 0);
    }
  }

  /** Reads the 32-bit register, or half register, at `offset`. */
  read32(offset: number): number {
    return this.#registers.words[RegisterFile.resolve(offset) >>> 2] ?? 0;
  }

  /** Writes the 32-bit register, or half register, at `offset`; has taken effect when it returns. */
  write32(offset: number, value: number): void {
    const at = RegisterFile.resolve(offset);
    const writable = RegisterFile.writable(at) & unguarded(at, this.#registers, this.features);
    if (writable === 0) return;
    const old = this.#registers.words[at >>> 2];
    this.#registers.put(at, (old & ~writable) | (value & writable));
    this.#react(at, old);
  }

  /**
   * Looks at the memory of the registers, and hands what software wrote there to `writer`, which is to have it done here:
   * of all registers when `isWhole`. Returns the number of writes; none where accesses trap.
   */
  look(writer: RegisterWriter = this, isWhole = false): number {
    return (isWhole ? this.#mapped?.settle(writer) : this.#mapped?.look(writer)) ?? 0;
  }

  /** The same for the registers that software writes while the device runs; a look is at all of them, in several turns. */
  glance(writer: RegisterWriter = this): number {
    return this.#mapped?.glance(writer) ?? 0;
  }

  /** What a write to the register at `offset` sets in motion. */
  #react(offset: number, old: number): void {
    const registers = this.#registers;
    switch (offset) {
      case REG.CR0.offset:
        // Before CR0ACK says so: hardware translates from now on, or no longer.
        if (((old ^ registers.get(REG.CR0)) & SMMUEN) !== 0) this.#streams?.refresh();
        if ((registers.get(REG.CR0) & SMMUEN) === 0) this.#stalls.terminateAll();
        registers.set(REG.CR0ACK, registers.get(REG.CR0));
        this.#consume();
        this.#stalls.wake();
        break;
      case REG.IRQ_CTRL.offset:
        registers.set(REG.IRQ_CTRLACK, registers.get(REG.IRQ_CTRL));
        break;
      case REG.GBPA.offset: {
        // §6.3.14: a write without Update changes nothing; with it, the update is complete when Update reads 0.
        const gbpa = registers.view(REG.GBPA);
        if (get(gbpa, GBPA.Update) === 0) {
          registers.set(REG.GBPA, old);
          break;
        }
        if ((registers.get(REG.CR0) & SMMUEN) === 0) this.#streams?.refresh();
        registers.set(REG.GBPA, registers.get(REG.GBPA) & ~maskOf(GBPA.Update));
        break;
      }
      case REG.GERRORN.offset:
        this.#consume();
        this.#stalls.wake();
        break;
      case REG.CMDQ_PROD.offset:
        this.#consume();
        break;
      case REG.EVENTQ_CONS.offset:
        this.#remind();
        this.#stalls.wake();
        break;
    }
  }

  #way(): Way {
    return {
      translator: this.translator,
      memory: this.#memory,
      stalls: this.#stalls,
      observer: this.#observer,
    };
  }

  #consume(): void {
    if ((this.#registers.get(REG.CR0) & CMDQEN) === 0) return;
    if (this.#errors.isActive(GERROR.CMDQ_ERR)) return;
    if (this.#commands.consume() !== CERROR.NONE) this.#errors.raise(GERROR.CMDQ_ERR);
  }

  #sync(gpa: number, data: number): void {
    if (!this.#interrupts.cmdSync(gpa, data)) this.#errors.raise(GERROR.MSI_CMDQ_ABT_ERR);
  }

  #record(fault: Fault): void {
    const isInError = this.#errors.isActive(GERROR.EVENTQ_ABT_ERR);
    // Where registers are memory software may have read the last record already; merging is a choice (§7.3.1).
    const merges = fault.merges && this.#mapped === undefined;
    this.#recorded(fault, this.#events.write(fault.record, isInError, merges));
  }

  /** Records a stalled transaction; false, with nothing lost, when the queue is not writable. §7.2.1 */
  #recordStall(fault: Fault): boolean {
    if (!this.#events.isWritable(this.#errors.isActive(GERROR.EVENTQ_ABT_ERR))) return false;
    const recorded = this.#events.write(fault.record, false, false);
    this.#recorded(fault, recorded);
    return recorded !== Recorded.Aborted;
  }

  #recorded({ record }: Fault, recorded: number): void {
    this.#observer?.event(record.words, recorded <= Recorded.First);
    if (recorded === Recorded.Aborted) this.#errors.raise(GERROR.EVENTQ_ABT_ERR);
    if (recorded === Recorded.First) this.#tellEvents();
  }

  #tellEvents(): void {
    this.#reminder?.told(this.#registers.get(REG.EVENTQ_PROD));
    if (!this.#interrupts.eventq()) this.#errors.raise(GERROR.MSI_EVENTQ_ABT_ERR);
  }

  #remind(): void {
    const registers = this.#registers;
    const prod = registers.get(REG.EVENTQ_PROD);
    const cons = registers.get(REG.EVENTQ_CONS);
    if (this.#reminder?.isDue(prod, cons, this.#events.log2size)) this.#tellEvents();
  }

  /** What commands act on. §3.9.1: endpoints are told nothing while SMMUEN is 0. */
  #target(endpoints: EndpointPort | undefined): CommandTarget {
    const { contexts, tlb } = this.translator;
    const cr2 = this.#registers.view(REG.CR2);
    const isEnabled = (): boolean => (this.#registers.get(REG.CR0) & SMMUEN) !== 0;
    return {
      features: this.features,
      contexts,
      tlb,
      streams: this.#streams,
      stalls: this.#stalls,
      endpoints: endpoints && {
        invalidate: (...request) => !isEnabled() || endpoints.invalidate(...request),
        respond: (...answer) => isEnabled() ? endpoints.respond(...answer) : undefined,
      },
      e2h: () => get(cr2, CR2.E2H) === 1,
      sync: (gpa, data) => this.#sync(gpa, data),
    };
  }
}

function isAccess(offset: number, sizeBytes: number): boolean {
  return (sizeBytes === 4 || sizeBytes === 8) && offset % sizeBytes === 0 &&
    offset >= 0 && offset + sizeBytes <= REGISTER_SPACE_SIZE;
}
