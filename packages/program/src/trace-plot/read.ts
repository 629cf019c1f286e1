import { z } from "zod";

const nullableNumber = z.number().nullable();

const lineSchema = z.looseObject({
  time: z.string(),
  ms: z.number(),
  event: z.string(),
  session: z.string().optional(),
});

const sampleSchema = z.object({
  ms: z.number(),
  path: z.string(),
  rttMs: nullableNumber,
  relayRttMs: nullableNumber,
  congestionWindowBytes: nullableNumber,
  packetsLost: z.number(),
  sentBytes: z.number(),
  receivedBytes: z.number(),
});

const changeSchema = z.object({
  ms: z.number(),
  from: z.string(),
  to: z.string(),
  reason: z.string(),
  gapMs: nullableNumber,
});

export type TraceSample = z.infer<typeof sampleSchema>;
export type PathChange = z.infer<typeof changeSchema>;

/** What a trace has of one session, in the order of time. Times are ms since the trace began. */
export interface TracedSession {
  readonly id: string;
  /** The peer's name, else its PeerId; null when the trace does not say. */
  readonly peer: string | null;
  readonly program: string;
  /** Of the first line, RFC 3339. */
  readonly startedAt: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly samples: readonly TraceSample[];
  readonly changes: readonly PathChange[];
}

interface Growing {
  peer: string | null;
  readonly startedAt: string;
  readonly startMs: number;
  endMs: number;
  readonly samples: TraceSample[];
  readonly changes: PathChange[];
}

/**
 * The sessions in a file that `--trace` wrote, in the order in which they began. A last line that is half written is left out.
 * @throws Error that names the line, when it is no such file.
 */
export function readTrace(text: string): TracedSession[] {
  const sessions = new Map<string, Growing>();
  let program = "";
  const lines = text.split("\n");
  for (const [index, raw] of lines.entries()) {
    if (raw === "") continue;
    const line = readLine(raw, index, index === lines.length - 1);
    if (!line) continue;
    if (index === 0) {
      if (line.event !== "trace" || line.schema !== 1)
        throw new Error("line 1: this is no trace, or one of another version");
      program = String(line.program);
    }
    if (line.session !== undefined) take(sessions, line.session, line, index);
  }
  if (program === "") throw new Error("the trace is empty");
  return [...sessions].map(([id, session]) => ({ id, program, ...session }));
}

function readLine(raw: string, index: number, isLast: boolean): z.infer<typeof lineSchema> | null {
  try {
    return lineSchema.parse(JSON.parse(raw));
  } catch (error) {
    if (isLast && index > 0) return null;
    throw new Error(`line ${index + 1}: this is no line of a trace: ${raw.slice(0, 60)}`, { cause: error });
  }
}

function take(sessions: Map<string, Growing>, id: string, line: z.infer<typeof lineSchema>, index: number): void {
  const { ms } = line;
  let session = sessions.get(id);
  if (!session) {
    session = { peer: null, startedAt: line.time, startMs: ms, endMs: ms, samples: [], changes: [] };
    sessions.set(id, session);
  }
  session.endMs = Math.max(session.endMs, ms);
  const peer = line.name ?? line.peerId;
  if (session.peer === null && typeof peer === "string") session.peer = peer;
  try {
    if (line.event === "sample") session.samples.push(sampleSchema.parse(line));
    if (line.event === "path-changed") session.changes.push(changeSchema.parse(line));
  } catch (error) {
    throw new Error(`line ${index + 1}: a ${line.event} without its fields`, { cause: error });
  }
}
