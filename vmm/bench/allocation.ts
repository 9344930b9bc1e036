/**
 * How much of the heap some work takes, collected again or not.
 * @module
 */

/** Between two looks at the heap, so that no collection of garbage falls unseen between them. */
const BATCH_MS = 2;

/**
 * Does `work`, of `operations` each time, until so many were done; bytes allocated for each operation. What is looked at
 * itself takes a little, so that the answer is never quite 0.
 */
export function allocatedBytes(work: () => void, operations: number, count: number): number {
  for (let i = 0; i < 50; i++) work();
  let bytes = 0;
  let before = Deno.memoryUsage().heapUsed;
  for (let done = 0; done < count;) {
    const began = performance.now();
    while (done < count && performance.now() - began < BATCH_MS) {
      work();
      done += operations;
    }
    const after = Deno.memoryUsage().heapUsed;
    // A collection makes it less: then what was allocated since is not known.
    if (after > before) bytes += after - before;
    before = after;
  }
  return bytes / count;
}
