/**
 * What QEMU's trace says of a guest's invalidations.
 * @module
 */
import { assertEquals } from "@std/assert";
import {
  executedIn,
  judgeColumns,
  stagesOf,
  untilGuestEnds,
} from "../../vmm/passthrough/columns.ts";

/** Lines of QEMU 11.1.3: the server's own, a guest's of three pages in two pieces, Linux's own for stage 2, the end. */
const TRACE = `smmuv3_cmdq_opcode <--- SMMU_CMD_TLBI_NH_VA
smmuv3_range_inval vmid=0 asid=8 addr=0xffffd000 tg=1 num_pages=0x1 ttl=3 leaf=1 stage=1
smmuv3_cmdq_opcode <--- SMMU_CMD_SYNC
smmuv3_cmdq_opcode <--- SMMU_CMD_TLBI_NH_ALL
smmuv3_cmdq_tlbi_nh vmid=1
smmuv3_translate_success smmuv3-iommu-memory-region-128-2 sid=0x180 iova=0x8000040 translated=0x8090040 perm=0x3 stage=3
smmuv3_cmdq_opcode <--- SMMU_CMD_TLBI_NH_VA
smmuv3_range_inval vmid=1 asid=4 addr=0xffff1000 tg=1 num_pages=0x1 ttl=3 leaf=1 stage=1
smmuv3_range_inval vmid=1 asid=4 addr=0xffff2000 tg=1 num_pages=0x2 ttl=3 leaf=1 stage=1
smmuv3_cmdq_opcode <--- SMMU_CMD_TLBI_NH_ASID
smmu_iotlb_inv_asid_vmid IOTLB invalidate asid=4 vmid=1
smmuv3_cmdq_opcode <--- SMMU_CMD_TLBI_NH_ASID
smmu_iotlb_inv_asid_vmid IOTLB invalidate asid=10 vmid=0
smmuv3_cmdq_opcode <--- SMMU_CMD_TLBI_S2_IPA
smmuv3_range_inval vmid=1 asid=-1 addr=0x40000000 tg=1 num_pages=0x200 ttl=2 leaf=1 stage=2
smmuv3_cmdq_opcode <--- SMMU_CMD_TLBI_NH_ALL
smmuv3_cmdq_tlbi_nh vmid=1
smmuv3_cmdq_opcode <--- SMMU_CMD_TLBI_S12_VMALL
smmuv3_cmdq_tlbi_s12_vmid vmid=1
smmuv3_translate_success smmuv3-iommu-memory-region-128-2 sid=0x180 iova=0x1000 translated=0x1000 perm=0x3 stage=1
`;

const EXECUTED = {
  "CMD_TLBI_NSNH_ALL": 1,
  "CMD_TLBI_NH_VA asid=4 addr=0xffff1000 tg=1 pages=3 ttl=3 leaf=1": 1,
  "CMD_TLBI_NH_ASID asid=4": 1,
};

Deno.test("a guest's invalidations are told from the server's own and from Linux's", () => {
  assertEquals(Object.fromEntries(executedIn(untilGuestEnds(TRACE))), EXECUTED);
});

Deno.test("translations are counted by their stages, up to the end of the guest", () => {
  assertEquals([...stagesOf(untilGuestEnds(TRACE), 0x180)], [[3, 1]]);
  assertEquals([...stagesOf(TRACE, 0x180)], [[3, 1], [1, 1]]);
  assertEquals([...stagesOf(TRACE, 0x18)], []);
});

Deno.test("columns that differ are named with their numbers", () => {
  const executed = new Map(Object.entries(EXECUTED));
  const { rows, difference } = judgeColumns({ guest: executed, passed: executed, executed });
  assertEquals([rows.length, difference], [3, undefined]);
  const passed = new Map([...executed, ["CMD_TLBI_NH_ASID asid=4", 2]]);
  assertEquals(
    judgeColumns({ guest: executed, passed, executed }).difference,
    "CMD_TLBI_NH_ASID asid=4: 1, 2, 1",
  );
});
