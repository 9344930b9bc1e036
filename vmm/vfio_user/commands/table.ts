/**
 * The commands a client may send. What is not here is answered with ENOSYS.
 * @module
 */
import { COMMAND, HEADER } from "../protocol.ts";
import { regionRead, regionWrite, writeMulti } from "./access.ts";
import type { Command } from "./command.ts";
import { dmaMap, dmaUnmap } from "./dma.ts";
import { getInfo, getIrqInfo, getRegionInfo } from "./info.ts";
import { setIrqs } from "./set_irqs.ts";
import { version } from "./version.ts";

/** Commands by their numbers. */
export const COMMANDS: Readonly<Record<number, Command>> = {
  [COMMAND.VERSION]: version,
  [COMMAND.DMA_MAP]: dmaMap,
  [COMMAND.DMA_UNMAP]: dmaUnmap,
  [COMMAND.GET_INFO]: getInfo,
  [COMMAND.GET_REGION_INFO]: getRegionInfo,
  [COMMAND.GET_IRQ_INFO]: getIrqInfo,
  [COMMAND.SET_IRQS]: setIrqs,
  [COMMAND.REGION_READ]: regionRead,
  [COMMAND.REGION_WRITE]: regionWrite,
  [COMMAND.RESET]: {
    sizeBytes: HEADER.end,
    run: ({ pci }) => {
      pci.reset();
      return HEADER.end;
    },
  },
  [COMMAND.WRITE_MULTI]: writeMulti,
};
