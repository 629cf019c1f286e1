import { dlopen, FFIType } from "bun:ffi";
import { test } from "@adit/harness";
import { startTrimming } from "../src/native-memory.ts";

const MIB = 1024 * 1024;
const BLOCK_BYTES = 16 * 1024;
const BLOCKS = (64 * MIB) / BLOCK_BYTES;

const glibc = (() => {
  try {
    return dlopen("libc.so.6", {
      malloc: { args: [FFIType.u64], returns: FFIType.u64 },
      memset: { args: [FFIType.u64, FFIType.i32, FFIType.u64], returns: FFIType.u64 },
      free: { args: [FFIType.u64], returns: FFIType.void },
      malloc_trim: { args: [FFIType.u64], returns: FFIType.i32 },
    }).symbols;
  } catch {
    return null;
  }
})();

test(
  "what is free between blocks that stay is given back to the system",
  async (t) => {
    if (!glibc) return;
    const blocks = Array.from({ length: BLOCKS }, () => glibc.malloc(BigInt(BLOCK_BYTES)));
    for (const block of blocks) glibc.memset(block, 1, BigInt(BLOCK_BYTES));
    const full = process.memoryUsage.rss();
    const givenBack = (): number => full - process.memoryUsage.rss();
    const [last, ...others] = blocks.toReversed();
    for (const block of others) glibc.free(block);
    t.ok(givenBack() < 16 * MIB, "the C library keeps what is not at the end of its heap");

    const trimming = await startTrimming(5);
    try {
      for (let waited = 0; waited < 10_000 && givenBack() < 48 * MIB; waited += 5) await Bun.sleep(5);
      t.ok(givenBack() >= 48 * MIB, `${Math.round(givenBack() / MIB)} MiB of 64 came back`);
    } finally {
      trimming?.stop();
      if (last !== undefined) glibc.free(last);
    }
  },
  { skip: glibc === null && "no malloc_trim(3) here" },
);
