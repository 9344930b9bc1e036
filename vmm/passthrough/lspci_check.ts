/**
 * What `lspci -vvv` says of a function in the guest, held against what it says on the host and what we said was done.
 * @module
 */
import type { Check } from "../guest_checks.ts";

/** The texts. */
export interface LspciTexts {
  /** What lspci printed in the guest. */
  readonly guest: string;
  /** What it printed on the host. */
  readonly host: string;
  /** What it makes, on the host, of the bytes that the guest read. */
  readonly bytes: string;
  /** Lines of our log. */
  readonly notes: readonly string[];
}

const PASID = "Process Address Space ID";
/** What QEMU keeps from its guests. QEMU `hw/vfio/pci.c`, `vfio_add_ext_cap`. */
const HIDDEN_BY_QEMU: readonly string[] = [
  "Alternative Routing-ID Interpretation",
  "Single Root I/O Virtualization",
];
/** How our log names what is not shown, of the standard and of the extended list, and where a capability is inserted. */
const HIDDEN = /[ (](0x[0-9a-f]+)(?:-0x[0-9a-f]+\))? is (?:not shown|hidden)/;
const INSERTED = /A PASID capability of \d+ bits is inserted: PASID at (0x[0-9a-f]+)/;
/** What lspci calls a list that is no good, and what it does not know. */
const TROUBLE = /<|unknown|capability id/i;

/** Judges them; `isForced` when there is to be a PASID capability although the host has no PASIDs. */
export function checkLspci({ guest, host, bytes, notes }: LspciTexts, isForced: boolean): Check[] {
  const [inGuest, onHost] = [capabilities(guest), capabilities(host)];
  const hidden = notes.flatMap((note) => HIDDEN.exec(note)?.[1] ?? []);
  const expected = onHost.filter(({ kind, offset }) =>
    !HIDDEN_BY_QEMU.includes(kind) && !hidden.includes(offset)
  );
  const told = notes.flatMap((note) => INSERTED.exec(note)?.[1] ?? []).at(0);
  const pasids = inGuest.filter(({ kind }) => kind === PASID);
  // One at 0x100 cannot leave the list, and is empty there.
  const others = inGuest.filter(({ kind, offset }) =>
    kind !== PASID && !(kind === "Null" && hidden.includes(offset))
  );
  const trouble = guest.split("\n").filter((line) => isCapability(line) && TROUBLE.test(line));
  return [
    {
      name: isForced
        ? "lspci in the guest finds the PASID capability where our log says, and none is on the host"
        : "No PASID capability is shown where the host has no PASIDs",
      ok: !onHost.some(({ kind }) => kind === PASID) && told !== undefined === isForced &&
        names(pasids) === (isForced ? `${told} ${PASID}` : ""),
      seen: `guest: ${names(pasids) || "none"}, log: ${told ?? "none"}`,
    },
    {
      name: "lspci in the guest finds the host's other capabilities, but for what is hidden",
      ok: expected.length > 0 && names(others) === names(expected) && trouble.length === 0,
      seen: trouble.map((line) => line.trim()).join("; ") || names(others) || "nothing",
    },
    {
      name: "lspci on the host finds the same in the bytes that the guest read",
      ok: inGuest.length > 0 && names(capabilities(bytes)) === names(inGuest),
      seen: names(capabilities(bytes)) || "nothing",
    },
  ];
}

interface Printed {
  readonly offset: string;
  readonly kind: string;
}

function isCapability(line: string): boolean {
  return /^\tCapabilities: /.test(line);
}

/** Those of the list, with the words that do not tell what they are set to. */
function capabilities(text: string): Printed[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\tCapabilities: \[([0-9a-f]+)(?: v\d+)?\] ([^:(,]+)/.exec(line);
    return match === null ? [] : [{ offset: `0x${match[1]}`, kind: match[2].trim() }];
  });
}

function names(printed: readonly Printed[]): string {
  return printed.map(({ offset, kind }) => `${offset} ${kind}`).join(", ");
}
