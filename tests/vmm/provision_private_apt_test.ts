import { assertEquals, assertThrows } from "@std/assert";
import {
  findKeyring,
  parseDownloadPercent,
  parsePackageFiles,
} from "../../vmm/provision/private_apt.ts";

Deno.test("parsePackageFiles() reads apt's list of URIs and skips what else it prints", () => {
  const a = "a".repeat(64);
  const b = "0123456789abcdef".repeat(4);
  const printed = [
    "Reading package lists...",
    `'http://mirror.example/debian/pool/main/q/qemu/qemu-system-arm_11.1.3%2bds-1_amd64.deb' qemu-system-arm_1%3a11.1.3+ds-1_amd64.deb 10123352 SHA256:${a}`,
    `'http://mirror.example/debian/pool/main/k/kmod/kmod_34.2-2_amd64.deb' kmod_34.2-2_amd64.deb 95704 SHA256:${b}`,
    "'http://mirror.example/x.deb' x.deb 12 MD5Sum:0123",
    "",
  ];
  assertEquals(parsePackageFiles(printed.join("\n")), [
    { name: "qemu-system-arm_1%3a11.1.3+ds-1_amd64.deb", sizeBytes: 10123352, sha256: a },
    { name: "kmod_34.2-2_amd64.deb", sizeBytes: 95704, sha256: b },
  ]);
});

Deno.test("parseDownloadPercent() reads apt's status lines only", () => {
  assertEquals(parseDownloadPercent("dlstatus:3:10.8127:Retrieving file 3 of 5"), 10);
  assertEquals(parseDownloadPercent("dlstatus:5:100.0000:Retrieving file 5 of 5"), 100);
  assertEquals(parseDownloadPercent("pmstatus:kmod:20.0:Installing"), undefined);
  assertEquals(parseDownloadPercent(""), undefined);
});

Deno.test("findKeyring() names the missing file and the package that has it", () => {
  assertThrows(
    () => findKeyring(["/nonexistent/a.pgp", "/nonexistent/a.gpg"]),
    Error,
    "Cannot check Debian's signatures: /nonexistent/a.gpg is missing; install the package debian-archive-keyring",
  );
});
