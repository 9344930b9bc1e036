/** What is checked in of the compiler's layouts is still what it says of the newest kernel's headers. */
import { assertEquals } from "@std/assert";
import golden from "../golden/uapi_layouts.json" with { type: "json" };
import { compileLayouts, type HeaderLayout } from "../golden/uapi_layouts.ts";

Deno.test("Linux's headers, compiled anew, have the layouts that are checked in", async () => {
  const compiled = await compileLayouts(() => {});
  const expected = golden as unknown as Readonly<Record<string, HeaderLayout>>;
  assertEquals(Object.keys(compiled), Object.keys(expected));
  for (const [header, layout] of Object.entries(compiled)) assertEquals(layout, expected[header]);
});
