/**
 * What QEMU says in another form than the architecture has it, put into that form.
 * @module
 */
import { get, set } from "../../hw/bits.ts";
import { CLASS, EVENT, RECORD } from "../../hw/smmuv3/spec/events.ts";
import type { Step } from "./program.ts";
import type { EventRecord } from "./transcript.ts";

/** Another form of what QEMU says. */
export interface Rewrite {
  readonly name: string;
  /** What QEMU does. */
  readonly reason: string;
  /** Where the architecture says what is right. */
  readonly section: string;
  /** The records of one step as they should be; the same ones where there is nothing to do. */
  readonly events: (records: readonly EventRecord[], step: Step) => readonly EventRecord[];
}

const PAGE = 0xfff;
/** The words of a record with an address. */
const INPUT = RECORD.InputAddrLow.word;
const FETCH = RECORD.FetchAddrLow.word;

function mapRecords(
  records: readonly EventRecord[],
  change: (record: EventRecord) => EventRecord,
): readonly EventRecord[] {
  const changed = records.map(change);
  return changed.some((record, i) => record !== records[i]) ? changed : records;
}

function replaced(record: EventRecord, words: Readonly<Record<number, number>>): EventRecord {
  return record.map((word, i) => words[i] ?? word);
}

function isOf(record: EventRecord, ...numbers: number[]): boolean {
  return numbers.includes(record[0] & 0xff);
}

/** All of them, in the order in which they are done. */
export const REWRITES: readonly Rewrite[] = [
  {
    name: "an event for each access",
    reason: "QEMU makes a transfer of aligned accesses of at most 4 bytes, and each of them faults",
    section: "§7.3 Event records: one for a transaction, which the requester defines",
    events: (records, step) => {
      if (step.kind !== "write" && step.kind !== "fetch") return records;
      const kept = records.filter((record, i) =>
        i === 0 || !isSequel(records[i - 1], record, step.bytes)
      );
      return kept.length < records.length ? kept : records;
    },
  },
  {
    name: "FetchAddr of F_CD_FETCH",
    reason: "QEMU has it where InputAddr is in other records",
    section: "§7.3.10 F_CD_FETCH",
    events: (records) =>
      mapRecords(
        records,
        (record) =>
          isOf(record, EVENT.F_CD_FETCH) && record[FETCH] === 0 && record[INPUT] !== 0
            ? replaced(record, {
              [FETCH]: record[INPUT],
              [FETCH + 1]: record[INPUT + 1],
              [INPUT]: 0,
              [INPUT + 1]: 0,
            })
            : record,
      ),
  },
  {
    name: "RnW of a CD fetch",
    reason: "QEMU says how the CD is read, where RnW is that of the transaction",
    section: "§7.3.13 F_TRANSLATION and those after it: RnW",
    events: (records, step) =>
      mapRecords(records, (record) => {
        const words = Uint32Array.from(record);
        const isOfCd = get(words, RECORD.S2) === 1 && get(words, RECORD.CLASS) === CLASS.CD;
        if (step.kind !== "write" || !isOfCd || get(words, RECORD.RnW) === 0) return record;
        set(words, RECORD.RnW, 0);
        return [...words];
      }),
  },
  {
    name: "stage of a table",
    reason: "QEMU calls it a fault of stage 1 when stage 2 does not let it read a table of stage 1",
    section: "§7.3.13 F_TRANSLATION and those after it: S2, CLASS",
    events: (records) =>
      mapRecords(records, (record) => {
        const words = Uint32Array.from(record);
        const isOfTable = get(words, RECORD.CLASS) === CLASS.TT && get(words, RECORD.S2) === 0;
        if (!isOfTable || get(words, RECORD.ID) < EVENT.F_TRANSLATION) return record;
        set(words, RECORD.S2, 1);
        return [...words];
      }),
  },
  {
    name: "TTRnW",
    reason: "QEMU does not say that a table was read when stage 2 forbids that",
    section: "§7.3.16 F_PERMISSION: TTRnW",
    events: (records) =>
      mapRecords(records, (record) => {
        const words = Uint32Array.from(record);
        const isOfTable = get(words, RECORD.CLASS) === CLASS.TT && get(words, RECORD.S2) === 1;
        if (!isOfTable || get(words, RECORD.ID) !== EVENT.F_PERMISSION) return record;
        if (get(words, RECORD.TTRnW) === 1) return record;
        set(words, RECORD.TTRnW, 1);
        return [...words];
      }),
  },
  {
    name: "low bits of the IPA",
    reason: "QEMU says the whole address where the record has bits 51:12 of it",
    section: "§7.3.13 F_TRANSLATION and those after it",
    events: (records) =>
      mapRecords(records, (record) => {
        const isStage2 = get(Uint32Array.from(record), RECORD.S2) === 1;
        if (!isStage2 || (record[FETCH] & PAGE) === 0) return record;
        return replaced(record, { [FETCH]: (record[FETCH] & ~PAGE) >>> 0 });
      }),
  },
];

/** Whether a record is of a later access of the same transfer: all but addresses is the same, and those follow. */
function isSequel(before: EventRecord, record: EventRecord, bytes: number): boolean {
  const isSame = before.every((word, i) =>
    i === INPUT || i === FETCH ? Math.abs(word - record[i]) < bytes : word === record[i]
  );
  return bytes > 1 && isSame;
}
