/**
 * When writes to registers are ignored. IHI 0070 §6.3, "write ignored when".
 * @module
 */
import { maskOf } from "../bits.ts";
import type { Features } from "./features.ts";
import type { RegisterFile } from "./register_file.ts";
import { CR0, CR1, CR2, GERROR, IRQ_CTRL, PRIQ_IRQ_CFG2, REG } from "./spec/registers.ts";

const CR1_TABLE = maskOf(CR1.TABLE_IC, CR1.TABLE_OC, CR1.TABLE_SH);
const CR1_QUEUE = maskOf(CR1.QUEUE_IC, CR1.QUEUE_OC, CR1.QUEUE_SH);
const SMMUEN = maskOf(CR0.SMMUEN);
const EVENTQEN = maskOf(CR0.EVENTQEN);
const PRIQEN = maskOf(CR0.PRIQEN);
const CMDQEN = maskOf(CR0.CMDQEN);
const ATSCHK = maskOf(CR0.ATSCHK);
const REC_CFG_ATS = maskOf(CR2.REC_CFG_ATS);
const GERROR_IRQEN = maskOf(IRQ_CTRL.GERROR_IRQEN);
const PRIQ_IRQEN = maskOf(IRQ_CTRL.PRIQ_IRQEN);
const EVENTQ_IRQEN = maskOf(IRQ_CTRL.EVENTQ_IRQEN);
const LO = maskOf(PRIQ_IRQ_CFG2.LO);
const MSI_ERRORS = maskOf(
  GERROR.MSI_CMDQ_ABT_ERR,
  GERROR.MSI_EVENTQ_ABT_ERR,
  GERROR.MSI_PRIQ_ABT_ERR,
  GERROR.MSI_GERROR_ABT_ERR,
);
const PRIQ_ERRORS = maskOf(GERROR.PRIQ_ABT_ERR, GERROR.MSI_PRIQ_ABT_ERR);

/** The bits of the register at `offset` that are not guarded against writes just now. */
export function unguarded(offset: number, registers: RegisterFile, features: Features): number {
  const cr0 = registers.get(REG.CR0);
  const irqCtrl = registers.get(REG.IRQ_CTRL);
  switch (offset) {
    case REG.CR0.offset:
      return (features.pri ? ~0 : ~PRIQEN) & (features.ats ? ~0 : ~ATSCHK);
    case REG.IRQ_CTRL.offset:
      return features.pri ? ~0 : ~PRIQ_IRQEN;
    case REG.CR1.offset:
      return ((cr0 & SMMUEN) === 0 ? CR1_TABLE : 0) |
        ((cr0 & (CMDQEN | EVENTQEN | PRIQEN)) === 0 ? CR1_QUEUE : 0);
    case REG.CR2.offset:
      if ((cr0 & SMMUEN) !== 0) return 0;
      return features.ats ? ~0 : ~REC_CFG_ATS;
    case REG.STRTAB_BASE.offset:
    case REG.STRTAB_BASE.offset + 4:
    case REG.STRTAB_BASE_CFG.offset:
      return (cr0 & SMMUEN) === 0 ? ~0 : 0;
    case REG.CMDQ_BASE.offset:
    case REG.CMDQ_BASE.offset + 4:
    case REG.CMDQ_CONS.offset:
      return (cr0 & CMDQEN) === 0 ? ~0 : 0;
    case REG.EVENTQ_BASE.offset:
    case REG.EVENTQ_BASE.offset + 4:
    case REG.EVENTQ_PROD.offset:
      return (cr0 & EVENTQEN) === 0 ? ~0 : 0;
    case REG.PRIQ_BASE.offset:
    case REG.PRIQ_BASE.offset + 4:
    case REG.PRIQ_PROD.offset:
      return features.pri && (cr0 & PRIQEN) === 0 ? ~0 : 0;
    case REG.PRIQ_CONS.offset:
      return features.pri ? ~0 : 0;
    case REG.PRIQ_IRQ_CFG0.offset:
    case REG.PRIQ_IRQ_CFG0.offset + 4:
    case REG.PRIQ_IRQ_CFG1.offset:
      return features.pri && features.msi && (irqCtrl & PRIQ_IRQEN) === 0 ? ~0 : 0;
    case REG.PRIQ_IRQ_CFG2.offset:
      // §6.3.36: LO is there also where messages are not.
      if (!features.pri || (irqCtrl & PRIQ_IRQEN) !== 0) return 0;
      return features.msi ? ~0 : LO;
    case REG.EVENTQ_IRQ_CFG0.offset:
    case REG.EVENTQ_IRQ_CFG0.offset + 4:
    case REG.EVENTQ_IRQ_CFG1.offset:
    case REG.EVENTQ_IRQ_CFG2.offset:
      return features.msi && (irqCtrl & EVENTQ_IRQEN) === 0 ? ~0 : 0;
    case REG.GERROR_IRQ_CFG0.offset:
    case REG.GERROR_IRQ_CFG0.offset + 4:
    case REG.GERROR_IRQ_CFG1.offset:
    case REG.GERROR_IRQ_CFG2.offset:
      return features.msi && (irqCtrl & GERROR_IRQEN) === 0 ? ~0 : 0;
    case REG.GERRORN.offset:
      return (features.msi ? ~0 : ~MSI_ERRORS) & (features.pri ? ~0 : ~PRIQ_ERRORS);
    default:
      return ~0;
  }
}
