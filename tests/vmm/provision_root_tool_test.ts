import { assertEquals, assertThrows } from "@std/assert";
import { hostArchitecture } from "../../vmm/provision/root_tool.ts";

Deno.test("hostArchitecture() knows Debian's names of the two hosts and refuses others", () => {
  assertEquals(hostArchitecture("x86_64"), "amd64");
  assertEquals(hostArchitecture("aarch64"), "arm64");
  assertThrows(() => hostArchitecture("riscv64"), Error, "Cannot provision on riscv64");
});
