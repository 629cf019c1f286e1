import { type Clock, type Millis, monotonicClock, type SocketAddress } from "@adit/core";
import { CarriedFlow, codeOf, type Flow, FlowTable, IdleTimer, sentenceOf, type UdpFlowsOptions } from "@adit/program";
import { ServiceRefusedError } from "@adit/transport";
import { openOnSession, type UnknownServices } from "./open-on-session.ts";
import type { KeptSession } from "./session-keeper.ts";

/** A session as far as UDP services are concerned; PeerSession is one. */
export interface FlowSession extends KeptSession {
  readonly peer: { readonly id: string };
  openFlow(name: string): Promise<Flow>;
}

/** Where datagrams came from and where answers go; UdpListener is one. */
export interface DatagramSource {
  readonly service: string;
  readonly address: SocketAddress;
  send(to: SocketAddress, data: Uint8Array): void;
}

export interface UdpCarrierOptions extends UdpFlowsOptions {
  readonly session: (signal: AbortSignal) => Promise<FlowSession>;
  readonly unknown: UnknownServices;
  /** How long a flow may take to open, ms; 10 s. */
  readonly waitMs?: number;
}

/** Flows at once, of all listeners; the one that was silent longest makes room. A session has 512 streams, which TCP needs too. */
const MAX_FLOWS = 256;
/** Of a flow that is being opened: more datagrams, or more bytes, are dropped, the newest first. */
const MAX_WAITING = 64;
const MAX_WAITING_BYTES = 64 * 1024;
/** As long as an early TCP connection waits. */
const OPEN_WAIT_MS = 10_000;
/** A source whose service was refused is dropped without asking again for so long. */
const REFUSED_MS = 5_000;

type State =
  | { readonly is: "opening"; readonly abort: AbortController; readonly waiting: Uint8Array[]; waitingBytes: number }
  | { readonly is: "open"; readonly carried: CarriedFlow }
  | { readonly is: "refused"; readonly until: Millis }
  | { readonly is: "over" };

/** One local source of datagrams. */
interface LocalFlow {
  readonly key: string;
  readonly source: DatagramSource;
  readonly from: SocketAddress;
  state: State;
}

/** Carries local datagrams over flows, one for each local source, on the session that is up or comes up. */
export class UdpCarrier {
  readonly #options: UdpCarrierOptions;
  readonly #clock: Clock;
  readonly #table: FlowTable<LocalFlow>;
  readonly #idle: IdleTimer;

  constructor(options: UdpCarrierOptions) {
    this.#options = options;
    this.#clock = options.clock ?? monotonicClock;
    this.#table = new FlowTable({ maxFlows: options.maxFlows ?? MAX_FLOWS, idleMs: options.idleMs });
    this.#idle = new IdleTimer(
      () => this.#clock.now(),
      () => this.expire(),
    );
  }

  /** A datagram from a local source. */
  handle(source: DatagramSource, from: SocketAddress, payload: Uint8Array): void {
    const now = this.#clock.now();
    const key = `${source.address.key} ${from.key}`;
    const known = this.#table.use(now, key);
    const local = known ?? this.#add(now, { key, source, from, state: { is: "over" } });
    const { state } = local;
    if (state.is === "open") state.carried.send(payload);
    else if (state.is === "opening") this.#hold(state, payload);
    else if (state.is === "refused" && now < state.until) this.#options.datagrams.dropped.add("refused");
    else this.#hold(this.#open(local), payload);
  }

  /** Closes the flows that were idle for too long. */
  expire(): void {
    for (const local of this.#table.takeIdle(this.#clock.now())) this.#end(local, "idle");
    this.#idle.arm(this.#table.nextIdleAt);
  }

  close(): void {
    this.#idle.stop();
    for (const local of this.#table.clear()) this.#end(local, "the agent is ending");
  }

  #add(now: Millis, local: LocalFlow): LocalFlow {
    const evicted = this.#table.add(now, local.key, local);
    if (evicted) this.#end(evicted, "made room for another");
    this.#idle.arm(this.#table.nextIdleAt);
    return local;
  }

  #hold(state: State & { is: "opening" }, payload: Uint8Array): void {
    const full = state.waiting.length >= MAX_WAITING || state.waitingBytes + payload.length > MAX_WAITING_BYTES;
    if (full) return this.#options.datagrams.dropped.add("waiting-full");
    state.waiting.push(payload.slice()); // it may be a view into a larger buffer
    state.waitingBytes += payload.length;
  }

  #open(local: LocalFlow): State & { is: "opening" } {
    const state = { is: "opening" as const, abort: new AbortController(), waiting: [], waitingBytes: 0 };
    local.state = state;
    void this.#establish(local, state);
    return state;
  }

  async #establish(local: LocalFlow, opening: State & { is: "opening" }): Promise<void> {
    const { datagrams, session: sessions, waitMs = OPEN_WAIT_MS, unknown } = this.#options;
    const { service } = local.source;
    const timer = setTimeout(() => opening.abort.abort(new Error("no flow could be opened in time")), waitMs);
    try {
      const open = (session: FlowSession): Promise<Flow> => session.openFlow(service);
      const { session, opened: flow } = await openOnSession(sessions, open, opening.abort.signal, (late) =>
        late.close(),
      );
      unknown.noteAccepted(service);
      if (local.state === opening) this.#carry(local, opening, flow, session.peer.id);
      else flow.close();
    } catch (error) {
      datagrams.dropped.add(error instanceof ServiceRefusedError ? "refused" : "no-session", opening.waiting.length);
      if (local.state === opening) this.#fail(local, error);
    } finally {
      clearTimeout(timer);
    }
  }

  #carry(local: LocalFlow, opening: State & { is: "opening" }, flow: Flow, peerId: string): void {
    const { datagrams, log } = this.#options;
    const { service } = local.source;
    const carried = new CarriedFlow({ flow, peerId, service, datagrams, log }, { source: local.from });
    local.state = { is: "open", carried };
    flow.onDatagram = (payload) => {
      this.#table.use(this.#clock.now(), local.key);
      carried.noteReceived(payload);
      local.source.send(local.from, payload);
    };
    for (const payload of opening.waiting) carried.send(payload);
    flow.onClosed = (error) => {
      this.#table.delete(local.key, local);
      this.#end(local, error ? sentenceOf(error) : "closed by the connector");
    };
  }

  /** The source may try again; where the connector said no, not at once. */
  #fail(local: LocalFlow, error: unknown): void {
    const { log, unknown } = this.#options;
    const { service } = local.source;
    const reason = sentenceOf(error);
    if (error instanceof ServiceRefusedError) {
      local.state = { is: "refused", until: this.#clock.now() + REFUSED_MS };
      const message = `${service}: refused by the connector: ${reason}`;
      log.warn("service-refused", { service, code: error.code, reason, message });
      if (error.code === "service-unknown") unknown.noteUnknown(service, reason);
      return;
    }
    local.state = { is: "over" };
    this.#table.delete(local.key, local);
    log.warn("flow-failed", {
      service,
      code: codeOf(error),
      reason,
      message: `${service}: datagrams dropped: ${reason}`,
    });
  }

  /** It is out of the table. */
  #end(local: LocalFlow, reason: string): void {
    const { state } = local;
    local.state = { is: "over" };
    if (state.is === "opening") state.abort.abort(new Error(reason));
    if (state.is === "open") state.carried.end(reason);
  }
}
