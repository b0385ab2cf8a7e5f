// The breaker of `[dependency.NAME]`: it opens after so many failures in a row and lets one call through at a time.

import type { DependencySection } from "./settings.js";

export interface Breaker {
  readonly deadlineMs: number | null;
  /** Whether a call may be made now. */
  enter(): boolean;
  /** The end of a call that `enter` let through; null when it was given up, which says nothing. */
  leave(failed: boolean | null): void;
}

/** `changed` is told `breaker_open` or `breaker_closed`. */
export function breakerOf(
  section: DependencySection = {},
  changed: (name: "breaker_open" | "breaker_closed") => void = () => undefined,
  now: () => number = () => performance.now(),
): Breaker {
  const limit = section.breaker_failures ?? 0;
  const resetMs = (section.breaker_reset ?? 2) * 1000;
  let failures = 0;
  let probeAtMs = 0;
  return {
    deadlineMs: section.deadline === undefined ? null : section.deadline * 1000,
    enter() {
      if (limit === 0 || failures < limit) return true;
      if (now() < probeAtMs) return false;
      probeAtMs = now() + resetMs;
      return true;
    },
    leave(failed) {
      if (limit === 0 || failed === null) return;
      const before = failures >= limit;
      failures = failed ? failures + 1 : 0;
      const after = failures >= limit;
      if (after === before) return;
      if (after) probeAtMs = now() + resetMs;
      changed(after ? "breaker_open" : "breaker_closed");
    },
  };
}
