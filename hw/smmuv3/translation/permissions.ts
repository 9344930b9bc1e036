/**
 * What descriptors permit, as six bits. Arm ARM (DDI 0487) D8.4 Memory access control.
 * @module
 */
import { Access } from "../fault.ts";

/** Permissions of a page: these bits for unprivileged access, the same shifted left by 3 for privileged. */
export const Permission = { Read: 0b001, Write: 0b010, Execute: 0b100, All: 0b111_111 } as const;

/** Bits of writes in a set of permissions. */
export const WRITES: number = Permission.Write | (Permission.Write << 3);

/** A page of device memory, beside the permissions of stage 2. */
export const DEVICE_MEMORY = 0b1_000_000;

/** Rules of a context above the permissions of descriptors. */
export const Protection = {
  /** Writable memory is never executable. CD.WXN */
  WXN: 0x100,
  /** Privileged data access never reaches unprivileged memory. CD.PAN */
  PAN: 0x200,
  /** A regime with one privilege level: EL2 without E2H. */
  OnePrivilege: 0x400,
} as const;

/** The permission bits that an access needs. */
export function permissionsNeeded(access: number): number {
  return (access & Access.Privileged) === 0 ? access & 0b111 : (access & 0b111) << 3;
}

/**
 * What a leaf of stage 1 permits, by AP[2:1] in bits 1:0, UXN and PXN in 3:2, APTable, UXNTable and PXNTable in 7:4, and
 * `Protection` above: one load for each walk.
 */
export const STAGE1_PERMISSIONS: Uint8Array = Uint8Array.from(
  { length: 2048 },
  (_, index) =>
    (index & Protection.OnePrivilege) === 0 ? twoPrivileges(index) : onePrivilege(index),
);

/** What a leaf of stage 2 permits, by S2AP in bits 1:0, XN in 3:2, and whether execution goes by privilege in 4. */
export const STAGE2_PERMISSIONS: Uint8Array = Uint8Array.from({ length: 32 }, (_, index) => {
  const data = (index & 1) * Permission.Read | ((index >>> 1) & 1) * Permission.Write;
  const xn = (index >>> 2) & 0b11;
  const byPrivilege = (index & 0b1_0000) !== 0;
  // Without XNX bit 0 of XN is reserved, and bit 1 means never.
  const isNever = byPrivilege ? xn === 0b10 : xn >= 0b10;
  const unprivileged = !isNever && !(byPrivilege && xn === 0b11);
  const privileged = !isNever && !(byPrivilege && xn === 0b01);
  return data | (data << 3) | (unprivileged ? Permission.Execute : 0) |
    (privileged ? Permission.Execute << 3 : 0);
});

function bit(index: number, position: number): boolean {
  return ((index >>> position) & 1) === 1;
}

function twoPrivileges(index: number): number {
  const unprivileged = bit(index, 0) && !bit(index, 6);
  const writable = !bit(index, 1) && !bit(index, 7);
  const pxn = bit(index, 2) || bit(index, 4);
  const uxn = bit(index, 3) || bit(index, 5);
  const wxn = (index & Protection.WXN) !== 0 && writable;
  const pan = (index & Protection.PAN) !== 0 && unprivileged;
  const data = writable ? Permission.Read | Permission.Write : Permission.Read;
  return (unprivileged ? data : 0) |
    (pan ? 0 : data << 3) |
    (uxn || (wxn && unprivileged) ? 0 : Permission.Execute) |
    (pxn || wxn || (unprivileged && writable) ? 0 : Permission.Execute << 3);
}

/** AP[1] counts as 1, and XN is where UXN is otherwise. */
function onePrivilege(index: number): number {
  const writable = !bit(index, 1) && !bit(index, 7);
  const xn = bit(index, 3) || bit(index, 5);
  const wxn = (index & Protection.WXN) !== 0 && writable;
  const all = Permission.Read | (writable ? Permission.Write : 0) |
    (xn || wxn ? 0 : Permission.Execute);
  return all | (all << 3);
}
