/**
 * A program with endpoints that have PASIDs, translate for themselves and ask for pages: one behind tables of 64 KiB, one
 * behind both stages.
 * @module
 */
import { PLACE } from "../../differential/ground.ts";
import type { BareProgram } from "./bare_machine.ts";
import { ABORTED, BareDriver, PAGE_REQUESTS } from "./bare_driver.ts";

const [PLAIN, NESTED] = [0x08, 0x48];
const EATS = 1n << 28n;
const [LARGE, SMALL] = [0x1_0000, 0x1000];
/** Of the CDs of the first function, of which PASIDs 1 and 2 have one. */
const CONTEXTS = PLACE.contexts;
const NESTED_CONTEXT = PLACE.contexts + 0x1000;
/** Tables of 64 KiB for two PASIDs, two levels each. */
const LARGE_TABLES = PLACE.tables;
const SMALL_TABLES = PLACE.tables + 8 * LARGE;
const STAGE_TWO = PLACE.tables + 0x20_0000;
const PAGE = PLACE.data;
const IOVA = 0x3_0000n;
/** V, AA64, A, R, ASET; TTBR1 is not used. */
const CONTEXT = 1n << 31n | 1n << 30n | 0xe205n << 32n;
const GRANULE_64K = 1n << 6n;
const READ_WRITE = 0x0c43n;
/** Normal memory, read and write, AF. */
const STAGE_TWO_PAGE = 0x04ffn;

const [ATS_REQUEST, ATS_RESULT, ATS_ADDRESS] = [0x1010, 0x1014, 0x1018];
const [ADDRESSING, ATC_COUNT] = [0x1020, 0x1024];
const [PRI_REQUEST, PRI_RESULT] = [0x1030, 0x1034];

/** The program. */
export const ENDPOINTS_PROGRAM: BareProgram = {
  name: "a program without a guest: PASIDs, ATS and page requests; 64K tables; both stages",
  features: {
    ssidSize: 4,
    stage2: true,
    granule64K: true,
    ats: true,
    pri: true,
    httu: 2,
    vmid16: true,
  },
  endpoints: [
    { streamId: PLAIN, pasidWidth: 4, ats: true },
    { streamId: NESTED, ats: true },
  ],
  run: async (subject) => {
    const driver = new BareDriver(subject);
    prepare(driver);
    await driver.bringUp(4, 1);
    for (const stream of [PLAIN, NESTED]) await driver.enable(stream);
    await pasids(driver);
    await pages(driver);
    await overflow(driver);
    await nested(driver);
  },
};

/** Where the entry of the first function's page is, of a PASID. */
function leafOf(pasid: number): number {
  return LARGE_TABLES + (2 * pasid + 1) * LARGE + 3 * 8;
}

function prepare(driver: BareDriver): void {
  // Four CDs; requests without a PASID abort.
  driver.store(PLACE.streamTable + PLAIN * 64, BigInt(CONTEXTS) | 0b1011n | 2n << 59n);
  driver.store(PLACE.streamTable + PLAIN * 64 + 8, EATS);
  for (const pasid of [1, 2]) {
    const cd = CONTEXTS + pasid * 64;
    const table = LARGE_TABLES + 2 * pasid * LARGE;
    // 42 bits: two levels
    driver.store(cd, CONTEXT | GRANULE_64K | 22n | BigInt(pasid) << 48n);
    driver.store(cd + 8, BigInt(table));
    driver.store(table, BigInt(table + LARGE) | 3n);
    driver.store(leafOf(pasid), BigInt(PAGE + pasid * LARGE) | READ_WRITE);
  }
  driver.store(PLACE.streamTable + NESTED * 64, BigInt(NESTED_CONTEXT) | 0b1111n);
  driver.store(PLACE.streamTable + NESTED * 64 + 8, EATS);
  // S2VMID 5, S2T0SZ 25, S2SL0 1, S2PS 5, S2AA64, S2R
  driver.store(
    PLACE.streamTable + NESTED * 64 + 16,
    5n | 25n << 32n | 1n << 38n | 5n << 48n | 1n << 51n | 1n << 58n,
  );
  driver.store(PLACE.streamTable + NESTED * 64 + 24, BigInt(STAGE_TWO));
  driver.store(NESTED_CONTEXT, CONTEXT | 25n | 9n << 48n);
  driver.store(NESTED_CONTEXT + 8, BigInt(SMALL_TABLES));
  for (let level = 0; level < 2; level++) {
    driver.store(SMALL_TABLES + level * SMALL, BigInt(SMALL_TABLES + (level + 1) * SMALL) | 3n);
  }
  driver.store(SMALL_TABLES + 2 * SMALL + 0x30 * 8, BigInt(PAGE) | READ_WRITE);
  // All of the window at itself, in blocks of 2 MiB, but for where data is: pages, of which two are exchanged.
  driver.store(STAGE_TWO + 8, BigInt(STAGE_TWO + SMALL) | 3n);
  for (let gpa = PLACE.commands; gpa < PLACE.data; gpa += 0x20_0000) {
    driver.store(STAGE_TWO + SMALL + (gpa - 0x4000_0000) / 0x20_0000 * 8, BigInt(gpa) | 0x4fdn);
  }
  const data = STAGE_TWO + SMALL + (PLACE.data - 0x4000_0000) / 0x20_0000 * 8;
  driver.store(data, BigInt(STAGE_TWO + 2 * SMALL) | 3n);
  driver.store(STAGE_TWO + 2 * SMALL, BigInt(PAGE + 8 * LARGE) | STAGE_TWO_PAGE);
}

/** An answer to a request to write: its permissions, and where the page is. */
async function ask(driver: BareDriver, stream: number): Promise<[number, number]> {
  await driver.poke(stream, ATS_REQUEST, 2);
  const result = await driver.peek(stream, ATS_RESULT);
  return [result, await driver.peek(stream, ATS_ADDRESS)];
}

/** Status 0, to read and write, of so many bytes. */
const granted = (log2size: number): number => log2size << 16 | 3 << 8;

/** Two PASIDs, the same IOVA, two pages; a third that has no CD. */
async function pasids(driver: BareDriver): Promise<void> {
  for (const pasid of [1, 2]) {
    const page = PAGE + pasid * LARGE;
    await driver.aim(PLAIN, IOVA + 0x124n, pasid);
    await driver.expect(`PASID ${pasid}`, await driver.transfer(PLAIN, page + 0x124), 0);
    await driver.expect(`PASID ${pasid}`, await ask(driver, PLAIN), [granted(16), page]);
    await driver.poke(PLAIN, ADDRESSING, 1);
    await driver.expect(`PASID ${pasid}`, await driver.transfer(PLAIN, page + 0x124), 0);
    await driver.poke(PLAIN, ADDRESSING, 0);
  }
  await driver.expect("ATC", await driver.peek(PLAIN, ATC_COUNT), 2);
  await driver.aim(PLAIN, IOVA, 3);
  await driver.expect("PASID 3", await driver.transfer(PLAIN, PAGE), ABORTED);
  await driver.aim(PLAIN, IOVA);
  await driver.expect("no PASID", await driver.transfer(PLAIN, PAGE), ABORTED);
  // C_BAD_CD; F_STREAM_DISABLED: S1DSS is 0.
  await driver.expect("events", await driver.events(), [0x0a, 0x06]);
}

/** A page is taken back, asked for, and given anew. */
async function pages(driver: BareDriver): Promise<void> {
  const leaf = leafOf(2);
  const old = driver.load(leaf);
  const forget: [bigint, bigint][] = [
    // CMD_TLBI_NH_VA of ASID 2 with TG 64K and TTL 3, CMD_ATC_INV of PASID 2
    [0x12n | 2n << 48n, IOVA | 3n << 10n | 3n << 8n | 1n],
    [0x40n | 1n << 11n | 2n << 12n | BigInt(PLAIN) << 32n, IOVA | 4n],
  ];
  driver.store(leaf, 0n);
  await driver.commands(...forget);
  await driver.expect("ATC", await driver.peek(PLAIN, ATC_COUNT), 1);
  await driver.aim(PLAIN, IOVA, 2);
  await driver.expect("no page", (await ask(driver, PLAIN))[0] & 0x307, 0);
  await driver.poke(PLAIN, PRI_REQUEST, 7 << 16 | 0b1_0011);
  await driver.expect("not answered", await driver.peek(PLAIN, PRI_RESULT), 0);
  await driver.expect("PRIQ_PROD", await driver.read(0x1_00c8), 1);
  const request = driver.load(PAGE_REQUESTS + 8);
  await driver.expect("request", Number(request & 0x1ffn), 7);
  driver.store(leaf, old);
  await driver.write(0x1_00cc, 1);
  await driver.commands([0x41n | 1n << 11n | 2n << 12n | BigInt(PLAIN) << 32n, 7n | 2n << 12n]);
  await driver.expect("answer", await driver.peek(PLAIN, PRI_RESULT) >>> 0, 0x8002_0007);
  await driver.expect("page", await ask(driver, PLAIN), [granted(16), PAGE + 2 * LARGE]);
}

/** More requests than the queue has room for: the SMMU answers by itself. */
async function overflow(driver: BareDriver): Promise<void> {
  await driver.aim(PLAIN, IOVA + 0x7_0000n, 1);
  for (let group = 0; group < 4; group++) {
    await driver.poke(PLAIN, PRI_REQUEST, group << 16 | 0b1_0001);
    await driver.peek(PLAIN, PRI_RESULT);
  }
  await driver.expect(
    "answer of the SMMU",
    await driver.peek(PLAIN, PRI_RESULT) >>> 0,
    0x8002_0003,
  );
  const prod = await driver.read(0x1_00c8);
  await driver.expect("OVFLG", prod >>> 31, 1);
  await driver.write(0x1_00cc, prod);
  for (const group of [0, 1]) {
    await driver.commands([
      0x41n | 1n << 11n | 1n << 12n | BigInt(PLAIN) << 32n,
      BigInt(group) | 1n << 12n,
    ]);
  }
}

/** Both stages: a page of the guest's, which stage 2 has elsewhere; then stage 2 has it no more. */
async function nested(driver: BareDriver): Promise<void> {
  const target = PAGE + 8 * LARGE;
  await driver.aim(NESTED, 0x3_0008n);
  await driver.expect("nested", await driver.transfer(NESTED, target + 8), 0);
  await driver.expect("nested", await ask(driver, NESTED), [granted(12), target]);
  await driver.poke(NESTED, ADDRESSING, 1);
  await driver.expect("nested, by the ATC", await driver.transfer(NESTED, target + 8), 0);
  driver.store(STAGE_TWO + 2 * SMALL, 0n);
  await driver.commands(
    // CMD_TLBI_S2_IPA and CMD_TLBI_NH_ALL of VMID 5, CMD_ATC_INV of everything
    [0x2an | 5n << 32n, BigInt(PAGE) | 1n],
    [0x10n | 5n << 32n, 0n],
    [0x40n | BigInt(NESTED) << 32n, 52n],
  );
  await driver.expect("taken back", await driver.transfer(NESTED, target + 8), ABORTED);
  await driver.poke(NESTED, ADDRESSING, 0);
  await driver.expect("taken back", await driver.transfer(NESTED, target + 8), ABORTED);
  // F_TRANSLATION of stage 2; the translation request was answered without one.
  await driver.expect("events", await driver.events(), [0x10]);
  // A translated transaction without EATS.
  driver.field(PLACE.streamTable + NESTED * 64, 93, 92, 0);
  await driver.commands([0x03n | BigInt(NESTED) << 32n, 1n]);
  await driver.poke(NESTED, ADDRESSING, 2);
  await driver.expect("forbidden", await driver.transfer(NESTED, target + 8), ABORTED);
  await driver.expect("events", await driver.events(), [0x07]);
}
