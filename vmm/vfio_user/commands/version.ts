/**
 * The agreement on a version and on capabilities. vfio-user specification, "VFIO_USER_VERSION".
 * @module
 */
import type { Pinned } from "../../../uapi/pinned.ts";
import { MOST_MAPS, type Refusal } from "../../guest_ram_map.ts";
import { MOST_DATA, VERSION } from "../protocol.ts";
import { type Command, invalid, type Request, type Target } from "./command.ts";

/** QEMU takes a reply only as long as its own request, 214 bytes. */
const CAPABILITIES = new TextEncoder().encode(
  JSON.stringify({
    capabilities: {
      max_msg_fds: 16,
      max_data_xfer_size: MOST_DATA,
      pgsizes: 4096,
      max_dma_maps: MOST_MAPS,
      write_multiple: true,
    },
  }) + "\0",
);
const LONGEST_TEXT = 4096;

/** VERSION. */
export const version: Command = {
  sizeBytes: VERSION.text,
  isOpen: true,
  needsReply: true,
  run: agree,
};

function agree(_: Target, { message, sizeBytes }: Request, reply: Pinned): number | Refusal {
  const major = message.view.getUint16(VERSION.major, true);
  const minor = message.view.getUint16(VERSION.minor, true);
  if (major !== 0) return invalid(`it speaks version ${major}.${minor}, we speak 0.0`);
  if (!isCapabilities(message.bytes.subarray(VERSION.text, sizeBytes))) {
    return invalid("its capabilities are no JSON object that ends in NUL");
  }
  reply.view.setUint16(VERSION.major, 0, true);
  reply.view.setUint16(VERSION.minor, 0, true);
  reply.bytes.set(CAPABILITIES, VERSION.text);
  return VERSION.text + CAPABILITIES.length;
}

/** None are as good as an empty object. We need nothing of the client, so nothing in it is looked at. */
function isCapabilities(text: Uint8Array): boolean {
  if (text.length === 0) return true;
  if (text.length > LONGEST_TEXT || text[text.length - 1] !== 0) return false;
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(text.subarray(0, -1)));
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
