/**
 * The configuration space of a PCI function as root has it, past any driver: what `setpci` writes.
 * @module
 */

/** IDs of extended capabilities. PCI Express Base 5.0 §7.6.3. */
export const EXTENDED = { ATS: 0x0f, PRI: 0x13, PASID: 0x1b } as const;

/** One function's. */
export class RootConfig {
  readonly #path: string;

  /** Of the function that a character device of VFIO is for. */
  constructor(vfioPath: string) {
    const name = vfioPath.slice(vfioPath.lastIndexOf("/") + 1);
    this.#path = `/sys/class/vfio-dev/${name}/device/config`;
  }

  /** Where an extended capability is; throws when there is none. */
  find(id: number): number {
    const bytes = Deno.readFileSync(this.#path);
    const view = new DataView(bytes.buffer);
    for (let at = 0x100; at !== 0; at = view.getUint32(at, true) >>> 20) {
      if (view.getUint16(at, true) === id) return at;
    }
    throw new Error(`${this.#path} has no extended capability 0x${id.toString(16)}`);
  }

  /** Reads 16 bits. */
  get16(offset: number): number {
    return new DataView(Deno.readFileSync(this.#path).buffer).getUint16(offset, true);
  }

  /** Writes 16 bits. */
  set16(offset: number, value: number): void {
    this.#write(offset, Uint8Array.of(value & 0xff, value >>> 8));
  }

  /** Writes 32 bits. */
  set32(offset: number, value: number): void {
    this.#write(offset, new Uint8Array(Uint32Array.of(value).buffer));
  }

  #write(offset: number, bytes: Uint8Array): void {
    using file = Deno.openSync(this.#path, { write: true });
    file.seekSync(offset, Deno.SeekMode.Start);
    file.writeSync(bytes);
  }
}
