/**
 * Loaded into an intermediate before its program (`bun --preload`): on SIGUSR2 it does what the file `ADIT_PROBE` asks for, one word, and writes what its memory
 * is made of into `ADIT_PROBE.json`. For measuring only: {@link file://./memory.ts}.
 */
import { dlopen, ptr } from "bun:ffi";
import { heapStats } from "bun:jsc";
import { readFileSync, renameSync, writeFileSync } from "node:fs";

const path = process.env.ADIT_PROBE ?? "";

const glibc = dlopen("libc.so.6", {
  // A struct of ten size_t, which is returned through a pointer in front of the arguments (x86-64, aarch64 alike for what we call: x8 there, so x86-64 only).
  mallinfo2: { args: ["ptr"], returns: "ptr" },
  malloc_trim: { args: ["u64"], returns: "i32" },
}).symbols;

function nativeHeap(): Record<string, number> {
  const fields = new BigUint64Array(10);
  glibc.mallinfo2(ptr(fields));
  const [arena, ordblks, , hblks, hblkhd, , fsmblks, uordblks, fordblks, keepcost] = [...fields].map(Number);
  return { arena, ordblks, hblks, hblkhd, fsmblks, uordblks, fordblks, keepcost } as Record<string, number>;
}

function mappings(): Record<string, number> {
  const sums: Record<string, number> = {};
  let name = "";
  for (const line of readFileSync("/proc/self/smaps", "utf8").split("\n")) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$/.exec(line);
    if (head) {
      const file = head[4] ?? "";
      const mib = (Number.parseInt(head[2] ?? "", 16) - Number.parseInt(head[1] ?? "", 16)) / 2 ** 20;
      name =
        file === ""
          ? `anon ${head[3]} ${mib >= 1024 ? ">=1G" : mib >= 64 ? ">=64M" : mib >= 4 ? ">=4M" : "<4M"}`
          : file.startsWith("[")
            ? file
            : "files";
      continue;
    }
    const rss = /^Rss:\s+(\d+) kB/.exec(line);
    if (rss) sums[name] = (sums[name] ?? 0) + Number(rss[1]) * 1024;
  }
  return sums;
}

function jsHeap() {
  const { objectTypeCounts: types, heapSize, heapCapacity, extraMemorySize, objectCount } = heapStats();
  return { heap: { heapSize, heapCapacity, extraMemorySize, objectCount }, types };
}

/** The longest pause of the loop within two seconds from now, ms: what a collection beside the program's thread costs it. */
async function longestPause(): Promise<number> {
  let longest = 0;
  for (let at = performance.now(), end = at + 2_000; at < end; ) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    const now = performance.now();
    longest = Math.max(longest, now - at);
    at = now;
  }
  return longest;
}

process.on("SIGUSR2", async () => {
  const asked = readFileSync(path, "utf8").trim();
  const from = performance.now();
  if (asked === "gc") Bun.gc(true);
  if (asked === "gc-soon") Bun.gc(false);
  if (asked === "trim") glibc.malloc_trim(0n);
  if (asked === "shrink") Bun.shrink();
  const tookMs = performance.now() - from;
  const pauseMs = asked === "gc-soon" || asked === "pause" ? await longestPause() : 0;
  const rss = process.memoryUsage.rss();
  const native = nativeHeap();
  const result = { asked, tookMs, pauseMs, rss, native, mappings: mappings(), ...(asked !== "rss" && jsHeap()) };
  writeFileSync(`${path}.part`, JSON.stringify(result));
  renameSync(`${path}.part`, `${path}.json`);
});
