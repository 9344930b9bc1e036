/**
 * Contexts get the numbers by which the TLB knows their translations.
 * @module
 */
import { type Domains, World } from "../translation/domains.ts";
import { type Context, Mode } from "./context.ts";
import type { StageTwo } from "./stage_two.ts";

/** Most domains that one context has: its own and the shared one, for each stage. */
export const DOMAINS_OF_CONTEXT = 4;

/** Gives a context and its stage 2 their domains. */
export function adopt(context: Context, domains: Domains): void {
  const { mode, world, vmid, asid, stage2 } = context;
  if (mode < Mode.Translate) return;
  if (stage2 !== undefined) adoptStage2(stage2, domains);
  context.domain = domains.intern(world, vmid, asid);
  context.shared = domains.sharedOf(context.domain);
}

/** Gives a stage 2 its domain. */
export function adoptStage2(stage2: StageTwo, domains: Domains): void {
  stage2.domain = domains.intern(World.Stage2, stage2.vmid, 0);
}
