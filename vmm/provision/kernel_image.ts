/**
 * What kind of kernel a file is. Linux: Documentation/arch/arm64/booting.rst, drivers/firmware/efi/libstub/zboot-header.S.
 *
 * @module
 */

/** A kernel that QEMU's `-kernel` takes for an Arm guest. */
export type KernelFormat = "Image" | "gzip" | "zboot";

/** How many bytes from the front {@link kernelFormat} needs. */
export const KERNEL_HEADER_BYTES = 64;

const IMAGE_MAGIC_OFFSET = 0x38;
const ZBOOT_MAGIC_OFFSET = 0x04;

/** Tells the format from the first 64 bytes of a file, or says in words what the file is instead. */
export function kernelFormat(head: Uint8Array): { format: KernelFormat } | { instead: string } {
  const is = (offset: number, text: string): boolean =>
    [...text].every((letter, index) => head[offset + index] === letter.charCodeAt(0));
  if (is(IMAGE_MAGIC_OFFSET, "ARMd")) return { format: "Image" };
  if (head[0] === 0x1f && head[1] === 0x8b) return { format: "gzip" };
  if (is(0, "MZ") && is(ZBOOT_MAGIC_OFFSET, "zimg")) return { format: "zboot" };
  if (is(0, "\x7fELF")) return { instead: "an ELF file" };
  if (is(0, "MZ")) return { instead: "an EFI program for another machine" };
  return { instead: head.length < KERNEL_HEADER_BYTES ? "too short" : "an unknown format" };
}
