/**
 * What goes wrong around us.
 * @module
 */

/**
 * Something that is needed is not there, or does not do what it should, for a reason outside our own code. The message is one
 * line that says what could not be done and why, fit to be printed without a stack trace.
 */
export class EnvironmentError extends Error {
  /** The class's name, as error printers show it. */
  override readonly name = "EnvironmentError";

  /** The last lines that a program printed, to be shown beneath the message; empty when no program was at fault. */
  readonly toolLines: readonly string[];

  /** A message, and the words of the program that is to blame. */
  constructor(message: string, toolLines: readonly string[] = []) {
    super(message);
    this.toolLines = toolLines;
  }
}
