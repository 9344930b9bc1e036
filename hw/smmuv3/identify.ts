/**
 * The ID registers that follow from a feature set. IHI 0070 §6.3.1 to §6.3.8.
 * @module
 */
import { set } from "../bits.ts";
import { ADDRESS_SIZES, type Features } from "./features.ts";
import { AIDR, IDR0, IDR1, IDR3, IDR5, REG, type Register } from "./spec/registers.ts";

const AARCH64_TABLES = 2;
const LITTLE_ENDIAN_TABLES = 2;
const BBML2 = 2;
const SMMUV3_2 = 2;

/** Fills in the ID registers of a register space, or of its first eight words. */
export function identify(words: Uint32Array, chosen: Features): void {
  const view = ({ offset }: Register): Uint32Array => words.subarray(offset / 4, offset / 4 + 1);
  const idr0 = view(REG.IDR0);
  set(idr0, IDR0.S2P, Number(chosen.stage2));
  set(idr0, IDR0.S1P, Number(chosen.stage1));
  set(idr0, IDR0.TTF, AARCH64_TABLES);
  set(idr0, IDR0.COHACC, 1);
  set(idr0, IDR0.HTTU, chosen.httu);
  set(idr0, IDR0.Hyp, Number(chosen.hyp));
  set(idr0, IDR0.ATS, Number(chosen.ats));
  set(idr0, IDR0.ASID16, Number(chosen.asid16));
  set(idr0, IDR0.MSI, Number(chosen.msi));
  set(idr0, IDR0.PRI, Number(chosen.pri));
  set(idr0, IDR0.VMID16, Number(chosen.vmid16));
  set(idr0, IDR0.CD2L, Number(chosen.twoLevelContextTable));
  set(idr0, IDR0.TTENDIAN, LITTLE_ENDIAN_TABLES);
  set(idr0, IDR0.ATSRECERR, Number(chosen.ats));
  set(idr0, IDR0.STALL_MODEL, chosen.stallModel);
  set(idr0, IDR0.TERM_MODEL, Number(chosen.abortOnly));
  set(idr0, IDR0.ST_LEVEL, Number(chosen.twoLevelStreamTable));
  const idr1 = view(REG.IDR1);
  set(idr1, IDR1.SIDSIZE, chosen.sidSize);
  set(idr1, IDR1.SSIDSIZE, chosen.ssidSize);
  set(idr1, IDR1.PRIQS, chosen.pri ? chosen.log2PageRequestQueue : 0);
  set(idr1, IDR1.EVENTQS, chosen.log2EventQueue);
  set(idr1, IDR1.CMDQS, chosen.log2CommandQueue);
  const idr3 = view(REG.IDR3);
  set(idr3, IDR3.HAD, 1);
  set(idr3, IDR3.XNX, Number(chosen.xnx));
  set(idr3, IDR3.PPS, Number(chosen.pri));
  set(idr3, IDR3.FWB, 1); // required of an SMMUv3.2, also without stage 2
  set(idr3, IDR3.STT, 1);
  set(idr3, IDR3.RIL, Number(chosen.rangeInvalidation));
  set(idr3, IDR3.BBML, BBML2);
  const idr5 = view(REG.IDR5);
  set(idr5, IDR5.OAS, ADDRESS_SIZES.indexOf(chosen.oas));
  set(idr5, IDR5.GRAN4K, Number(chosen.granule4K));
  set(idr5, IDR5.GRAN16K, Number(chosen.granule16K));
  set(idr5, IDR5.GRAN64K, Number(chosen.granule64K));
  set(idr5, IDR5.VAX, Number(chosen.vax));
  set(idr5, IDR5.STALL_MAX, chosen.stallMax);
  set(view(REG.AIDR), AIDR.ArchMinorRev, SMMUV3_2);
}
