/**
 * Registers in extended configuration space that devices have outside of all capabilities, where a PASID capability must
 * not be put. A driver in the guest that means such a register would meet the capability instead.
 *
 * The rows are what Linux 7.3 uses under these devices; the file that does is named. A register that does not read as zero
 * is found without a row.
 * @module
 */

/** Bytes of some devices' extended space that are not free. */
export interface PasidQuirk {
  /** 16 bits; all vendors when absent. */
  readonly vendorId?: number;
  /** 16 bits each; all devices of the vendor when absent. */
  readonly deviceIds?: readonly number[];
  /** First byte that is taken. */
  readonly first: number;
  /** First byte that is not. */
  readonly end: number;
  /** What is there. */
  readonly what: string;
  /** Only likely to be taken: used when nothing else is left. */
  readonly likely?: true;
}

/** The rows. */
export const PASID_QUIRKS: readonly PasidQuirk[] = [
  // drivers/pci/controller/dwc/pcie-designware.h: the core of many endpoints, under many vendors.
  { first: 0x700, end: 0x900, what: "where DesignWare cores have port logic", likely: true },
  // drivers/pci/quirks.c, quirk_nvidia_hda
  { vendorId: 0x10de, first: 0x488, end: 0x48c, what: "NVIDIA's audio enable" },
  // drivers/crypto/intel/qat/qat_common/adf_gen4_hw_data.h, qat_6xxx/adf_6xxx_hw_data.h
  {
    vendorId: 0x8086,
    deviceIds: [0x4940, 0x4941, 0x4942, 0x4943, 0x4944, 0x4945, 0x4946, 0x4947, 0x4948, 0x4949],
    first: 0x2c8,
    end: 0x2dc,
    what: "QuickAssist's fuses",
  },
  // drivers/crypto/intel/qat/qat_6xxx/adf_6xxx_hw_data.h
  {
    vendorId: 0x8086,
    deviceIds: [0x4948, 0x4949],
    first: 0x204,
    end: 0x214,
    what: "QuickAssist's virtual channel control",
  },
  // drivers/crypto/intel/qat/qat_c62x/adf_c62x_hw_data.h, qat_c3xxx/adf_c3xxx_hw_data.h
  {
    vendorId: 0x8086,
    deviceIds: [0x37c8, 0x37c9, 0x19e2, 0x19e3],
    first: 0x2ec,
    end: 0x2f0,
    what: "QuickAssist's soft straps",
  },
  // drivers/infiniband/hw/hfi1/chip_registers.h, PCIE_CFG_REG_PL2 to PL105
  {
    vendorId: 0x8086,
    deviceIds: [0x24f0, 0x24f1],
    first: 0x700,
    end: 0x900,
    what: "Omni-Path's port logic",
  },
  // drivers/net/wireless/realtek/rtlwifi/pci.c, drivers/misc/cardreader/rtsx_pcr.c, drivers/mmc/host/rtsx_pci_sdmmc.c
  { vendorId: 0x10ec, first: 0x700, end: 0x900, what: "Realtek's port logic" },
  // drivers/net/wireless/ath/ath9k/pci.c
  { vendorId: 0x168c, first: 0x70c, end: 0x710, what: "Atheros's power saving" },
  // drivers/net/ethernet/netronome/nfp/nfpcore/nfp6000_pcie.c: windows without a BAR of their own
  { vendorId: 0x19ee, first: 0x400, end: 0x600, what: "Netronome's windows" },
  // drivers/net/ethernet/cavium/liquidio/cn23xx_pf_regs.h, cn66xx_regs.h
  { vendorId: 0x177d, first: 0x720, end: 0x724, what: "LiquidIO's filter mask" },
  // drivers/mmc/host/sdhci-pci-o2micro.c
  { vendorId: 0x1217, first: 0x300, end: 0x510, what: "O2 Micro's host registers" },
  // drivers/mmc/host/sdhci-pci-gli.c
  { vendorId: 0x17a0, first: 0x884, end: 0x968, what: "Genesys Logic's host registers" },
  // drivers/tty/serial/8250/8250_pci.c, drivers/net/can/sja1000/f81601.c
  { vendorId: 0x1c29, first: 0x209, end: 0x20b, what: "Fintek's decode" },
];

/** The rows that are about a device. */
export function quirksOf(
  quirks: readonly PasidQuirk[],
  vendorId: number,
  deviceId: number,
): readonly PasidQuirk[] {
  return quirks.filter((quirk) =>
    (quirk.vendorId ?? vendorId) === vendorId && (quirk.deviceIds?.includes(deviceId) ?? true)
  );
}
