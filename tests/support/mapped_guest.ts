/**
 * A guest that finds the registers in memory: nothing that it does there traps, and the device looks after each write.
 * @module
 */
import { REGISTER_SPACE_SIZE } from "../../hw/smmuv3/spec/registers.ts";
import { RegisterPageAccess } from "../../vmm/differential/register_page_access.ts";
import { Guest, type GuestOptions } from "./guest.ts";

/** The guest. Its `smmu` is what software sees of it. */
export function mappedGuest(options: GuestOptions = {}): Guest {
  const page = new ArrayBuffer(REGISTER_SPACE_SIZE);
  const guest = new Guest({ ...options, page, enabled: false });
  const { smmu } = guest;
  const device = { write32: smmu.write32.bind(smmu) };
  const look = smmu.look.bind(smmu);
  const access = new RegisterPageAccess(page, { look: () => look(device) });
  const word = new Uint8Array(4);
  const view = new DataView(word.buffer);
  Object.assign(smmu, {
    read: access.read.bind(access),
    write: access.write.bind(access),
    read32(offset: number): number {
      access.read(offset, word);
      return view.getUint32(0, true);
    },
    write32(offset: number, value: number): void {
      view.setUint32(0, value, true);
      access.write(offset, word);
    },
  });
  if (options.enabled ?? true) guest.enable();
  return guest;
}
