import {
  type Clock,
  Counters,
  type Deadline,
  earliest,
  type Logger,
  type Millis,
  monotonicClock,
  nullLogger,
  type SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import { bindUdp } from "./udp/bind.ts";
import type { Incoming, Outgoing, UdpHandlers, UdpRuntime, UdpSocket } from "./udp/udp.ts";

/** A state machine, or a bundle of them, that the driver works for. */
export interface DriverComponent {
  handleTimeout(now: Millis): void;
  /** The next deadline. After {@link handleTimeout} it must lie ahead. */
  pollTimeout(): Deadline | null;
  /**
   * The next datagram. Its bytes must stay as they are until {@link flushed}: that comes when {@link SEND_BATCH} datagrams were polled
   * since the last one, at the latest.
   */
  pollTransmit(): Transmit | null;
  /** Takes events from what is below and acts on them; called in each round of a turn. */
  drain?(now: Millis): void;
  /** All datagrams polled so far were sent, copied or dropped: their buffers may be reused. */
  flushed?(): void;
}

/** Gets each batch of a socket; `now` is when it was picked up. */
export type Receive = (now: Millis, socket: SocketId, batch: readonly Incoming[]) => void;

/** Gets the system's code (ECONNREFUSED) of an ICMP message about something that a socket sent. */
export type ReceiveError = (now: Millis, code: string) => void;

/** Timers as the driver needs them; tests bring their own. */
export interface Timers {
  /** Calls `fn` once after `ms`; returns what cancels it. */
  after(ms: Millis, fn: () => void): () => void;
  /** Calls `fn` once when what is ready now has been read. */
  soon(fn: () => void): () => void;
}

const systemTimers: Timers = {
  after: (ms, fn) => {
    const timer = setTimeout(fn, ms);
    return () => clearTimeout(timer);
  },
  soon: (fn) => {
    const immediate = setImmediate(fn);
    return () => clearImmediate(immediate);
  },
};

export interface DriverOptions {
  readonly clock?: Clock;
  readonly timers?: Timers;
  readonly log?: Logger;
}

/** What waits for a socket that takes no more. Newer datagrams are dropped and counted: QUIC and STUN resend, and slow down. */
export const MAX_QUEUED_PER_SOCKET = 512;

/**
 * Datagrams handed to the sockets at once, all components together. Enough to make the call cheap; more would only let the bytes leave
 * the processor's cache, and let the receiver wait, while the rest is being made.
 */
export const SEND_BATCH = 64;

/** Datagrams of one component that are sent in one turn, so that none waits for another; what is left goes out in the next, after receiving. */
export const MAX_TRANSMITS_PER_TURN = 512;

/**
 * Turns in a row until what was lent is sent, or all goodbyes are: more than the longest queue of a component (a relay's, 8192) takes, whatever the
 * others send, and two packets for each of an intermediate's 16,384 clients.
 */
const MAX_TURNS_IN_A_ROW = 64;

/** Rounds of timeout and drain in one turn: enough for work to travel through all layers and back. */
const MAX_ROUNDS_PER_TURN = 16;

/** After as many turns in a row that found a deadline due and moved nothing, a component is broken: it gets a turn per ms. */
const MAX_STUCK_TURNS = 64;

/** Node turns longer timeouts into 1 ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export type DriverDrop = "queue-full" | "no-socket" | "closed";

interface SocketEntry {
  readonly socket: UdpSocket;
  /** `queue[0]` is next. At most {@link MAX_QUEUED_PER_SOCKET} after a turn, {@link MAX_TRANSMITS_PER_TURN} more within it. */
  queue: Outgoing[];
  blocked: boolean;
}

/**
 * One loop for a program's UDP: receive a batch, hand it down, let the components work until nothing moves, send what they
 * want sent in batches per socket, and arm one timer for the earliest deadline.
 */
export class Driver {
  readonly drops = new Counters<DriverDrop>();
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #log: Logger;
  readonly #components = new Set<DriverComponent>();
  readonly #sockets = new Map<SocketId, SocketEntry>();
  /** Those whose queue is to be looked at when this turn sends: a relay has thousands of sockets, of which few are busy. */
  readonly #toSend = new Set<SocketEntry>();
  /** Those of whose burst parts have come, and the batch that ends it has not; see {@link #turn}. */
  readonly #inBurst = new Set<SocketId>();
  #nextSocket: SocketId = 0;
  /** `closing` is a turn at whose end it will be closed. */
  #state: "idle" | "turning" | "closing" | "closed" = "idle";
  /** Something asked for a turn while one was going on. */
  #again = false;
  /** The last turn did not get to the end of what the components want sent. */
  #unsent = false;
  #cancelSoon: (() => void) | null = null;
  #timer: { readonly at: Millis; readonly cancel: () => void } | null = null;
  /** A datagram came or went since the last {@link #arm}. */
  #progress = false;
  #stuckTurns = 0;

  constructor(options: DriverOptions = {}) {
    this.#clock = options.clock ?? monotonicClock;
    this.#timers = options.timers ?? systemTimers;
    this.#log = options.log ?? nullLogger;
  }

  /** The socket of that id, while it is open. */
  socket(id: SocketId): UdpSocket | null {
    return this.#sockets.get(id)?.socket ?? null;
  }

  /** A snapshot of the sockets, by id. */
  get sockets(): ReadonlyMap<SocketId, UdpSocket> {
    return new Map([...this.#sockets].map(([id, { socket }]) => [id, socket]));
  }

  /** How many datagrams may be queued on a socket before they are dropped; 0 for an unknown socket. */
  room(id: SocketId): number {
    const entry = this.#sockets.get(id);
    return entry ? Math.max(0, MAX_QUEUED_PER_SOCKET - entry.queue.length) : 0;
  }

  /** Binds a UDP socket and takes it in. @throws UdpBindError */
  async bind(options: {
    address: SocketAddress;
    receive: Receive;
    receiveError?: ReceiveError;
    dontFragment?: boolean;
    /**
     * No turn for each batch of this socket, but one for all that is ready now: for one of many sockets that bring a datagram or two at a
     * time. `receive` is called at once, with datagrams that may be lent until the end of that turn: a component may send their bytes on
     * and has to copy what it keeps.
     */
    gathers?: boolean;
    /** `receive` keeps nothing of a datagram's bytes: under load they are lent to it, and used again when it returns. */
    borrows?: boolean;
    runtime?: UdpRuntime;
  }): Promise<SocketId> {
    const id = this.#nextSocket++;
    const lends = options.gathers ? { lends: true } : {};
    const socket = await bindUdp({ ...options, ...lends, handlers: this.#handlers(id, options) });
    this.#take(id, socket);
    return id;
  }

  /** Takes in a socket of another making, which `open` makes around the handlers it gets. */
  addSocket(
    open: (handlers: UdpHandlers) => UdpSocket,
    receive: Receive,
    options: { readonly borrows?: boolean } = {},
  ): SocketId {
    const id = this.#nextSocket++;
    this.#take(id, open(this.#handlers(id, { ...options, receive })));
    return id;
  }

  /** Closes a socket; what waited for it is dropped. */
  removeSocket(id: SocketId): void {
    const entry = this.#sockets.get(id);
    if (!entry) return;
    this.#sockets.delete(id);
    this.#toSend.delete(entry);
    if (this.#inBurst.delete(id)) this.wake();
    this.drops.add("closed", entry.queue.length);
    entry.socket.close();
  }

  add(component: DriverComponent): void {
    this.#components.add(component);
    this.wake();
  }

  remove(component: DriverComponent): void {
    this.#components.delete(component);
  }

  /**
   * Says that a component has work. The turn comes soon, when the runtime has read what is ready; calls until then are one.
   * May be called from anywhere, also from inside a turn.
   */
  wake(): void {
    if (this.#state !== "idle") this.#again = true;
    else this.#cancelSoon ??= this.#timers.soon(this.#onSoon);
  }

  /** Sends what the components still have to send, in last turns (or in the one that is going on), then closes all. Idempotent. */
  close(): void {
    if (this.#state === "turning") this.#state = "closing";
    if (this.#state !== "idle") return;
    this.#turnUntilSent();
    this.#closeAll();
  }

  #closeAll(): void {
    this.#state = "closed";
    this.#cancelSoon?.();
    this.#cancelSoon = null;
    this.#disarm();
    for (const id of [...this.#sockets.keys()]) this.removeSocket(id);
    this.#components.clear();
  }

  #take(id: SocketId, socket: UdpSocket): void {
    if (this.#state === "closed") socket.close();
    else this.#sockets.set(id, { socket, queue: [], blocked: false });
  }

  #handlers(
    id: SocketId,
    o: {
      readonly receive: Receive;
      readonly receiveError?: ReceiveError;
      readonly gathers?: boolean;
      readonly borrows?: boolean;
    },
  ): UdpHandlers {
    const { receive, receiveError, gathers, borrows } = o;
    return {
      // Its turn comes with the batch that follows.
      ...(borrows && {
        onPart: (part) => {
          if (this.#state !== "idle") return;
          this.#inBurst.add(id);
          receive(this.#clock.now(), id, part);
        },
      }),
      ...(receiveError && { onIcmpError: (code) => this.#turn(() => receiveError(this.#clock.now(), code)) }),
      onBatch: (batch) => {
        this.#progress = true;
        this.#inBurst.delete(id);
        if (!gathers) return this.#turn(() => receive(this.#clock.now(), id, batch));
        if (this.#state === "closed") return;
        receive(this.#clock.now(), id, batch);
        if (!this.#sockets.get(id)?.socket.lends) this.wake();
      },
      onRoundEnd: this.#turnUntilSent,
      onDrain: () => {
        const entry = this.#sockets.get(id);
        if (!entry) return;
        entry.blocked = false;
        this.#toSend.add(entry);
        this.#turn();
      },
    };
  }

  /** What was lent is sent, copied or dropped when this returns. */
  readonly #turnUntilSent = (): void => {
    for (let turn = 0; turn < MAX_TURNS_IN_A_ROW; turn++) {
      this.#turnNow();
      if (!this.#unsent) return;
    }
  };

  readonly #onSoon = (): void => {
    this.#cancelSoon = null;
    this.#turn();
  };

  /**
   * Not in the middle of a burst: what the runtime had read ahead of a part comes behind it, and QUIC would tell the peer that it is missing. The batch
   * that brings it is due in the same round of the runtime's loop, and has a turn.
   */
  #turn(receive?: () => void): void {
    if (this.#inBurst.size === 0 || this.#state !== "idle") this.#turnNow(receive);
    else receive?.();
  }

  #turnNow(receive?: () => void): void {
    if (this.#state !== "idle") return;
    this.#state = "turning";
    this.#cancelSoon?.();
    this.#cancelSoon = null;
    try {
      receive?.();
      this.#work();
      this.#send();
    } finally {
      this.#endTurn();
    }
  }

  #endTurn(): void {
    if (this.#state === "closing") {
      this.#closeAll();
    } else {
      this.#state = "idle";
      this.#arm();
    }
  }

  /** Rounds of timeouts, drains and transmits until a round brings nothing, or the turn has done its share. */
  #work(): void {
    this.#unsent = false;
    let total = 0;
    for (let round = 0; round < MAX_ROUNDS_PER_TURN; round++) {
      this.#again = false;
      const now = this.#clock.now();
      let moved = false;
      for (const component of this.#components) {
        const deadline = component.pollTimeout();
        if (deadline && deadline.at <= now) {
          component.handleTimeout(now);
          moved = true;
        }
        component.drain?.(now);
      }
      for (const component of this.#components) {
        for (let share = MAX_TRANSMITS_PER_TURN; ; share--) {
          this.#unsent ||= share === 0;
          const transmit = share > 0 ? component.pollTransmit() : null;
          if (!transmit) break;
          this.#enqueue(transmit);
          moved = true;
          if (++total % SEND_BATCH === 0) this.#send();
        }
      }
      if (this.#unsent || total >= MAX_TRANSMITS_PER_TURN) break;
      if (!moved && !this.#again) return;
    }
    this.#again = true;
  }

  #enqueue(transmit: Transmit): void {
    this.#progress = true;
    const entry = this.#sockets.get(transmit.socket);
    if (!entry) {
      this.drops.add("no-socket");
    } else if (entry.blocked && entry.queue.length >= MAX_QUEUED_PER_SOCKET) {
      this.drops.add("queue-full");
    } else {
      entry.queue.push(transmit);
      this.#toSend.add(entry);
    }
  }

  #send(): void {
    for (const entry of this.#toSend) {
      if (!entry.blocked && entry.queue.length > 0) this.#flush(entry);
      if (entry.queue.length > 0) this.#retain(entry);
    }
    this.#toSend.clear();
    for (const component of this.#components) component.flushed?.();
  }

  #flush(entry: SocketEntry): void {
    const dealt = entry.socket.send(entry.queue, 0);
    entry.blocked = dealt < entry.queue.length;
    entry.queue = entry.blocked ? entry.queue.slice(dealt) : [];
  }

  /** What stays beyond the turn gets bytes of its own: the components may reuse theirs. */
  #retain(entry: SocketEntry): void {
    const excess = entry.queue.length - MAX_QUEUED_PER_SOCKET;
    if (excess > 0) {
      entry.queue.length = MAX_QUEUED_PER_SOCKET;
      this.drops.add("queue-full", excess);
    }
    entry.queue = entry.queue.map((outgoing) => (outgoing instanceof Retained ? outgoing : new Retained(outgoing)));
  }

  /**
   * One timer for the earliest deadline. A deadline that moved back leaves the timer as it is: QUIC's move with every packet,
   * and one idle turn when the old one passes is cheaper than a new timer each turn.
   */
  #arm(): void {
    let next: Deadline | null = null;
    for (const component of this.#components) next = earliest(next, component.pollTimeout());
    const now = this.#clock.now();
    if (this.#again || (next && next.at <= now)) {
      this.#again = false;
      this.#armOverdue(now, next);
      return;
    }
    this.#progress = false;
    this.#stuckTurns = 0;
    if (!next || next.at === Number.POSITIVE_INFINITY) this.#disarm();
    else if (!this.#timer || next.at < this.#timer.at) this.#setTimer(next.at, now);
  }

  /** There is more to do at once; but where turn after turn finds a deadline due and moves nothing, one per ms must do. */
  #armOverdue(now: Millis, next: Deadline | null): void {
    this.#stuckTurns = this.#progress ? 0 : this.#stuckTurns + 1;
    this.#progress = false;
    if (this.#stuckTurns <= MAX_STUCK_TURNS) {
      this.#cancelSoon ??= this.#timers.soon(this.#onSoon);
      return;
    }
    if (this.#stuckTurns === MAX_STUCK_TURNS + 1) this.#log.error("deadline-stuck", { reason: next?.reason });
    this.#setTimer(now + 1, now);
  }

  #setTimer(at: Millis, now: Millis): void {
    this.#disarm();
    // Timers count whole milliseconds and round down: up is right, early would be a turn for nothing.
    const ms = Math.min(MAX_TIMER_MS, Math.max(1, Math.ceil(at - now)));
    this.#timer = { at, cancel: this.#timers.after(ms, this.#onTimer) };
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  readonly #onTimer = (): void => {
    this.#timer = null;
    this.#turn();
  };
}

/** A datagram that waits with bytes of its own. */
class Retained implements Outgoing {
  readonly data: Uint8Array;
  readonly to: SocketAddress;
  readonly dontFragment: boolean;

  constructor({ data, to, dontFragment = false }: Outgoing) {
    this.data = data.slice();
    this.to = to;
    this.dontFragment = dontFragment;
  }
}
