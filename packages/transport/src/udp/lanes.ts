import type { SocketAddress } from "@adit/core";
import type { UdpCounts } from "./counts.ts";
import type { LaneSource } from "./gather.ts";
import { EPOLLERR, EPOLLIN, type LinuxCalls } from "./linux-calls.ts";
import { type Polled, Readiness } from "./readiness.ts";
import { MAX_RUNS, RunMemory } from "./received-runs.ts";
import type { SocketCalls } from "./socket-calls.ts";
import { type Incoming, MAX_RECEIVE_BATCH, type UdpHandlers } from "./udp.ts";

/** When a peer has a lane. */
export interface LaneRules {
  /** A peer is busy of which so many datagrams come in bursts within {@link windowMs}, ms. */
  readonly busy: number;
  readonly windowMs: number;
  /** A lane that brings fewer than {@link few} in that time, ms, is closed. */
  readonly idleMs: number;
  readonly few: number;
}

/** 10,000 full datagrams a second are 115 Mb/s: below that a wake-up brings one or two, and there are no runs to be had. */
export const LANE_RULES: LaneRules = { busy: 1_000, windowMs: 100, idleMs: 1_000, few: 4_000 };

/** Of one socket. Each may hold a receive buffer full of datagrams. */
const MAX_LANES = 8;
/** After a lane could not be opened, or has brought nothing (the peer's datagrams come to another of our addresses than the system chose). */
const PAUSE_MS = 60_000;

/** A lane that ends is empty after one or two, unless it is flooded at that very time. */
const MAX_LAST_LOOKS = 16;

/** What lanes are made of. */
export interface LaneParts {
  readonly linux: LinuxCalls;
  readonly calls: SocketCalls;
  /** The socket that all share an address with. */
  readonly main: { readonly fd: number; readonly address: SocketAddress };
  readonly handlers: UdpHandlers;
  readonly onPart: (part: readonly Incoming[]) => void;
  readonly counts: UdpCounts;
}

/**
 * Sockets beside one that is bound, for peers that send much: each is connected to its peer, so that the kernel gives it all that comes from there;
 * and in runs (UDP_GRO), which the runtime's own sockets cannot tell apart. What is sent leaves from the socket that they are beside.
 */
export class Lanes implements LaneSource {
  readonly #parts: LaneParts;
  readonly #rules: LaneRules;
  readonly #lanes = new Map<string, Lane>();
  /** What came in bursts in this window, by source. */
  readonly #came = new Map<string, number>();
  #windowEndsAt = Number.NEGATIVE_INFINITY;
  #pausedUntil = Number.NEGATIVE_INFINITY;
  #wanted: SocketAddress | null = null;

  constructor(parts: LaneParts, rules: LaneRules) {
    this.#parts = parts;
    this.#rules = rules;
  }

  /** The last one's source stands for all: a burst has one source, as a rule. */
  note(part: readonly Incoming[]): void {
    const from = part.at(-1)?.from;
    if (!from) return;
    const now = performance.now();
    if (now >= this.#windowEndsAt) {
      this.#came.clear();
      this.#windowEndsAt = now + this.#rules.windowMs;
    }
    const came = (this.#came.get(from.key) ?? 0) + part.length;
    this.#came.set(from.key, came);
    if (came < this.#rules.busy || now < this.#pausedUntil) return;
    if (this.#lanes.size < MAX_LANES && !this.#lanes.has(from.key)) this.#wanted = from;
  }

  get wanted(): boolean {
    return this.#wanted !== null;
  }

  open(): Lane | null {
    const { linux, calls, main } = this.#parts;
    const peer = this.#wanted;
    this.#wanted = null;
    if (!peer) return null;
    const bound = [main.fd, ...[...this.#lanes.values()].map(({ fd }) => fd)];
    const fd = linux.openBeside(bound, main.address, peer);
    if (fd === null) {
      this.#pause();
      return null;
    }
    calls.raiseReceiveBuffer({ fd });
    const onClose = (isOfUse: boolean): void => {
      this.#lanes.delete(peer.key);
      if (!isOfUse) this.#pause();
    };
    const lane = new Lane({ ...this.#parts, fd, peer, rules: this.#rules, onClose });
    this.#lanes.set(peer.key, lane);
    return lane;
  }

  close(): void {
    for (const lane of this.#lanes.values()) lane.close();
  }

  #pause(): void {
    this.#pausedUntil = performance.now() + PAUSE_MS;
  }
}

/** Of all lanes of the process. */
let memory: RunMemory | null = null;

class Lane implements Polled {
  readonly fd: number;
  readonly #parts: LaneParts & { readonly peer: SocketAddress; readonly onClose: (isOfUse: boolean) => void };
  readonly #memory: RunMemory;
  readonly #idleCheck: NodeJS.Timeout;
  #readiness: Readiness | null = null;
  #received = 0;
  #isClosed = false;

  constructor(
    parts: LaneParts & {
      readonly fd: number;
      readonly peer: SocketAddress;
      readonly rules: LaneRules;
      readonly onClose: (isOfUse: boolean) => void;
    },
  ) {
    const { fd, linux, rules } = parts;
    this.fd = fd;
    this.#parts = parts;
    this.#memory = memory ??= new RunMemory(linux.addressOf);
    let before = 0;
    this.#idleCheck = setInterval(() => {
      if (this.#received - before < rules.few) this.#end();
      before = this.#received;
    }, rules.idleMs);
    this.#idleCheck.unref();
  }

  start(): void {
    if (this.#isClosed) return;
    const readiness = Readiness.shared(this.#parts.linux);
    if (readiness?.add(this.fd, this)) this.#readiness = readiness;
    else this.#end();
  }

  onReady(events: number): void {
    const { handlers, counts } = this.#parts;
    try {
      if (events & EPOLLERR) {
        this.#readiness?.readErrors(this.fd, (code) => {
          counts.receiveErrors.add(code);
          handlers.onIcmpError?.(code);
          return !this.#isClosed;
        });
      }
      if (events & EPOLLIN) {
        this.#readiness?.tellEnd(this.#onRoundEnd); // whatever happens above: who has had a part waits for the batch that ends it
        this.#read();
      }
    } catch (error) {
      // A bug above, which must not stop the reading of all other sockets.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  /** What has come, and no more runs after {@link MAX_RECEIVE_BATCH} datagrams. */
  #read(): void {
    const { linux, peer, onPart, counts } = this.#parts;
    for (let total = 0, isMore = true; isMore && total < MAX_RECEIVE_BATCH && !this.#isClosed; ) {
      const runs = linux.receive(this.fd, this.#memory.headers, MAX_RUNS);
      if (runs <= 0) return;
      isMore = runs === MAX_RUNS;
      const part = this.#memory.take(runs, peer);
      total += part.length;
      this.#received += part.length;
      counts.received += part.length;
      onPart(part);
    }
  }

  readonly #onRoundEnd = (): void => {
    if (!this.#isClosed) this.#parts.handlers.onBatch([]);
  };

  /** What came is dealt with first, and what came meanwhile; what comes from now on comes to the socket that this is beside. */
  #end(): void {
    for (let looks = 0; looks < MAX_LAST_LOOKS; looks++) {
      const before = this.#received;
      this.#read();
      if (this.#received === before) break;
      this.#onRoundEnd();
    }
    this.close();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#idleCheck);
    this.#readiness?.remove(this.fd);
    this.#parts.linux.close(this.fd);
    this.#parts.onClose(this.#readiness !== null && this.#received > 0);
  }
}
