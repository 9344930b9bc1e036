/**
 * `vsmmu probe`: what this host can do for guests.
 * @module
 */
import { ask, notAsked } from "../probe/ask.ts";
import { fileFacts } from "../probe/facts.ts";
import { kernelDoors } from "../probe/kernel_doors.ts";
import { probeLines, WORKS_ANYWHERE } from "../probe/text.ts";
import { Tree } from "../probe/tree.ts";
import { judge } from "../probe/verdict.ts";
import { type Command, EXIT, type Io, type Values } from "./command.ts";

/** The command. */
export const probe: Command = {
  name: "probe",
  summary: "tells what this host has for nested translation, what a guest would get, and why not",
  flags: {
    "files-only": { help: "Open no device: say what the files of the kernel tell" },
    sysroot: {
      value: "DIR",
      help: "Read a copy of /sys, /proc and /dev below DIR; opens no device",
    },
    json: { help: "Print facts and verdict as one JSON object" },
  },
  run: runCommand,
};

async function runCommand(values: Values, io: Io): Promise<number> {
  const root = values.text("sysroot");
  const files = await fileFacts(new Tree(root ?? ""));
  const facts = root !== undefined
    ? notAsked(files, "--sysroot is a copy")
    : values.on("files-only")
    ? notAsked(files, "--files-only")
    : ask(files, kernelDoors());
  const verdict = judge(facts);
  if (values.on("json")) {
    const works = Object.fromEntries(WORKS_ANYWHERE);
    io.out(JSON.stringify({ ...verdict, works, facts }, asJson, 2));
  } else for (const line of probeLines(facts, verdict)) io.out(line);
  return EXIT.ok;
}

/** 64 bits do not fit a number of JSON: they become hexadecimal text. */
function asJson(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? `0x${value.toString(16)}` : value;
}
