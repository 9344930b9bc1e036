/**
 * Anonymous files that can be shared and sealed. memfd_create(2), fcntl(2).
 * @module
 */
import { check, orMinusErrno } from "./errno.ts";
import { Fd } from "./fd.ts";
import { libc } from "./libc.ts";
import { cString } from "./pinned.ts";

/** Seals; once added, none can be taken away. */
export const F_SEAL = { SEAL: 1, SHRINK: 2, GROW: 4, WRITE: 8 } as const;

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;

/** A new zeroed file of `sizeBytes`, with the given `seals` of `F_SEAL`. Throws `SystemError`. */
export function createMemfd(name: string, sizeBytes: number, seals: number = 0): Fd {
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  const fd = new Fd(check(libc().memfd_create(cString(name), flags), "make a memfd"));
  try {
    check(libc().ftruncate(fd.number, BigInt(sizeBytes)), `size a memfd to ${sizeBytes} bytes`);
    if (seals !== 0) check(libc().fcntl(fd.number, F_ADD_SEALS, seals), "seal a memfd");
    return fd;
  } catch (error) {
    fd[Symbol.dispose]();
    throw error;
  }
}

/** The seals of a file in memory (memfd, tmpfs, hugetlbfs); minus the error number of any other file. */
export function sealsOf(fd: Fd): number {
  return orMinusErrno(libc().fcntl(fd.number, F_GET_SEALS, 0));
}

/**
 * Whether the file can never become shorter, sealing it when it still allows that. A mapped file that becomes shorter
 * kills the process at the next access (SIGBUS).
 */
export function sealAgainstShrinking(fd: Fd): boolean {
  libc().fcntl(fd.number, F_ADD_SEALS, F_SEAL.SHRINK);
  const seals = sealsOf(fd);
  return seals >= 0 && (seals & F_SEAL.SHRINK) !== 0;
}
