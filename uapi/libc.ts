/**
 * The C library: the only `Deno.dlopen` of the project, opened on first use.
 *
 * Every call is synchronous on the calling thread, which is what makes errno readable. Signatures are those of the
 * 64-bit Linux C library. `open`, `fcntl`, `ioctl` and `prctl` are variadic in C and fixed here: on x86_64 and on AArch64 Linux
 * both conventions pass these arguments in the same registers. ioctl requests exceed an `i32`, therefore `usize`.
 * Results that fit are `i32` even where C says `ssize_t`, because an `i64` would arrive as a fresh bigint. Sizes are
 * bigints: a number there takes Deno's slow path (100 ns instead of 10).
 * @module
 */

/** The signatures of `Libc`. */
export const SYMBOLS = {
  accept4: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32" },
  access: { parameters: ["buffer", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  fallocate: { parameters: ["i32", "i32", "i64", "i64"], result: "i32" },
  fchmod: { parameters: ["i32", "u32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  fdatasync: { parameters: ["i32"], result: "i32" },
  fsync: { parameters: ["i32"], result: "i32" },
  ftruncate: { parameters: ["i32", "i64"], result: "i32" },
  getdents64: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  geteuid: { parameters: [], result: "u32" },
  ioctl: { parameters: ["i32", "usize", "buffer"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
  memfd_create: { parameters: ["buffer", "u32"], result: "i32" },
  mmap: { parameters: ["usize", "usize", "i32", "i32", "i32", "i64"], result: "usize" },
  munmap: { parameters: ["usize", "usize"], result: "i32" },
  open: { parameters: ["buffer", "i32", "u32"], result: "i32" },
  ppoll: { parameters: ["buffer", "usize", "buffer", "buffer"], result: "i32" },
  prctl: { parameters: ["i32", "usize", "usize", "usize", "usize"], result: "i32" },
  pread: { parameters: ["i32", "buffer", "usize", "i64"], result: "i32" },
  pwrite: { parameters: ["i32", "buffer", "usize", "i64"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  readlink: { parameters: ["buffer", "buffer", "usize"], result: "i32" },
  recvmsg: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
  sendmsg: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  statx: { parameters: ["i32", "buffer", "i32", "u32", "buffer"], result: "i32" },
  unlink: { parameters: ["buffer"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "i32" },

  errnoLocation: { name: "__errno_location", parameters: [], result: "usize" },
  copyFrom: { name: "memcpy", parameters: ["buffer", "usize", "usize"], result: "void" },
  addressOf: { name: "memcpy", parameters: ["buffer", "buffer", "usize"], result: "usize" },
} as const satisfies Deno.ForeignLibraryInterface;

/** The functions of the C library, by their C names. */
export type Libc = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/** Where distributions keep the C library; absolute, because a relative path is looked up in the working directory. */
const PATHS = [
  `/lib/${Deno.build.arch}-linux-gnu/libc.so.6`,
  "/lib64/libc.so.6",
  "/usr/lib/libc.so.6",
];

let opened: Libc | undefined;
let errnoAddress = 0n;
const errnoCopy = new Int32Array(new ArrayBuffer(4));

/**
 * The C library. Throws `Error` when none can be opened, which most often means that `--allow-ffi` is missing.
 *
 * ```ts
 * import { lastErrno, libc } from "./libc.ts";
 * console.assert(libc().close(-1) === -1 && lastErrno() === 9);
 * ```
 */
export function libc(): Libc {
  return opened ??= open();
}

/**
 * The error number of the call just made on this thread; meaningful only when that call failed. To be asked for before
 * anything is allocated, which may collect garbage: what waits for collectors makes system calls too.
 */
export function lastErrno(): number {
  // A copy, because a view of foreign memory needs the FFI permission without a path.
  libc().copyFrom(errnoCopy, errnoAddress, 4n);
  return errnoCopy[0];
}

function open(): Libc {
  const refusals: string[] = [];
  for (const path of PATHS) {
    try {
      const { symbols } = Deno.dlopen(path, SYMBOLS);
      errnoAddress = symbols.errnoLocation();
      return symbols;
    } catch (error) {
      refusals.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw new Error(`Cannot open the C library: ${refusals.join("; ")}`);
}
