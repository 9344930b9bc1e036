/**
 * Which Debian mirror this machine uses, as `apt-get indextargets` tells it (apt-get(8)).
 *
 * @module
 */

import { EnvironmentError } from "../environment_error.ts";
import { machineTool, run } from "../tool.ts";

/** The `--format` whose output {@link findArchives} reads. A field that apt does not know stays as `$(NAME)`. */
export const INDEX_TARGET_FORMAT =
  "$(CREATED_BY)|$(COMPONENT)|$(RELEASE)|$(ORIGIN)|$(LABEL)|$(REPO_URI)";

const DEBIAN_RELEASE =
  /^(bookworm|trixie|forky|duke|sid|unstable|testing|stable|oldstable)(-updates|-backports)?$/;

/**
 * The mirrors of the Debian main archive among index targets, best first and each once.
 *
 * A target of which apt has the release file says `Origin: Debian`. On a machine that never ran `apt-get update` no origin
 * is known; there a target with a Debian release name and component main is taken, those whose path ends in `/debian`
 * first. The security archive does not count: it lacks most packages.
 */
export function findArchives(indexTargets: string): string[] {
  const found: { uri: string; score: number }[] = [];
  for (const line of indexTargets.split("\n")) {
    const [createdBy, component, release, origin, label, uri] = line.split("|");
    if (uri === undefined || createdBy !== "Packages" || component !== "main") continue;
    if (!DEBIAN_RELEASE.test(release) || uri.startsWith("cdrom:")) continue;
    if (/security/i.test(label) || /[/-]security\/?$/.test(uri)) continue;
    const known = !origin.startsWith("$(") && origin !== "";
    if (known && origin !== "Debian") continue;
    found.push({ uri, score: (known ? 2 : 0) + (/\/debian\/?$/.test(uri) ? 1 : 0) });
  }
  found.sort((a, b) => b.score - a.score);
  return [...new Set(found.map(({ uri }) => uri))];
}

/** Asks apt which Debian mirrors the machine is configured for; throws an {@link EnvironmentError} when there is none. */
export async function machineArchives(signal?: AbortSignal): Promise<string[]> {
  const ask = (...more: string[]): Promise<string> =>
    run(machineTool("apt-get"), ["indextargets", "--format", INDEX_TARGET_FORMAT, ...more], {
      doing: "read this machine's apt configuration",
      signal,
    });
  // With release files apt knows the origins; without that option it lists nothing on a machine that never updated.
  const archives = findArchives(await ask() + "\n" + await ask("--no-release-info"));
  if (archives.length === 0) {
    throw new EnvironmentError(
      "Cannot find a Debian mirror: no source in this machine's apt configuration is Debian's main archive; add one, or name a mirror with the archive option",
    );
  }
  return archives;
}
