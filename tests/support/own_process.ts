/**
 * What this process holds, to find leaks: Deno's own sanitizer does not see what was made through FFI. Asked through
 * FFI too, because Deno opens /proc only to those who may do everything. Test files that count must not run in
 * parallel: they share one process.
 * @module
 */
import { libc } from "../../uapi/libc.ts";
import { cString } from "../../uapi/pinned.ts";

const HIGHEST = 256;

/** Targets of all open descriptors below 256, sorted. */
export function openDescriptors(): string[] {
  const targets: string[] = [];
  const into = new Uint8Array(256);
  for (let number = 0; number < HIGHEST; number++) {
    const length = libc().readlink(cString(`/proc/self/fd/${number}`), into, 256n);
    if (length > 0) targets.push(new TextDecoder().decode(into.subarray(0, length)));
  }
  return targets.sort();
}

/** How many times memfds named `name` are mapped. */
export function mappingsOf(name: string): number {
  const fd = libc().open(cString("/proc/self/maps"), 0, 0);
  if (fd < 0) throw new Error("Cannot open /proc/self/maps");
  const into = new Uint8Array(0x1_0000);
  let text = "";
  for (let length; (length = libc().read(fd, into, 0x1_0000n)) > 0;) {
    text += new TextDecoder().decode(into.subarray(0, length));
  }
  libc().close(fd);
  return text.split(`/memfd:${name} `).length - 1;
}
