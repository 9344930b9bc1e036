/**
 * A program for arm64 guests, because busybox has no ioctl(2): `struct-ioctl FILE < STRUCT > STRUCT` opens FILE, reads a
 * structure, passes it to one ioctl and writes what came of it. DDI 0487 C6 (instructions), ELF-64 Object File Format.
 * @module
 */

/** The structure and the ioctl that the program is for. */
export interface StructIoctl {
  /** Bytes, at most 4095. */
  readonly sizeBytes: number;
  /** The ioctl's number. */
  readonly request: number;
}

/** Linux `include/uapi/linux/map_benchmark.h`: `_IOWR('d', 1, struct map_benchmark)`. */
export const DMA_MAP_BENCHMARK: StructIoctl = { sizeBytes: 136, request: 0xc088_6401 };

/** System calls of arm64. Linux `include/uapi/asm-generic/unistd.h`. */
const SYSCALL = { ioctl: 29, openat: 56, read: 63, write: 64, exit: 93 } as const;
const AT_FDCWD = -100;
const O_RDWR = 2;

const BASE = 0x40_0000;
const EHDR_BYTES = 64;
const PHDR_BYTES = 56;
const EM_AARCH64 = 183;

const SP = 31;
const SVC = 0xd400_0001;
/** MOVZ: register `to` becomes a value of 16 bits. */
const movz = (to: number, value: number): number => 0xd280_0000 | value << 5 | to;
/** MOVN: register `to` becomes the complement of one. */
const movn = (to: number, value: number): number => 0x9280_0000 | value << 5 | to;
/** MOVK: bits 31 to 16 of `to` become a value. */
const movk16 = (to: number, value: number): number => 0xf2a0_0000 | value << 5 | to;
/** MOV between registers. */
const mov = (to: number, from: number): number => 0xaa00_03e0 | from << 16 | to;
/** ADD with an immediate; the way to copy the stack pointer. */
const add = (to: number, from: number, value: number): number =>
  0x9100_0000 | value << 10 | from << 5 | to;
/** SUB with an immediate. */
const sub = (to: number, from: number, value: number): number =>
  0xd100_0000 | value << 10 | from << 5 | to;
/** LDR of 64 bits at a multiple of 8 above a register. */
const ldr = (to: number, from: number, offset: number): number =>
  0xf940_0000 | offset / 8 << 10 | from << 5 | to;
/** TBNZ of bit 63: skips `count` instructions when a register is negative. */
const skipIfNegative = (register: number, count: number): number =>
  0xb7f8_0000 | (count + 1) << 5 | register;

/** The program as a static executable. It exits with 0, or with the low byte of minus the error number. */
export function structIoctl({ sizeBytes, request }: StructIoctl): Uint8Array<ArrayBuffer> {
  const call = (number: number): number[] => [movz(8, number), SVC];
  const transfer = (fd: number, number: number): number[] => [
    movz(0, fd),
    add(1, SP, 0),
    movz(2, sizeBytes),
    ...call(number),
  ];
  const answer = [...transfer(1, SYSCALL.write), movz(0, 0)];
  return executable([
    ldr(1, SP, 16), // argv[1]
    movn(0, ~AT_FDCWD),
    movz(2, O_RDWR),
    ...call(SYSCALL.openat),
    mov(19, 0),
    sub(SP, SP, (sizeBytes + 15) & ~15),
    ...transfer(0, SYSCALL.read),
    mov(0, 19),
    movz(1, request & 0xffff),
    movk16(1, request >>> 16),
    add(2, SP, 0),
    ...call(SYSCALL.ioctl),
    skipIfNegative(0, answer.length),
    ...answer,
    ...call(SYSCALL.exit),
  ]);
}

/** An ELF file of one segment, readable and executable, that begins with its own headers. */
function executable(code: readonly number[]): Uint8Array<ArrayBuffer> {
  const start = EHDR_BYTES + PHDR_BYTES;
  const sizeBytes = start + code.length * 4;
  const bytes = new Uint8Array(new ArrayBuffer(sizeBytes));
  const view = new DataView(bytes.buffer);
  const u16 = (at: number, value: number): void => view.setUint16(at, value, true);
  const u32 = (at: number, value: number): void => view.setUint32(at, value, true);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // 64 bits, little-endian, version 1
  u16(16, 2); // e_type: ET_EXEC
  u16(18, EM_AARCH64);
  u32(20, 1); // e_version
  u32(24, BASE + start); // e_entry
  u32(32, EHDR_BYTES); // e_phoff
  u16(52, EHDR_BYTES);
  u16(54, PHDR_BYTES);
  u16(56, 1); // e_phnum
  u16(58, 64); // e_shentsize
  u32(EHDR_BYTES, 1); // p_type: PT_LOAD
  u32(EHDR_BYTES + 4, 5); // p_flags: R, X
  u32(EHDR_BYTES + 16, BASE); // p_vaddr
  u32(EHDR_BYTES + 24, BASE); // p_paddr
  u32(EHDR_BYTES + 32, sizeBytes); // p_filesz
  u32(EHDR_BYTES + 40, sizeBytes); // p_memsz
  u32(EHDR_BYTES + 48, 0x1_0000); // p_align
  code.forEach((word, i) => u32(start + i * 4, word >>> 0));
  return bytes;
}
