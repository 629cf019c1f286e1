/**
 * Ends this process when its loop has stood still for so much CPU time, so that whoever runs it starts it anew: an admitted client can bring the
 * native QUIC library to loop for ever (docs/adr/0012), and nothing written in JavaScript runs then any more. The system counts: setitimer(2) with
 * ITIMER_PROF raises SIGPROF, which ends a process that has no handler for it. A process that is stopped, starved or asleep uses no CPU and stays.
 */
import type { Millis } from "@adit/core";

/** Of CPU, all threads together: no honest turn of the loop takes a tenth of it. */
const LIMIT_MS = 30_000;
/** How often the count begins anew. */
const BEGIN_MS = 5_000;

const ITIMER_PROF = 2;
const LIBRARIES = {
  linux: ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"],
  darwin: ["libSystem.B.dylib"],
} as const;

/** `stop` ends the watch. Null where there is none: not Bun, another system. */
export interface Watchdog {
  stop(): void;
}

export async function startWatchdog(limitMs: Millis = LIMIT_MS, beginMs: Millis = BEGIN_MS): Promise<Watchdog | null> {
  const setTimer = await timer();
  if (!setTimer?.(limitMs)) return null;
  const begin = setInterval(() => setTimer(limitMs), beginMs);
  begin.unref();
  return {
    stop: () => {
      clearInterval(begin);
      setTimer(0);
    },
  };
}

/** What sets the timer, 0 for none; it says whether that worked. */
async function timer(): Promise<((ms: Millis) => boolean) | null> {
  const { platform, versions } = process;
  if (versions.bun === undefined || (platform !== "linux" && platform !== "darwin")) return null;
  const { dlopen, FFIType, ptr } = await import("bun:ffi");
  for (const library of LIBRARIES[platform]) {
    try {
      const { symbols } = dlopen(library, {
        setitimer: { args: [FFIType.i32, FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
      });
      const value = new BigInt64Array(new ArrayBuffer(32)); // struct itimerval: seconds and microseconds, of the repetition and until the first
      const at = ptr(value);
      return (ms) => {
        value[2] = BigInt(Math.floor(ms / 1000));
        value[3] = BigInt(Math.round((ms % 1000) * 1000));
        return symbols.setitimer(ITIMER_PROF, at, null) === 0;
      };
    } catch {} // not this C library
  }
  return null;
}
