/**
 * Our tables of registers and structures against sources that are not ours: `golden/layouts.json`, and the header of
 * Linux's driver where one is installed (`--allow-read`, `--allow-env`).
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { type AddressField, bits, type Field } from "../../hw/bits.ts";
import * as cd from "../../hw/smmuv3/spec/cd.ts";
import * as commands from "../../hw/smmuv3/spec/commands.ts";
import { DESCRIPTOR } from "../../hw/smmuv3/spec/descriptors.ts";
import * as events from "../../hw/smmuv3/spec/events.ts";
import * as registers from "../../hw/smmuv3/spec/registers.ts";
import * as ste from "../../hw/smmuv3/spec/ste.ts";
import { type Bits, type Definition, findHeader, parseHeader } from "../golden/extract.ts";
import golden from "../golden/layouts.json" with { type: "json" };

type Fields = Readonly<Record<string, Field | AddressField>>;
type Golden = Readonly<Record<string, number[]>>;

/** Addresses whose bits 55:52 the manual has since SMMUv3.4; before, they are reserved. */
const SHORTER = new Set([
  "STRTAB_BASE.ADDR",
  "CMDQ_BASE.ADDR",
  "EVENTQ_BASE.ADDR",
  "GERROR_IRQ_CFG0.ADDR",
  "EVENTQ_IRQ_CFG0.ADDR",
  "PRIQ_BASE.ADDR",
  "PRIQ_IRQ_CFG0.ADDR",
  "CMD_SYNC.MSIAddress",
  "CD.TTB0",
  "CD.TTB1",
  "STE.S2TTB",
]);

/** Bits of two-bit fields that the manual has as two fields. */
const CD = { ...without(cd.CD, ["TBI"]), TBI0: bits(38), TBI1: bits(39) };

/** Event addresses are split into words for speed; whole, they are these. */
const RECORD = without(events.RECORD, [
  "InputAddrLow",
  "InputAddrHigh",
  "FetchAddrLow",
  "FetchAddrHigh",
]);

interface Layout {
  name: string;
  ours: Fields;
  theirs: Golden;
  /** What we leave out: it belongs to features that the device does not have. */
  absent?: string;
}

const fields = golden.registers.fields as Readonly<Record<string, Golden>>;
const commandFields = golden.commands.fields as Readonly<Record<string, Golden>>;

const LAYOUTS: readonly Layout[] = [
  { name: "IDR0", ours: registers.IDR0, theirs: fields.IDR0, absent: "RME_IMPL" },
  { name: "IDR1", ours: registers.IDR1, theirs: fields.IDR1 },
  {
    name: "IDR3",
    ours: registers.IDR3,
    theirs: fields.IDR3,
    absent: "E0PD PTWNNC DPT PASIDTT EPAN S1PI S2PI S2PO THE MTEPERM AIE",
  },
  { name: "IDR5", ours: registers.IDR5, theirs: fields.IDR5, absent: "D128" },
  { name: "AIDR", ours: registers.AIDR, theirs: fields.AIDR },
  { name: "CR0", ours: registers.CR0, theirs: fields.CR0, absent: "DPT_WALK_EN" },
  { name: "CR0ACK", ours: registers.CR0, theirs: fields.CR0ACK, absent: "DPT_WALK_EN" },
  { name: "CR1", ours: registers.CR1, theirs: fields.CR1 },
  { name: "CR2", ours: registers.CR2, theirs: fields.CR2 },
  { name: "GBPA", ours: registers.GBPA, theirs: fields.GBPA },
  { name: "IRQ_CTRL", ours: registers.IRQ_CTRL, theirs: fields.IRQ_CTRL },
  { name: "IRQ_CTRLACK", ours: registers.IRQ_CTRL, theirs: fields.IRQ_CTRLACK },
  { name: "GERROR", ours: registers.GERROR, theirs: fields.GERROR, absent: "CMDQP_ERR DPT_ERR" },
  { name: "GERRORN", ours: registers.GERROR, theirs: fields.GERRORN, absent: "CMDQP_ERR DPT_ERR" },
  { name: "GERROR_IRQ_CFG0", ours: registers.IRQ_CFG0, theirs: fields.GERROR_IRQ_CFG0 },
  { name: "EVENTQ_IRQ_CFG0", ours: registers.IRQ_CFG0, theirs: fields.EVENTQ_IRQ_CFG0 },
  { name: "STRTAB_BASE", ours: registers.STRTAB_BASE, theirs: fields.STRTAB_BASE },
  { name: "STRTAB_BASE_CFG", ours: registers.STRTAB_BASE_CFG, theirs: fields.STRTAB_BASE_CFG },
  { name: "CMDQ_BASE", ours: registers.QUEUE_BASE, theirs: fields.CMDQ_BASE, absent: "RA" },
  { name: "EVENTQ_BASE", ours: registers.QUEUE_BASE, theirs: fields.EVENTQ_BASE, absent: "WA" },
  { name: "CMDQ_PROD", ours: registers.CMDQ_PROD, theirs: fields.CMDQ_PROD },
  { name: "CMDQ_CONS", ours: registers.CMDQ_CONS, theirs: fields.CMDQ_CONS },
  { name: "EVENTQ_PROD", ours: registers.EVENTQ_PROD, theirs: fields.EVENTQ_PROD },
  { name: "EVENTQ_CONS", ours: registers.EVENTQ_CONS, theirs: fields.EVENTQ_CONS },
  { name: "PRIQ_BASE", ours: registers.QUEUE_BASE, theirs: fields.PRIQ_BASE, absent: "WA" },
  { name: "PRIQ_IRQ_CFG0", ours: registers.IRQ_CFG0, theirs: fields.PRIQ_IRQ_CFG0 },
  { name: "PRIQ_IRQ_CFG2", ours: registers.PRIQ_IRQ_CFG2, theirs: fields.PRIQ_IRQ_CFG2 },
  { name: "PRIQ_PROD", ours: registers.PRIQ_PROD, theirs: fields.PRIQ_PROD },
  { name: "PRIQ_CONS", ours: registers.PRIQ_CONS, theirs: fields.PRIQ_CONS },
  {
    name: "STE",
    ours: ste.STE,
    theirs: golden.ste.fields,
    absent: "S2HWU59 S2HWU60 S2HWU61 S2HWU62 SW_RESERVED S1PIE S1MPAM S2HAFT S2PIE S2POE " +
      "DPT_VMATCH S2NSW S2NSA S2SL0_2 S2DS S2SKL PARTID S_S2T0SZ S_S2SL0 S_S2TG MECID PMG " +
      "MPAM_NS AssuredOnly TL0 TL1 VMSPtr S2SW S2SA S_S2SL0_2 S_S2TTB S_S2SKL S2POI",
  },
  { name: "L1STD", ours: ste.L1STD, theirs: golden.l1std.fields },
  {
    name: "CD",
    ours: CD,
    theirs: golden.cd.fields,
    absent:
      "DisCH0 E0PD0 HAFT PnCH EPAN HWU059 HWU060 HWU061 SKL0 HWU062 DisCH1 E0PD1 AIE DS PIE " +
      "HWU159 HWU160 HWU161 SKL1 HWU162 AMAIR0 AMAIR1 PARTID PMG PIIU PIIP",
  },
  {
    name: "Descriptor",
    ours: { ...without(DESCRIPTOR, ["Table"]), Type: DESCRIPTOR.Table },
    theirs: golden.descriptor.fields,
    absent: "OA nT GP PBHA",
  },
  {
    name: "Event record",
    ours: RECORD,
    theirs: golden.events.fields,
    absent: "STAG GPCF NSIPA InputAddr FetchAddr IPA",
  },
  {
    name: "Stall record",
    ours: events.STALL_RECORD,
    theirs: { STAG: golden.events.fields.STAG },
  },
  {
    name: "F_BAD_ATS_TREQ",
    ours: events.BAD_ATS_RECORD,
    theirs: golden.events.records.F_BAD_ATS_TREQ,
    absent: "SSV SubstreamID StreamID InputAddr",
  },
  { name: "L1CD", ours: cd.L1CD, theirs: golden.l1cd.fields },
  {
    name: "CMD_ATC_INV",
    ours: commands.ATC_INV,
    theirs: commandFields.CMD_ATC_INV,
    absent: "Address",
  },
  { name: "CMD_PRI_RESP", ours: commands.PRI_RESP, theirs: commandFields.CMD_PRI_RESP },
  {
    name: "CMD_RESUME",
    ours: { SSec: commands.CMD.SSec, ...commands.RESUME },
    theirs: commandFields.CMD_RESUME,
  },
  {
    name: "CMD_TLBI_S2_IPA",
    ours: without(commands.TLBI, ["SCALE", "ASID"]),
    theirs: commandFields.CMD_TLBI_S2_IPA,
    absent: "SCALE TTL128 Address",
  },
  ...["CMD_TLBI_NH_VA", "CMD_TLBI_EL2_VA"].map((name): Layout => ({
    name,
    // While IDR5.DS is 0, SCALE is [24:20].
    ours: without(commands.TLBI, ["SCALE", ...(name === "CMD_TLBI_EL2_VA" ? ["VMID"] : [])]),
    theirs: commandFields[name],
    absent: "SCALE TTL128 Address",
  })),
  {
    name: "CMD_CFGI_STE_RANGE",
    ours: { SSec: commands.CMD.SSec, ...pick(commands.CFGI, ["StreamID", "Range"]) },
    theirs: commandFields.CMD_CFGI_STE_RANGE,
  },
  {
    name: "CMD_CFGI_STE",
    ours: { SSec: commands.CMD.SSec, ...pick(commands.CFGI, ["StreamID", "Leaf"]) },
    theirs: commandFields.CMD_CFGI_STE,
  },
  {
    name: "CMD_CFGI_CD",
    ours: { SSec: commands.CMD.SSec, ...pick(commands.CFGI, ["StreamID", "SubstreamID", "Leaf"]) },
    theirs: commandFields.CMD_CFGI_CD,
  },
  {
    name: "CMD_PREFETCH_CONFIG",
    ours: { SSec: commands.CMD.SSec, ...pick(commands.CFGI, ["SSV", "SubstreamID", "StreamID"]) },
    theirs: commandFields.CMD_PREFETCH_CONFIG,
  },
  { name: "CMD_SYNC", ours: commands.SYNC, theirs: commandFields.CMD_SYNC },
];

function pick(from: Fields, names: readonly string[]): Fields {
  return Object.fromEntries(Object.entries(from).filter(([name]) => names.includes(name)));
}

function without(from: Fields, names: readonly string[]): Fields {
  return Object.fromEntries(Object.entries(from).filter(([name]) => !names.includes(name)));
}

for (const { name, ours, theirs, absent = "" } of LAYOUTS) {
  Deno.test(`${name} is laid out as in the manual and in other code`, () => {
    const left = absent.split(" ").filter((field) => field !== "");
    assertEquals(new Set([...Object.keys(ours), ...left]), new Set(Object.keys(theirs)));
    for (const [field, { high, low }] of Object.entries(ours)) {
      const shorter = SHORTER.has(`${name}.${field}`) ? 4 : 0;
      assertEquals([high + shorter, low], theirs[field], field);
    }
  });
}

Deno.test("each register is where the manual and other code have it", () => {
  const theirs = golden.registers.offsets as Readonly<Record<string, number>>;
  for (const [name, { offset }] of Object.entries(registers.REG)) {
    assertEquals(offset, theirs[name], name);
  }
  assertEquals(registers.PAGE0_ALIAS, {
    0xa8: theirs.EVENTQ_PROD,
    0xac: theirs.EVENTQ_CONS,
    0xc8: theirs.PRIQ_PROD,
    0xcc: theirs.PRIQ_CONS,
  });
});

Deno.test("each opcode, event and error has the manual's number", () => {
  const opcodes = golden.commands.opcodes as Readonly<Record<string, number>>;
  for (const [name, opcode] of Object.entries(commands.OP)) {
    assertEquals(opcode, opcodes[name], name);
  }
  const ids = golden.events.ids as Readonly<Record<string, number>>;
  for (const [name, id] of Object.entries(events.EVENT)) assertEquals(id, ids[name], name);
  for (const [name, code] of Object.entries(registers.CERROR)) {
    const errors = golden.commands.errors as Readonly<Record<string, number>>;
    assertEquals(code, errors[`CERROR_${name}`], name);
  }
  const { high, low } = commands.CMD.Opcode;
  assertEquals([high, low], golden.commands.opcode);
  assertEquals([commands.TLBI.SCALE.high, commands.TLBI.SCALE.low], [24, 20]);
});

Deno.test("each structure has the manual's size", () => {
  const { COMMAND_SIZE } = commands;
  const sizes = [
    COMMAND_SIZE,
    ste.STE_SIZE,
    ste.L1STD_SIZE,
    cd.CD_SIZE,
    cd.L1CD_SIZE,
    events.EVENT_SIZE,
  ];
  const { commands: command, l1cd } = golden;
  const theirs = [command, golden.ste, golden.l1std, golden.cd, l1cd, golden.events];
  assertEquals(sizes.map((sizeBytes) => sizeBytes * 8), theirs.map(({ sizeBits }) => sizeBits));
});

Deno.test("the halves of event addresses hold the manual's fields", () => {
  const { InputAddr, FetchAddr } = golden.events.fields;
  const { InputAddrLow, InputAddrHigh, FetchAddrLow, FetchAddrHigh } = events.RECORD;
  assertEquals([InputAddrHigh.high, InputAddrLow.low], InputAddr);
  assertEquals([InputAddrHigh.low, FetchAddrHigh.low], [
    InputAddrLow.high + 1,
    FetchAddrLow.high + 1,
  ]);
  assert(FetchAddr[0] <= FetchAddrHigh.high && FetchAddr[1] >= FetchAddrLow.low);
  assertEquals(FetchAddrLow.low + 3, FetchAddr[1], "bits 2:0 of the address are not recorded");
});

const header = findHeader();

Deno.test({
  name:
    "layouts.json agrees with the header of Linux's driver [needs linux-source or VSMMU_LINUX_HEADER]",
  ignore: header === undefined,
  fn: () => {
    const theirs = parseHeader(Deno.readTextFileSync(header!));
    const { names, narrower } = golden.linux;
    let compared = 0;
    for (const [name, [path, shift]] of Object.entries(names)) {
      const definition = theirs[name];
      if (definition === undefined) continue;
      compared++;
      const [found, expected] = [shifted(definition, Number(shift)), at(String(path))];
      if (narrower.includes(name)) {
        assertEquals((found as Bits)[1], (expected as Bits)[1], name);
        assert((found as Bits)[0] <= (expected as Bits)[0], name);
      } else {
        assertEquals(found, expected, name);
      }
    }
    assert(compared > 150, `Only ${compared} names of ${header}`);
  },
});

function shifted(definition: Definition, shift: number): Definition {
  return typeof definition === "number"
    ? definition + shift
    : [definition[0] + shift, definition[1] + shift];
}

function at(path: string): Definition {
  let value: unknown = golden;
  for (const key of path.split(".")) value = (value as Record<string, unknown>)[key];
  return value as Definition;
}
