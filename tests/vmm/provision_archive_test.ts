import { assertEquals } from "@std/assert";
import { findArchives } from "../../vmm/provision/archive.ts";

Deno.test("findArchives() finds Debian's main archive among index targets", async (t) => {
  const cases = [
    {
      name: "with release files, by origin",
      lines: [
        "Packages|main|nodistro|. nodistro|. nodistro|https://third.example/node_20.x/",
        "Packages|main|bookworm|Debian|Debian|http://mirror.example/debian/",
        "Packages|main|bookworm-updates|Debian|Debian|http://mirror.example/debian/",
        "Packages|main|bookworm-security|Debian|Debian-Security|http://mirror.example/debian-security/",
      ],
      found: ["http://mirror.example/debian/"],
    },
    {
      name: "never updated, by release name and path",
      lines: [
        "Packages|main|nodistro|$(ORIGIN)|$(LABEL)|https://third.example/node_20.x/",
        "Packages|main|trixie|$(ORIGIN)|$(LABEL)|https://third.example/thing/",
        "Packages|main|trixie|$(ORIGIN)|$(LABEL)|http://mirror.example/debian",
        "Packages|main|trixie-security|$(ORIGIN)|$(LABEL)|http://mirror.example/debian-security/",
      ],
      found: ["http://mirror.example/debian", "https://third.example/thing/"],
    },
    {
      name: "a suite named after stable, with a security archive of the same name",
      lines: [
        "Packages|main|stable|$(ORIGIN)|$(LABEL)|http://mirror.example/security/",
        "Packages|main|stable|$(ORIGIN)|$(LABEL)|http://mirror.example/mirrors/",
      ],
      found: ["http://mirror.example/mirrors/"],
    },
    {
      name: "a list of mirrors in a file",
      lines: ["Packages|main|bookworm|Debian|Debian|mirror+file:/etc/apt/mirrors/debian.list"],
      found: ["mirror+file:/etc/apt/mirrors/debian.list"],
    },
    {
      name: "not another origin, component, kind of index, or a disc",
      lines: [
        "Packages|main|bookworm|Example|Example|http://mirror.example/debian/",
        "Packages|contrib|bookworm|Debian|Debian|http://mirror.example/debian/",
        "Sources|main|bookworm|Debian|Debian|http://mirror.example/debian/",
        "Packages|main|bookworm|Debian|Debian|cdrom:[Debian]/",
        "Packages|main|noble|Ubuntu|Ubuntu|http://mirror.example/ubuntu/",
        "",
      ],
      found: [],
    },
  ];
  for (const { name, lines, found } of cases) {
    await t.step(name, () => assertEquals(findArchives(lines.join("\n")), found));
  }
});
