import { once } from "node:events";
import { createWriteStream, type WriteStream } from "node:fs";
import type { LogFields, Logger } from "@adit/core";
import type { SessionSample } from "@adit/transport";
import { ExitError, sentenceOf } from "./exit.ts";
import { VERSION } from "./version.ts";

/** A sample of each session is taken so often, ms; it is written when something moved, and else once in {@link IDLE_MS}. */
export const SAMPLE_MS = 100;
const IDLE_MS = 10_000;
/** More sessions are not traced at once: what a sample asks of quiche takes 5 us, ten times a second. */
const MAX_SESSIONS = 32;
/** A file does not grow beyond this. */
const MAX_FILE_BYTES = 256 * 1024 * 1024;
/** Bytes that wait for the disk; lines beyond it are dropped and counted. */
const MAX_PENDING_BYTES = 1024 * 1024;

export interface TraceOptions {
  /** What the trace is of, for its first line. */
  readonly program: string;
  readonly maxBytes?: number;
}

/** One line of the file; docs/operations.md has the fields. */
type Line = { readonly event: string; readonly session?: string } & LogFields;

interface Seen {
  readonly sample: SessionSample;
  readonly at: number;
}

/**
 * Writes what becomes of each session as JSON lines: what the log says of it, at debug too, and samples of its path, round trips,
 * window, losses and bytes. Costs nothing but these; never stops the program.
 */
export class Trace {
  readonly #out: WriteStream;
  readonly #log: Logger;
  readonly #maxBytes: number;
  readonly #startedAt = performance.now();
  readonly #startedWall = Date.now();
  /** What was last written of each session that is up, and what was seen since, while nothing moved. */
  readonly #last = new Map<string, { readonly written: Seen; still: Seen | null }>();
  #state: "open" | "full" | "failed" | "closed" = "open";
  #bytes = 0;
  #dropped = 0;
  #timer: ReturnType<typeof setInterval> | null = null;

  private constructor(out: WriteStream, log: Logger, options: TraceOptions) {
    this.#out = out;
    this.#log = log;
    this.#maxBytes = options.maxBytes ?? MAX_FILE_BYTES;
    out.on("error", (error) => this.#fail(error));
    const first = { event: "trace", schema: 1, program: options.program, version: VERSION, sampleMs: SAMPLE_MS };
    this.#write(first, this.#startedAt);
  }

  /** The file is made anew, readable by its owner alone; without a path there is no trace. @throws ExitError `usage` when it cannot be written. */
  static async open(path: string | undefined, log: Logger, options: TraceOptions): Promise<Trace | null> {
    if (path === undefined) return null;
    const out = createWriteStream(path, { flags: "w", mode: 0o600 });
    try {
      await once(out, "open");
    } catch (error) {
      throw new ExitError("usage", `--trace ${path} cannot be written: ${sentenceOf(error)}`, { cause: error });
    }
    return new Trace(out, log, options);
  }

  /** A logger that also writes what is about a session to the file. */
  tap(log: Logger): Logger {
    const at =
      (level: "debug" | "info" | "warn" | "error") =>
      (event: string, fields?: LogFields): void => {
        if (typeof fields?.session === "string") this.#write({ ...fields, event, session: fields.session });
        log[level](event, fields);
      };
    return {
      trace: (event, fields) => log.trace(event, fields),
      debug: at("debug"),
      info: at("info"),
      warn: at("warn"),
      error: at("error"),
    };
  }

  /** Asks for samples from now on. */
  sample(samples: (limit: number) => readonly SessionSample[]): void {
    this.#timer ??= setInterval(() => this.handleSamples(performance.now(), samples(MAX_SESSIONS)), SAMPLE_MS);
    this.#timer.unref();
  }

  /** A session in which nothing moves is written now and then; and as it last stood, before it moves again. */
  handleSamples(now: number, samples: readonly SessionSample[]): void {
    const up = new Set<string>();
    for (const sample of samples) {
      up.add(sample.session);
      const last = this.#last.get(sample.session);
      const moved = !last || hasMoved(last.written.sample, sample);
      if (last && !moved && now < last.written.at + IDLE_MS) {
        last.still = { sample, at: now };
        continue;
      }
      if (last?.still && moved) this.#write({ event: "sample", ...last.still.sample }, last.still.at);
      this.#last.set(sample.session, { written: { sample, at: now }, still: null });
      this.#write({ event: "sample", ...sample }, now);
    }
    for (const session of this.#last.keys()) if (!up.has(session)) this.#last.delete(session);
  }

  /** Everything is on the disk, or could not be written. */
  async close(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    if (this.#state === "closed" || this.#state === "failed") return;
    if (this.#dropped > 0) this.#put({ event: "trace-dropped", lines: this.#dropped });
    this.#state = "closed";
    await new Promise<void>((resolve) => {
      this.#out.once("error", () => resolve());
      this.#out.end(() => resolve());
    });
  }

  #write(line: Line, at = performance.now()): void {
    if (this.#state !== "open") return;
    if (this.#out.writableLength > MAX_PENDING_BYTES) {
      this.#dropped++;
    } else if (this.#bytes >= this.#maxBytes) {
      this.#put({ event: "trace-full", maxBytes: this.#maxBytes });
      this.#state = "full";
      this.#log.warn("trace-full", {
        message: `the trace has ${this.#maxBytes} bytes, which is its limit; it ends here`,
      });
    } else {
      this.#put(line, at);
    }
  }

  #put(line: Line, at = performance.now()): void {
    const ms = Math.round((at - this.#startedAt) * 10) / 10;
    const time = new Date(this.#startedWall + ms).toISOString();
    const text = `${JSON.stringify({ time, ms, ...line }, plain)}\n`;
    this.#bytes += Buffer.byteLength(text);
    this.#out.write(text);
  }

  #fail(error: unknown): void {
    if (this.#state === "failed") return;
    this.#state = "failed";
    this.#log.warn("trace-failed", { message: `the trace could not be written and ends: ${sentenceOf(error)}` });
  }
}

/** Packets that only keep a path alive move all the time: what counts are application bytes, losses and the path. */
const hasMoved = (before: SessionSample, now: SessionSample): boolean =>
  before.sentBytes !== now.sentBytes ||
  before.receivedBytes !== now.receivedBytes ||
  before.packetsLost !== now.packetsLost ||
  before.path !== now.path;

function plain(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Error) return value.message;
  return value instanceof Uint8Array ? `${value.length} bytes` : value;
}
