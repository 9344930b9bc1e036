/**
 * The names in a header of Linux's user space interface, and a C program that says what they stand for.
 * @module
 */

/** What is in a header. */
export interface HeaderNames {
  /** Members of each structure, by its name; those of unnamed unions and structures among them. */
  readonly structs: Readonly<Record<string, readonly Member[]>>;
  /** Numbers: macros with a value, and members of enumerations. */
  readonly numbers: readonly string[];
}

/** A member of a structure. */
export interface Member {
  readonly name: string;
  /** An array that ends the structure and has any length. */
  readonly isOpen: boolean;
}

/** Finds the names that begin with one of `prefixes`; a structure may have any name that begins so in lower case. */
export function headerNames(header: string, prefixes: readonly string[]): HeaderNames {
  const text = header.replaceAll(/\/\*[\s\S]*?\*\//g, " ").replaceAll(/\\\n/g, " ");
  const isOurs = (name: string): boolean => prefixes.some((prefix) => name.startsWith(prefix));
  const numbers = new Set<string>();
  for (const [, name] of text.matchAll(/^\s*#\s*define\s+([A-Z]\w*)[ \t]+[^\s"]/gm)) {
    if (isOurs(name)) numbers.add(name);
  }
  const code = text.replaceAll(/^\s*#.*$/gm, "");
  for (const [, body] of code.matchAll(/\benum\b\s*\w*\s*\{([^}]*)\}/g)) {
    for (const item of body.split(",")) {
      const name = /^\s*(\w+)/.exec(item)?.[1];
      if (name !== undefined && isOurs(name)) numbers.add(name);
    }
  }
  const structs: Record<string, Member[]> = {};
  for (const match of code.matchAll(/\bstruct\s+(\w+)\s*\{/g)) {
    if (!isOurs(match[1].toUpperCase())) continue;
    structs[match[1]] = members(block(code, match.index + match[0].length));
  }
  return { structs, numbers: [...numbers] };
}

/** What stands before the brace that closes the block which begins at `from`. */
function block(code: string, from: number): string {
  let depth = 1;
  let at = from;
  for (; depth > 0 && at < code.length; at++) {
    if (code[at] === "{") depth++;
    else if (code[at] === "}") depth--;
  }
  return code.slice(from, at - 1);
}

function members(body: string): Member[] {
  const found: Member[] = [];
  let rest = body;
  for (;;) {
    const open = rest.indexOf("{");
    const end = rest.indexOf(";");
    if (end < 0) return found;
    if (open >= 0 && open < end) {
      const inner = block(rest, open + 1);
      rest = rest.slice(open + 1 + inner.length + 1);
      // A name after the brace makes one member of all that is inside.
      const name = /^\s*(\w+)/.exec(rest)?.[1];
      if (name === undefined) found.push(...members(inner));
      else found.push({ name, isOpen: false });
    } else {
      // Without attributes.
      const declaration = rest.slice(0, end).replaceAll(/\b__\w+\([^)]*\)/g, "");
      const [, name, array] = /(\w+)\s*(\[[^\]]*\])?\s*$/.exec(declaration) ?? [];
      if (name !== undefined) found.push({ name, isOpen: /^\[\s*\]$/.test(array ?? "") });
    }
    rest = rest.slice(rest.indexOf(";") + 1);
  }
}

/**
 * A C program that prints, as one object of JSON, what the compiler finds: the size of each structure, offset and size of
 * each `structure.member`, and the value of each number.
 */
export function cProgram(include: string, { structs, numbers }: HeaderNames): string {
  const structLines = Object.entries(structs).flatMap(([name, fields]) => [
    `  number("${name}", sizeof(struct ${name}));`,
    ...fields.map(({ name: field, isOpen }) => {
      const size = isOpen ? "0" : `sizeof(((struct ${name} *)0)->${field})`;
      return `  field("${name}.${field}", offsetof(struct ${name}, ${field}), ${size});`;
    }),
  ]);
  const numberLines = numbers.map((name) => `  number("${name}", (unsigned)(${name}));`);
  return `#include <stddef.h>
#include <${include}>
int printf(const char *, ...);
static const char *before = "{";
static void field(const char *name, size_t offset, size_t size) {
  printf("%s\\n\\"%s\\":[%zu,%zu]", before, name, offset, size);
  before = ",";
}
static void number(const char *name, unsigned value) {
  printf("%s\\n\\"%s\\":%u", before, name, value);
  before = ",";
}
int main(void) {
${[...structLines, ...numberLines].join("\n")}
  printf("}\\n");
  return 0;
}
`;
}
