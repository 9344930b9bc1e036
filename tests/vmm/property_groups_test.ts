/** The groups of invariants of the architecture that a device has to keep, and the tests that hold ours to each. */
import { assert, assertEquals } from "@std/assert";
import { PROPERTIES } from "../hw/properties/all.ts";
import { CANARIES } from "../hw/properties/canaries.ts";
import { assertNamed, type NamedTests } from "../support/named_tests.ts";

interface Group {
  /** What has to hold. */
  readonly holds: string;
  readonly tests: NamedTests;
  /** What of it there is none of here. */
  readonly without?: string;
}

const COMMANDS =
  "P1 P2 P5 P6 P9: the command queue does what a list of slots would, whatever is written to it";
const EVENTS =
  "P1 P3 P5 P16: the event queue does what a list of slots would, and tells each change from empty";
const CACHES =
  "P7 P11 P18: after invalidations a translation is one that memory had since, and never an older one";
const WALKS =
  "P14 P15 P17 P19 P21 P22: whatever bits are flipped, a walk ends as the reference's does";
const ATS =
  "P24: registers, Config, EATS and substreams decide how an endpoint's own translations end";
const SNAPSHOTS =
  "P23 P24: a device that is saved and restored after each step does as if it had not been";
const RANDOM_TABLES = "random tables: address, record and updates are those of the reference";

const GROUPS: Readonly<Record<string, Group>> = {
  P1: {
    holds: "indices of queues: empty, full, wrap, sizes beyond the ID register's",
    tests: {
      "hw/smmuv3_queue_test.ts": [
        "isEmpty() and isFull() tell 0 and 2^n entries from all other fill levels",
        "advance() visits every slot once per lap and toggles the wrap bit between laps",
        "indexMask() holds the slot's bits and one more",
      ],
      "hw/smmuv3_command_queue_test.ts": [
        "LOG2SIZE beyond IDR1.CMDQS counts as CMDQS, and reads back as written",
      ],
      "hw/properties/command_queue.ts": [COMMANDS],
      "hw/properties/event_queue.ts": [EVENTS],
    },
  },
  P2: {
    holds: "commands are read up to CMDQ_PROD, one by one, and never past it",
    tests: {
      "hw/properties/command_queue.ts": [COMMANDS],
      "hw/smmuv3_command_queue_test.ts": [
        "commands are consumed in order, each once, over many laps of every small size",
      ],
    },
  },
  P3: {
    holds:
      "event records, overflow, one interrupt for each change from empty, stalls that are not lost",
    tests: {
      "hw/properties/event_queue.ts": [EVENTS],
      "hw/smmuv3_event_queue_test.ts": [
        "the message comes when the record and EVENTQ_PROD can be seen",
      ],
      "hw/smmuv3_stalls_test.ts": [
        "stall records are never lost: what finds no place is tried again when there is one",
      ],
    },
  },
  P4: {
    holds: "page requests: overflow that blocks, automatic responses",
    tests: {
      "hw/smmuv3_page_request_queue_test.ts": [
        "random requests, consumption, acknowledgements, errors and snapshots end as the model says",
      ],
    },
  },
  P5: {
    holds: "indices that contradict each other lead nowhere outside a queue",
    tests: {
      "hw/smmuv3_command_queue_test.ts": [
        "indices that contradict each other consume nothing; all others what lies between",
      ],
      "hw/smmuv3_event_queue_test.ts": [
        "indices that contradict each other never write outside the queue",
      ],
      "hw/properties/command_queue.ts": [COMMANDS],
      "hw/properties/event_queue.ts": [EVENTS],
    },
  },
  P6: {
    holds: "a command has no effect before those in front of it, nor behind an error",
    tests: { "hw/properties/command_queue.ts": [COMMANDS] },
  },
  P7: {
    holds: "what is complete when CMD_SYNC is",
    tests: {
      "hw/properties/coherence.ts": [CACHES],
      "hw/smmuv3_commands_test.ts": [
        "CMD_SYNC: where the message goes, and what happens when it cannot",
        "CMD_SYNC: messages arrive in order, each when CMDQ_CONS already says that it is consumed",
      ],
    },
  },
  P8: {
    holds: "any 16 bytes are a command that is executed, or an illegal one",
    tests: {
      "hw/smmuv3_command_legality_test.ts": [
        "P8: any 16 bytes are executed or illegal, as the table says, on a device with everything",
      ],
    },
  },
  P9: {
    holds: "global errors toggle, freeze the command queue, and are acknowledged",
    tests: {
      "hw/properties/command_queue.ts": [COMMANDS],
      "hw/smmuv3_event_queue_test.ts": [
        "GERRORN that differs from GERROR in an inactive error makes it active, as literally written",
      ],
    },
  },
  P10: {
    holds: "which commands are illegal, for each feature vector",
    tests: {
      "hw/smmuv3_command_legality_test.ts": [
        "P10: each opcode is legal or CERROR_ILL as the features say, with SSec and without",
      ],
    },
  },
  P11: {
    holds: "caches are sound, and lazy: what each invalidation has to drop",
    tests: {
      "hw/properties/coherence.ts": [CACHES],
      "hw/smmuv3_invalidation_test.ts": ["random ranges drop what they overlap"],
      "hw/smmuv3_tlb_test.ts": [
        "an invalidation drops what it names in its world, and nothing else",
      ],
    },
  },
  P12: {
    holds: "STEs are changed without a fault on the way",
    tests: {
      "hw/properties/hitless.ts": [
        "P12: while an STE is changed step by step the device finds the old one or the new one",
      ],
    },
  },
  P13: {
    holds: "what is IGNORED changes nothing, and what is ILLEGAL is refused",
    tests: {
      "hw/smmuv3_ste_test.ts": [
        "each single bit of a stage 1 STE changes what the manual says, or nothing",
      ],
      "hw/smmuv3_stage_two_test.ts": [
        "each single bit of a stage 2 STE changes what the manual says, or nothing",
      ],
      "hw/smmuv3_cd_test.ts": ["each single bit of a CD changes what the manual says, or nothing"],
    },
  },
  P14: {
    holds: "of several faults the one that the manual has first",
    tests: {
      "hw/properties/walk.ts": [WALKS],
      "hw/smmuv3_walk_random_test.ts": [RANDOM_TABLES],
    },
  },
  P15: {
    holds: "fields of event records",
    tests: {
      "hw/properties/walk.ts": [WALKS],
      "hw/smmuv3_events_test.ts": ["each fault records its fields, and nothing in the others"],
    },
  },
  P16: {
    holds: "one event at most for each transaction, and none for silent ones",
    tests: {
      "hw/properties/event_queue.ts": [EVENTS],
      "hw/smmuv3_events_test.ts": [
        "CD.A and CD.R: abort or zeros, with or without a record, for the four faults",
      ],
    },
  },
  P17: {
    holds: "both stages have to permit, and stage 1 is asked first",
    tests: {
      "hw/properties/walk.ts": [WALKS],
      "hw/smmuv3_walk_random_test.ts": [RANDOM_TABLES],
      "hw/smmuv3_permissions_test.ts": [
        "a page permits exactly what the manual permits, in all 2048 combinations",
      ],
    },
  },
  P18: {
    holds: "global entries are those of all ASIDs of a VMID and world",
    tests: {
      "hw/properties/coherence.ts": [CACHES],
      "hw/smmuv3_tlb_test.ts": [
        "a global entry answers for each ASID of its VMID and world, and for no other",
      ],
      "hw/smmuv3_el2_test.ts": [
        "worlds do not answer for each other, and their invalidations reach them alone",
      ],
    },
  },
  P19: {
    holds: "access flag and dirty state are set atomically, and never cleared",
    tests: {
      "hw/properties/race.ts": [
        "P19: an update of a descriptor that the guest changes meanwhile loses nothing",
      ],
      "hw/properties/walk.ts": [WALKS],
    },
  },
  P20: {
    holds: "which CD a SubstreamID leads to",
    tests: {
      "hw/properties/substreams.ts": [
        "P20: each request uses the CD that S1CDMax, S1DSS, S1Fmt and its SubstreamID name, or none",
      ],
    },
  },
  P21: {
    holds: "the half of the addresses, and tags in their top byte",
    tests: {
      "hw/properties/walk.ts": [WALKS],
      "hw/smmuv3_walk_test.ts": [
        "bit 55 selects the half, and bits above the range must repeat it, but for an ignored top byte",
      ],
    },
  },
  P22: {
    holds: "address sizes of both stages, of tables and of pages",
    tests: {
      "hw/properties/walk.ts": [WALKS],
      "hw/smmuv3_walk_random_test.ts": [RANDOM_TABLES],
      "hw/smmuv3_cd_test.ts": [
        "TTBx beyond the smaller of IPS and OAS is C_BAD_CD, where its half is enabled",
      ],
    },
  },
  P23: {
    holds: "stalled transactions, and their answers",
    tests: {
      "hw/properties/stalls.ts": [
        "P23: each stalled transaction is told of, and ends once, as its answer says",
      ],
      "hw/properties/snapshots.ts": [SNAPSHOTS],
    },
  },
  P24: {
    holds: "translation requests of endpoints, and what invalidates their answers",
    tests: {
      "hw/properties/ats.ts": [
        ATS,
      ],
      "hw/properties/snapshots.ts": [SNAPSHOTS],
      "hw/smmuv3_ats_test.ts": [
        "a request is granted what the page permits, in all combinations of stage 1",
        "F_BAD_ATS_TREQ says what was asked for, F_TRANSL_FORBIDDEN who may not",
      ],
      "hw/dma_test_ats_test.ts": [
        "the ATC keeps a page until CMD_ATC_INV: TLB invalidation does not reach it",
      ],
      "hw/smmuv3_command_legality_test.ts": [
        "an endpoint that does not answer is CERROR_ATC_INV_SYNC at the CMD_SYNC, which then can go on",
      ],
    },
  },
  P25: {
    holds: "masks, guards, sizes and aliases of registers",
    tests: {
      "hw/properties/registers.ts": [
        "P25: registers hold what a table of masks and guards says, after any accesses",
      ],
      "hw/smmuv3_registers_test.ts": [
        "each bit of each register is writable, or not, by itself",
        "a guarded field ignores writes exactly while one of its enables is set",
      ],
    },
  },
  P26: {
    holds: "a driver can begin anew, from anywhere",
    tests: {
      "hw/properties/bring_up.ts": [
        "P26: whatever was done before, a driver that begins anew finds a device that works",
      ],
    },
  },
  P27: {
    holds: "the same as another SMMUv3 does",
    tests: { "traces_test.ts": [] },
    without: "another SMMUv3 in the same process; recordings of guests stand in for it",
  },
};

Deno.test("each group of invariants has tests, and they are there", async (t) => {
  const numbers = Array.from({ length: 27 }, (_, i) => `P${i + 1}`);
  assertEquals(Object.keys(GROUPS), numbers);
  for (const [group, { holds, tests, without }] of Object.entries(GROUPS)) {
    await t.step(`${group}: ${holds}`, async () => {
      assert(Object.keys(tests).length > 0 || without !== undefined);
      await assertNamed(tests);
    });
  }
});

Deno.test("each property is named by its groups, and each has a canary", () => {
  for (const { name } of PROPERTIES) {
    const [groups] = name.split(":");
    for (const group of groups.split(" ")) {
      const named = Object.values(GROUPS[group].tests).flat();
      assert(named.includes(name), `${group} names "${name}"`);
    }
    assert(CANARIES.some((canary) => canary.groups === groups), groups);
  }
});
