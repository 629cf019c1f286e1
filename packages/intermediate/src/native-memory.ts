/**
 * Gives memory back that the native QUIC library has freed. glibc's malloc(3) returns by itself only what lies at the end of its heap, where some
 * client that stays has something as a rule: after thousands came and went at one time their memory would be this process's for good. malloc_trim(3)
 * returns what is free in between; it stands in no standard, and other C libraries (musl, macOS) do without.
 */
import type { Millis } from "@adit/core";

/** So often that what is free at one time is little: the loop stands still for a tenth of a millisecond for each MB that is given back. */
const INTERVAL_MS = 10_000;

const LIBRARY = "libc.so.6";

/** `stop` ends it. Null where there is no such call: not Bun, another system. */
export interface Trimming {
  stop(): void;
}

export async function startTrimming(intervalMs: Millis = INTERVAL_MS): Promise<Trimming | null> {
  const trim = await mallocTrim();
  if (!trim) return null;
  const timer = setInterval(trim, intervalMs);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}

async function mallocTrim(): Promise<(() => void) | null> {
  const { platform, versions } = process;
  if (versions.bun === undefined || platform !== "linux") return null;
  const { dlopen, FFIType } = await import("bun:ffi");
  try {
    const { symbols } = dlopen(LIBRARY, { malloc_trim: { args: [FFIType.u64], returns: FFIType.i32 } });
    return () => void symbols.malloc_trim(0n);
  } catch {
    return null; // another C library
  }
}
