/**
 * What provisioning reports when it cannot go on.
 *
 * @module
 */

/**
 * One clear line that says what could not be done and why, followed, when a tool was at fault, by the tool's last lines,
 * each indented by two spaces. It is meant to be printed as it is, without a stack trace.
 */
export class ProvisionError extends Error {
  /** The class's name, as error printers show it. */
  override readonly name = "ProvisionError";

  /** The tool's last lines; empty when no tool was at fault. */
  readonly toolLines: readonly string[];

  /** Joins the line and the tool's own words. */
  constructor(message: string, toolLines: readonly string[] = []) {
    super([message, ...toolLines.map((line) => `  ${line}`)].join("\n"));
    this.toolLines = toolLines;
  }
}
