/** What lspci says in the guest and on its host, and what is found wrong with it. */
import { assertEquals } from "@std/assert";
import { checkLspci, type LspciTexts } from "../../vmm/passthrough/lspci_check.ts";

const HOST = `01:10.0 Ethernet controller: Intel Corporation 82576 Virtual Function (rev 01)
	Capabilities: [50] MSI: Enable- Count=1/1 Maskable+ 64bit+
	Capabilities: [a0] Express (v2) Endpoint, IntMsgNum 0
		DevCap:	MaxPayload 128 bytes, PhantFunc 0, Latency L0s <64ns, L1 <1us
	Capabilities: [70] MSI-X: Enable- Count=3 Masked-
	Capabilities: [100 v1] Advanced Error Reporting
	Capabilities: [140 v1] Address Translation Service (ATS)
	Capabilities: [150 v1] Alternative Routing-ID Interpretation (ARI)`;
const GUEST = `00:04.0 Ethernet controller: Intel Corporation 82576 Virtual Function (rev 01)
	Capabilities: [a0] Express (v2) Root Complex Integrated Endpoint, IntMsgNum 0
	Capabilities: [70] MSI-X: Enable+ Count=3 Masked-
	Capabilities: [100 v1] Advanced Error Reporting`;
const PASID = "\n	Capabilities: [160 v1] Process Address Space ID (PASID)";
const HIDDEN = [
  "vfio0: Capability 0x5 at 0x50 is not shown",
  "vfio0: ATS (0x140-0x147) is hidden: nested translation cannot honour translation requests",
];
const INSERTED =
  "vfio0: A PASID capability of 8 bits is inserted: PASID at 0x160: 0x160-0x167 is free";

function judged(texts: Partial<LspciTexts>, isForced: boolean): boolean[] {
  const guest = texts.guest ?? GUEST;
  const all = { host: HOST, bytes: guest, notes: HIDDEN, ...texts, guest };
  return checkLspci(all, isForced).map(({ ok }) => ok);
}

Deno.test("lspci in the guest shows what the host has, less what is hidden, and PASIDs where the log says", async (t) => {
  const cases: { name: string; texts: Partial<LspciTexts>; isForced: boolean; ok: boolean[] }[] = [
    { name: "as it should be", texts: {}, isForced: false, ok: [true, true, true] },
    {
      name: "forced",
      texts: { guest: GUEST + PASID, notes: [...HIDDEN, INSERTED] },
      isForced: true,
      ok: [true, true, true],
    },
    {
      name: "forced, at another place",
      texts: { guest: GUEST + PASID.replace("160", "168"), notes: [...HIDDEN, INSERTED] },
      isForced: true,
      ok: [false, true, true],
    },
    {
      name: "forced, and not there",
      texts: { notes: [...HIDDEN, INSERTED] },
      isForced: true,
      ok: [false, true, true],
    },
    {
      name: "not asked for",
      texts: { guest: GUEST + PASID },
      isForced: false,
      ok: [false, true, true],
    },
    {
      name: "a list that comes back to itself",
      texts: { guest: `${GUEST}\n	Capabilities: [100 v1] <chain looped>` },
      isForced: false,
      ok: [true, false, true],
    },
    {
      name: "one that nobody knows",
      texts: { guest: `${GUEST}\n	Capabilities: [180 v1] Extended Capability ID 0x7f` },
      isForced: false,
      ok: [true, false, true],
    },
    {
      name: "one that the log does not tell is hidden",
      texts: { notes: HIDDEN.slice(1) },
      isForced: false,
      ok: [true, false, true],
    },
    {
      name: "bytes of something else",
      texts: { bytes: HOST },
      isForced: false,
      ok: [true, true, false],
    },
    { name: "no word of it", texts: { guest: "" }, isForced: false, ok: [true, false, false] },
    {
      name: "no word of the host",
      texts: { host: "", guest: "" },
      isForced: false,
      ok: [true, false, false],
    },
  ];
  for (const { name, texts, isForced, ok } of cases) {
    await t.step(name, () => assertEquals(judged(texts, isForced), ok));
  }
});

Deno.test("what is hidden at the head of the extended list is empty there", () => {
  const guest = GUEST.replace("Advanced Error Reporting", "Null");
  const notes = [...HIDDEN, "vfio0: AER (0x100-0x147) is hidden: the host's"];
  assertEquals(judged({ guest, notes }, false), [true, true, true]);
  assertEquals(judged({ guest }, false), [true, false, true]);
});
