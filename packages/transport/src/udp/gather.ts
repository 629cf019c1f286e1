import { type IpFamily, SocketAddress } from "@adit/core";
import type { UdpCounts } from "./counts.ts";
import { type Incoming, MAX_RECEIVE_BATCH } from "./udp.ts";

/** What takes more of a burst out of the socket when the runtime's callbacks have brought its beginning. */
export interface BurstSource {
  /** What is there now, {@link MAX_PART} at most. */
  receive(): readonly Incoming[];
  readonly onPart: (part: readonly Incoming[]) => void;
  readonly lanes?: LaneSource | undefined;
}

/** Who opens sockets for busy peers: what comes from one then no longer comes from {@link BurstSource.receive}. */
export interface LaneSource {
  /** That came as a part of a burst. */
  note(part: readonly Incoming[]): void;
  /** Whether {@link open} would open one. */
  readonly wanted: boolean;
  /** Null when the system does not take it. The lane brings nothing before it is started, nor when it was closed before that. */
  open(): { start(): void } | null;
  close(): void;
}

/** Bun reads so many datagrams in one call, and calls again until nothing is left: who has had as many calls back may expect more. */
const RUNTIME_READS = 8;
/**
 * What is taken at once. The runtime may have read up to seven datagrams more when it is, which come behind all of these; and quiche 0.18 takes a
 * packet for a duplicate whose number is 128 below the newest.
 */
export const MAX_PART = 112;
/** More than a socket holds ({@link RECEIVE_BUFFER_BYTES} of full datagrams): an end only where others flood it meanwhile. */
const MAX_PARTS_BEFORE_LANE = 64;

/**
 * Gathers the datagrams that the runtime hands over one by one into the batch in which the kernel had them.
 *
 * Both runtimes run microtasks and `process.nextTick` after every single datagram, and immediates after the whole poll: so the
 * batch is handed up from an immediate, or from inside the callback when it is full (under a flood Bun reads on without
 * returning to its loop). Measured on Bun: 4.5 us of CPU per datagram echoed in batches, 5.2 us one by one; a lone datagram is
 * not slower by more than 1 us.
 *
 * One immediate serves all sockets of the process: what they hand up in it is what the kernel had at one time.
 */
export class Gatherer {
  readonly #family: IpFamily;
  readonly #counts: UdpCounts;
  readonly #onBatch: (batch: readonly Incoming[]) => void;
  /** At most {@link MAX_RECEIVE_BATCH} long. */
  #batch: Incoming[] = [];
  #waits = false;
  #closed = false;
  #burst: BurstSource | null = null;
  /** Of the burst that is going on, what was handed up in parts. */
  #inParts = 0;
  #last: SocketAddress | null = null;
  #lastIp = "";

  constructor(family: IpFamily, counts: UdpCounts, onBatch: (batch: readonly Incoming[]) => void) {
    this.#family = family;
    this.#counts = counts;
    this.#onBatch = onBatch;
  }

  push(data: Uint8Array, ip: string, port: number): void {
    if (this.#closed) return;
    const from = this.#source(ip, port);
    if (!from) return;
    this.#counts.received++;
    this.#batch.push({ data, from });
    if (this.#batch.length >= MAX_RECEIVE_BATCH) return this.#handUp();
    if (!this.#waits) {
      this.#waits = true;
      if (waiting.push(this) === 1) setImmediate(handUpAll);
    }
    if (this.#burst && this.#batch.length === RUNTIME_READS) this.#receiveBurst(this.#burst);
  }

  /** From now on most of each burst is taken from there. */
  takeBursts(source: BurstSource): void {
    this.#burst = source;
  }

  /**
   * Whatever the runtime had read already comes with the next callbacks, before more is taken. Nobody is to be told before that what has come: so
   * `onBatch`, which ends a burst, waits for as many callbacks, or for the end of them.
   */
  #receiveBurst(source: BurstSource): void {
    if (this.#inParts >= MAX_RECEIVE_BATCH) return this.#handUp();
    const part = this.#batch;
    this.#batch = [];
    this.#handPart(source, part);
    if (this.#closed) return;
    const more = source.receive();
    if (more.length > 0) this.#handPart(source, more);
  }

  #handPart(source: BurstSource, part: readonly Incoming[]): void {
    this.#inParts += part.length;
    source.lanes?.note(part);
    orLater(() => source.onPart(part));
  }

  /**
   * What has come from the peer so far is dealt with before the first datagram of its lane, so that their order is kept. In the immediate, where the
   * runtime has nothing that it read already.
   */
  #openLane(source: BurstSource, lanes: LaneSource): void {
    const lane = lanes.open();
    if (!lane) return;
    for (let parts = 0; parts < MAX_PARTS_BEFORE_LANE && !this.#closed; parts++) {
      const part = source.receive();
      if (part.length === 0) break;
      this.#handPart(source, part);
    }
    this.#handUp();
    lane.start();
  }

  close(): void {
    this.#closed = true;
    this.#batch = [];
    this.#inParts = 0;
    this.#burst?.lanes?.close();
  }

  /** @internal Its turn in the immediate. Never throws. */
  handUpWaiting(): void {
    this.#waits = false;
    this.#handUp();
    const source = this.#burst;
    if (source?.lanes?.wanted && !this.#closed) this.#openLane(source, source.lanes);
  }

  #handUp(): void {
    const batch = this.#batch;
    if (batch.length === 0 && this.#inParts === 0) return;
    this.#batch = [];
    this.#inParts = 0;
    orLater(() => this.#onBatch(batch));
  }

  /** Null for what cannot be answered: a link-local source with a zone (`fe80::1%eth0`), or the other family. */
  #source(ip: string, port: number): SocketAddress | null {
    // Datagrams come in runs from one source: comparing is cheaper than two map lookups with a fresh string.
    if (this.#last && this.#last.port === port && this.#lastIp === ip) return this.#last;
    if (ip.includes("%")) {
      this.#counts.receiveErrors.add("zone");
      return null;
    }
    const from = SocketAddress.of(ip, port);
    if (from.family !== this.#family) {
      this.#counts.receiveErrors.add("family");
      return null;
    }
    this.#last = from;
    this.#lastIp = ip;
    return from;
  }
}

/** Those that have something, in the order in which it came. At most one entry for each socket. */
let waiting: Gatherer[] = [];

function handUpAll(): void {
  const all = waiting;
  waiting = [];
  for (const gatherer of all) gatherer.handUpWaiting();
}

/** What is thrown is a bug above. The runtime's receive callback would take it for a network error, so it is thrown where it is seen. */
function orLater(action: () => void): void {
  try {
    action();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
