/**
 * HTML from templates in which every value is text, unless it is HTML already: what comes from a trace cannot become
 * markup.
 * @module
 */

/** Markup that is as it should be. */
export class Html {
  /** The markup. */
  readonly text: string;

  /** Takes over markup unchanged: for constants of ours alone. */
  constructor(text: string) {
    this.text = text;
  }
}

/** What may stand in a template. */
export type Part = Html | string | number | null | undefined | readonly Part[];

/** A template tag: strings and numbers are escaped, lists are joined, null and undefined are nothing. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(strings.reduce((text, string, i) => text + markup(parts[i - 1]) + string));
}

function markup(part: Part): string {
  if (part === null || part === undefined) return "";
  if (part instanceof Html) return part.text;
  if (typeof part === "object") return part.map(markup).join("");
  return escape(String(part));
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escape(text: string): string {
  // Control characters are not allowed in HTML, and lone surrogates cannot be encoded.
  return text.toWellFormed().replaceAll(/[&<>"']/g, (letter) => ENTITIES[letter])
    .replaceAll(/(?![\t\n])\p{Cc}/gu, "\ufffd");
}
