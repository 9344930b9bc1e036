import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { main } from "../../vmm/cli.ts";
import { html } from "../../vmm/trace/inspect/html.ts";
import { smallTrace } from "../support/small_trace.ts";

const HOSTILE = `"><script>alert(1)</script><img src=x onerror=alert(2)>&'\u0000</style>`;

/** Makes the page of lines, and hands its path to `use`. */
async function withPage(
  lines: readonly string[],
  use: (page: string, path: string) => void | Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/t.jsonl`, lines.join(""));
    await main(["inspect", `${folder}/t.jsonl`, "--html", `${folder}/page.html`], {
      out: () => {},
      note: () => {},
      signal: new AbortController().signal,
    });
    await use(await Deno.readTextFile(`${folder}/page.html`), `${folder}/page.html`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Text as a reader sees it, in one line. */
function textOf(page: string): string {
  return page.replaceAll(/<style>[\s\S]*?<\/style>/g, "").replaceAll(/<[^>]*>/g, " ")
    .replaceAll(/\s+/g, " ");
}

Deno.test("the page asks for nothing and runs nothing", async () => {
  await withPage(smallTrace(), (page) => {
    assertEquals(page.match(/<(script|link|iframe|img|object|embed|form|base)\b/gi), null);
    assertEquals(page.match(/\s(src|href|on[a-z]+|style|action)=/gi), null);
    assertEquals(page.match(/url\(|@import/gi), null);
    const style = /<style>([\s\S]*?)<\/style>/.exec(page)![1];
    const digest = createHash("sha256").update(style).digest("base64");
    assertStringIncludes(
      page,
      `content="default-src 'none'; style-src 'sha256-${digest}'; base-uri 'none'; form-action 'none'"`,
    );
  });
});

Deno.test("nothing of a trace becomes markup", async () => {
  const guest = { kernel: HOSTILE, commandLine: HOSTILE, cpuCount: HOSTILE, qemu: HOSTILE };
  await withPage(smallTrace(1, { guest, began: HOSTILE }), (page) => {
    assertEquals(page.match(/<script|<img|(?!\n)\p{Cc}/giu), null);
    assertEquals(page.match(/<\/style>/g)?.length, 1);
    assertStringIncludes(page, "&lt;script&gt;alert(1)&lt;/script&gt;");
  });
});

Deno.test("a template escapes what is no markup, whatever it is part of", () => {
  const cases: [got: string, expected: string][] = [
    [html`<b>${"<"}</b>`.text, "<b>&lt;</b>"],
    [html`<b title="${`"'`}"></b>`.text, `<b title="&quot;&#39;"></b>`],
    [html`${[html`<i>${"&"}</i>`, ">", null, undefined, 3]}`.text, "<i>&amp;</i>&gt;3"],
    [html`${"\u001b\ud800"}`.text, "\ufffd\ufffd"],
  ];
  for (const [got, expected] of cases) assertEquals(got, expected);
});

Deno.test("faults come before everything else, each with device, address and reason", async () => {
  await withPage(smallTrace(), (page) => {
    const text = textOf(page.slice(page.indexOf("<body>")));
    const at = (words: string): number => {
      assertStringIncludes(text, words);
      return text.indexOf(words);
    };
    const order = [
      "numbers brought the SMMU up at 3.50 s.",
      "3 faults",
      "Device 0000:00:00.1 tried to write to IOVA 0x3000",
      "Nothing is mapped at this address: the level 3 descriptor at 0x40005018 is invalid.",
      "Timeline",
      "Configuration",
      "By name",
      "How much, how often",
      "Registers",
    ].map(at);
    assertEquals(order, [...order].sort((a, b) => a - b));
  });
});

Deno.test("the page of a real guest's fault names the device, the address and the reason", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const trace = new URL("../traces/linux-7.3-fault.jsonl.gz", import.meta.url).pathname;
    const code = await main(["inspect", trace, "--html", `${folder}/page.html`], {
      out: () => {},
      note: () => {},
      signal: new AbortController().signal,
    });
    assertEquals(code, 0);
    const text = textOf(await Deno.readTextFile(`${folder}/page.html`));
    assertMatch(text, /Linux 7\.3\S* brought the SMMU up at \d+\.\d\d s\. 2 streams, .* 1 fault\./);
    assertStringIncludes(text, "Device 0000:00:02.0 tried to write to IOVA 0x123456780000");
    assertMatch(
      text,
      /Nothing is mapped at this address: the level 0 descriptor at 0x\w+ is invalid\./,
    );
    assertStringIncludes(text, "StreamID 0x10 PCI address 0000:00:02.0");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the page has one heading, titled sections, and a name for each picture", async () => {
  await withPage(smallTrace(), (page) => {
    assertEquals(page.match(/<h1\b/g)?.length, 1);
    assertEquals(page.match(/<html lang="en">/g)?.length, 1);
    const pictures = page.match(/<svg\b[^>]*>/g) ?? [];
    assert(pictures.length > 3);
    for (const picture of pictures) {
      assert(/aria-label="[^"]+"|aria-hidden="true"/.test(picture), picture);
    }
    for (const tag of ["section", "table", "details", "svg", "div", "ol", "dl"]) {
      const opened = page.match(new RegExp(`<${tag}\\b`, "g"))?.length ?? 0;
      assertEquals(page.match(new RegExp(`</${tag}>`, "g"))?.length ?? 0, opened, tag);
    }
    assertEquals(page.match(/NaN|Infinity|undefined|\[object/g), null);
  });
});

Deno.test("a damaged trace has a page that says so", async () => {
  await withPage(smallTrace().slice(0, 12), (page) => {
    assertStringIncludes(page, `role="alert"`);
    assertStringIncludes(textOf(page), "The file is damaged");
    assertEquals(page.match(/NaN|Infinity|undefined/g), null);
  });
});

Deno.test("an empty trace has a page, too", async () => {
  const lines = smallTrace(0);
  await withPage(lines, (page) => {
    assertStringIncludes(textOf(page), "None. All 0 transactions of endpoints went through.");
    assertEquals(page.match(/NaN|Infinity|undefined/g), null);
  });
});

/** The first of these programs that runs. */
function findChromium(): string | undefined {
  return ["chromium", "chromium-browser", "google-chrome"].find((name) => {
    try {
      return new Deno.Command(name, { args: ["--version"], stdout: "null", stderr: "null" })
        .outputSync().success;
    } catch {
      return false;
    }
  });
}

const isWanted = Deno.env.get("VSMMU_CHROMIUM") === "1";
const chromium = isWanted ? findChromium() : undefined;

Deno.test({
  name: "Chromium shows the page with its style and runs nothing of the trace " +
    `(VSMMU_CHROMIUM=1${isWanted && chromium === undefined ? ", but there is no Chromium" : ""})`,
  ignore: chromium === undefined,
  fn: async () => {
    const guest = { kernel: "7.3.4", commandLine: "<script>document.title='run'</script>" };
    await withPage(smallTrace(1, { guest }), async (_page, path) => {
      const profile = await Deno.makeTempDir();
      const { stdout, stderr } = await new Deno.Command(chromium!, {
        args: [
          "--headless",
          "--no-sandbox",
          "--disable-gpu",
          "--disable-background-networking",
          "--disable-component-update",
          "--disable-sync",
          "--no-first-run",
          "--enable-logging=stderr",
          `--user-data-dir=${profile}`,
          "--window-size=1400,2000",
          "--dump-dom",
          `file://${path}`,
        ],
        stdout: "piped",
        stderr: "piped",
      }).output();
      await Deno.remove(profile, { recursive: true });
      const dom = new TextDecoder().decode(stdout);
      const log = new TextDecoder().decode(stderr);
      assertStringIncludes(dom, "<title>Linux 7.3.4 behind an SMMUv3: 3 faults</title>");
      assertEquals(dom.match(/<script/gi), null);
      assertEquals(log.match(/CONSOLE.*/g), null);
    });
  },
});
