/**
 * Our declarations of Linux's headers, as a C compiler would tell them.
 * @module
 */
import * as iommufd from "../../uapi/iommufd/mod.ts";
import { sizeOf, type Struct } from "../../uapi/struct.ts";
import * as vfio from "../../uapi/vfio/mod.ts";

/** As in `tests/golden/uapi_layouts.json`. */
export type Layout = Readonly<Record<string, number | readonly [number, number]>>;

/** All that we declare, by header. */
export function ownLayouts(): Readonly<Record<string, Layout>> {
  return { "linux/iommufd.h": layout(iommufd), "linux/vfio.h": layout(vfio) };
}

/** A module's structures by their C names, and its numbers by those of their objects and keys. */
export function layout(module: Readonly<Record<string, unknown>>): Layout {
  const found: Record<string, number | readonly [number, number]> = {};
  for (const [name, value] of Object.entries(module)) {
    if (isStruct(value)) {
      found[name] = value.size;
      for (const [field, kind] of Object.entries(value.fields)) {
        found[`${name}.${field}`] = [kind.offset, sizeOf(kind)];
      }
    } else if (typeof value === "number") found[name] = value;
    else if (typeof value === "object" && value !== null) {
      for (const [key, number] of Object.entries(value)) {
        // Names of ioctls are whole.
        found[typeof number === "bigint" ? key : `${name}_${key}`] = Number(number);
      }
    }
  }
  return found;
}

function isStruct(value: unknown): value is Struct {
  return typeof value === "object" && value !== null && "fields" in value && "size" in value;
}
