/** What is checked in of the compiler's layouts is still what it says of the newest kernel's headers. */
import { assertEquals } from "@std/assert";
import golden from "../golden/uapi_layouts.json" with { type: "json" };
import { compileLayouts, GOLDEN_VERSION, type HeaderLayout } from "../golden/uapi_layouts.ts";

const expected = golden as unknown as Readonly<Record<string, HeaderLayout>>;

Deno.test("Linux's headers, compiled anew, have the layouts that are checked in", async () => {
  const { version, layouts } = await compileLayouts(() => {});
  for (const [header, layout] of Object.entries(expected)) {
    if (version === GOLDEN_VERSION) assertEquals(layouts[header], layout);
    else assertEquals(known(layouts[header], layout), known(layout, layout));
  }
});

/** What no later kernel may change of `checked`: a structure may become longer, an enumeration too. */
function known(layout: HeaderLayout, checked: HeaderLayout): HeaderLayout {
  const names = Object.keys(checked).filter((name) =>
    name.includes(".") || (/^[A-Z]/.test(name) && !/_(NR|NUM)(_|$)/.test(name))
  );
  return Object.fromEntries(names.map((name) => [name, layout[name]]));
}
