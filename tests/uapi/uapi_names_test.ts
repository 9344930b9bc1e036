import { assertEquals, assertStringIncludes } from "@std/assert";
import { cProgram, headerNames } from "../golden/uapi_names.ts";

const HEADER = `
#ifndef _UAPI_THING_H
#define _UAPI_THING_H
/* #define THING_COMMENT 1 */
#define THING_BASE	(';')
#define THING_CALL	_IO(THING_BASE, \\
			7)
#define OTHER 3
enum thing_kind {
	THING_KIND_A,
	THING_KIND_B = 1 << 3, /* a comment, with { and } */
	OTHER_KIND,
};
struct thing {
	__u32 size;
	union {
		__u32 in;
		struct {
			__u16 low;
			__u16 high;
		};
	};
	struct { __u8 x; } named;
	__aligned_u64 pair[2];
	struct other inner;
	__u8 data[] __counted_by(size);
};
struct other { __u32 a; };
#endif
`;

Deno.test("names are found in a header, those of unnamed unions too", () => {
  const { structs, numbers } = headerNames(HEADER, ["THING"]);
  assertEquals(numbers, ["THING_BASE", "THING_CALL", "THING_KIND_A", "THING_KIND_B"]);
  assertEquals(Object.keys(structs), ["thing"]);
  assertEquals(structs.thing.map(({ name }) => name), [
    "size",
    "in",
    "low",
    "high",
    "named",
    "pair",
    "inner",
    "data",
  ]);
  assertEquals(structs.thing.filter(({ isOpen }) => isOpen).map(({ name }) => name), ["data"]);
});

Deno.test("the program asks the compiler for each of them", () => {
  const program = cProgram("linux/thing.h", headerNames(HEADER, ["THING"]));
  for (
    const line of [
      "#include <linux/thing.h>",
      'number("thing", sizeof(struct thing));',
      'field("thing.in", offsetof(struct thing, in), sizeof(((struct thing *)0)->in));',
      'field("thing.data", offsetof(struct thing, data), 0);',
      'number("THING_CALL", (unsigned)(THING_CALL));',
    ]
  ) assertStringIncludes(program, line);
});
