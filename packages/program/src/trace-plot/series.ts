import type { TracedSession, TraceSample } from "./read.ts";

/** A stretch of time in which everything is one point of a curve. Times are ms since the session began. */
export interface Bin {
  readonly fromMs: number;
  readonly toMs: number;
  /** Application bytes per second. */
  readonly sentRate: number;
  readonly receivedRate: number;
  readonly rttMs: number | null;
  readonly relayRttMs: number | null;
  readonly congestionWindowBytes: number | null;
  readonly packetsLost: number;
}

/** A stretch of time on one path. */
export interface PathSpan {
  readonly path: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** Samples closer together than this make one bin. */
const MIN_BIN_MS = 100;

/**
 * The curves of a session in at most `maxBins` bins. A bin ends at a sample: bytes are spread over the time since the one before, of round
 * trips and windows the latest counts.
 */
export function binsOf(session: TracedSession, maxBins: number): Bin[] {
  const durationMs = Math.max(1, session.endMs - session.startMs);
  const stepMs = Math.max(MIN_BIN_MS, durationMs / maxBins) - 1; // timers are a little late or early
  const bins: Bin[] = [];
  let from: TraceSample | null = null;
  for (const [index, sample] of session.samples.entries()) {
    if (from === null) {
      from = sample;
      continue;
    }
    const isLast = index === session.samples.length - 1;
    if (sample.ms - from.ms < stepMs && !isLast) continue;
    if (sample.ms > from.ms) bins.push(binOf(session.startMs, from, sample));
    from = sample;
  }
  return bins;
}

function binOf(startMs: number, from: TraceSample, to: TraceSample): Bin {
  const seconds = (to.ms - from.ms) / 1000;
  return {
    fromMs: from.ms - startMs,
    toMs: to.ms - startMs,
    sentRate: (to.sentBytes - from.sentBytes) / seconds,
    receivedRate: (to.receivedBytes - from.receivedBytes) / seconds,
    rttMs: to.rttMs,
    relayRttMs: to.relayRttMs,
    congestionWindowBytes: to.congestionWindowBytes,
    packetsLost: to.packetsLost - from.packetsLost,
  };
}

/** Which path carried the session when: by its path changes, which are exact, and before the first by its first sample. */
export function pathSpans(session: TracedSession): PathSpan[] {
  const { startMs, endMs, samples, changes } = session;
  const spans: PathSpan[] = [];
  let path = changes[0]?.from ?? samples[0]?.path ?? "connecting";
  let fromMs = 0;
  const close = (atMs: number): void => {
    if (atMs > fromMs) spans.push({ path, fromMs, toMs: atMs });
    fromMs = atMs;
  };
  for (const change of changes) {
    close(change.ms - startMs);
    path = change.to;
  }
  close(endMs - startMs);
  return spans;
}
