import { lookup } from "node:dns/promises";
import {
  type Clock,
  type Logger,
  monotonicClock,
  nullLogger,
  parseIp,
  parseSocketAddress,
  type Random,
  SocketAddress,
  type SocketId,
  systemRandom,
} from "@adit/core";
import type { Candidate } from "../candidate.ts";
import type { IceRole, PairInfo } from "../pair.ts";
import type { IceParameters } from "../parameters.ts";
import { DatagramQueue } from "./datagram-queue.ts";
import { IceConnectionError } from "./errors.ts";
import type { TurnServer } from "./gatherer.ts";
import { GatheringAgent } from "./gathering-agent.ts";
import { bindUdp, interfaceIps, MAX_SOCKETS, type Udp } from "./udp.ts";

export interface IceConnectionOptions {
  readonly role: IceRole;
  /** IP addresses to bind, `IP` or `IP:port`; by default every interface's, or 127.0.0.1 when there is none. At most 16. */
  readonly bind?: readonly string[];
  /** `host:port` of STUN servers. */
  readonly stunServers?: readonly string[];
  readonly turnServers?: readonly {
    /** `host:port`, UDP. */
    readonly address: string;
    readonly username: string;
    readonly password: string;
  }[];
  readonly policy?: "all" | "relay";
  /** The least time between new checks, ms: 50 by default; in force is the greater of both sides'. */
  readonly taMs?: number;
  /** Closes the connection. */
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly log?: Logger;
}

/**
 * Binds and begins to gather.
 * @throws IceConnectionError `bind-failed`, `bad-server`, `closed`; AddressError `bad-address` for what `bind` cannot mean.
 */
export async function createIceConnection(options: IceConnectionOptions): Promise<IceConnection> {
  const log = options.log ?? nullLogger;
  const stunServers = await Promise.all((options.stunServers ?? []).map(resolveServer));
  const turnServers = await Promise.all(
    (options.turnServers ?? []).map(async (server) => ({ ...server, address: await resolveServer(server.address) })),
  );
  const sockets = new Map<SocketId, Udp>();
  const receiver: { current: IceConnection | null } = { current: null };
  try {
    for (const [id, { ip, port }] of bindAddresses(options.bind).entries()) {
      const receive = (data: Uint8Array, from: SocketAddress) => receiver.current?.handleDatagram(id, from, data);
      sockets.set(id, await bindUdp(ip, port, receive, log));
    }
    if (options.signal?.aborted) throw new IceConnectionError("closed", "the connection was aborted");
  } catch (error) {
    await Promise.all([...sockets.values()].map((socket) => socket.close()));
    throw error;
  }
  receiver.current = new IceConnection(options, sockets, stunServers, turnServers);
  return receiver.current;
}

type State =
  | { readonly kind: "open" }
  | { readonly kind: "failed"; readonly reason: string }
  | { readonly kind: "closed"; readonly done: Promise<void> };

/** Candidates that wait for {@link IceConnection.onCandidate} to be set; there are no more of them. */
const MAX_UNHEARD_CANDIDATES = 128;

/**
 * Datagrams between two peers over the best path that ICE finds. Iterate it to receive; one reader. A datagram that has the form
 * of a STUN message is taken for one (RFC 7983), so protocols on top must be tellable from STUN, as QUIC, DTLS and RTP are.
 */
export class IceConnection implements AsyncIterable<Uint8Array> {
  readonly #machine: GatheringAgent;
  readonly #sockets: ReadonlyMap<SocketId, Udp>;
  readonly #clock: Clock;
  readonly #received = new DatagramQueue();
  readonly #signal: AbortSignal | null;
  readonly #onAbort = (): void => void this.close();
  readonly #unheard: (Candidate | null)[] = [];
  #onCandidate: ((candidate: Candidate | null) => void) | null = null;
  #waiters: { resolve(pair: PairInfo): void; reject(error: Error): void }[] = [];
  #timer: ReturnType<typeof setTimeout> | null = null;
  #state: State = { kind: "open" };

  /** @internal Made by {@link createIceConnection}. */
  constructor(
    options: IceConnectionOptions,
    sockets: ReadonlyMap<SocketId, Udp>,
    stunServers: readonly SocketAddress[],
    turnServers: readonly TurnServer[],
  ) {
    const { role, policy, taMs, random = systemRandom, log = nullLogger } = options;
    this.#sockets = sockets;
    this.#clock = options.clock ?? monotonicClock;
    this.#machine = new GatheringAgent(this.#clock.now(), {
      role,
      random,
      log,
      sockets: new Map([...sockets].map(([id, { address }]) => [id, address])),
      stunServers,
      turnServers,
      ...(policy === undefined ? {} : { policy }),
      ...(taMs === undefined ? {} : { taMs }),
    });
    this.#signal = options.signal ?? null;
    this.#signal?.addEventListener("abort", this.#onAbort, { once: true });
    this.#turn();
  }

  /** What the peer needs to know, once: user name fragment and password. */
  get local(): IceParameters {
    return this.#machine.agent.local;
  }

  /** The pair that data goes over: the nominated one, until then the best valid one; null when there is none. */
  get path(): PairInfo | null {
    return this.#state.kind === "closed" ? null : this.#machine.path;
  }

  /** Datagrams that arrived faster than they were read, and were dropped. */
  get droppedDatagrams(): number {
    return this.#received.dropped;
  }

  /** Gets each local candidate, to be carried to the peer as it comes (RFC 8838); null is the end of them. Earlier ones come at once. */
  set onCandidate(listener: (candidate: Candidate | null) => void) {
    this.#onCandidate = listener;
    for (const candidate of this.#unheard.splice(0)) listener(candidate);
  }

  /** The peer's {@link local}. False when malformed, or different from what was set before. */
  setRemoteParameters(parameters: IceParameters): boolean {
    const accepted = this.#machine.agent.setRemoteParameters(this.#clock.now(), parameters);
    this.#turn();
    return accepted;
  }

  /** The candidates found so far. */
  get localCandidates(): readonly Candidate[] {
    return this.#machine.agent.localCandidates;
  }

  /**
   * Begins a new generation (RFC 8445 §9), for instance when a path went bad: both sides call it, then tell each other what it
   * returns and their {@link localCandidates}. Data goes on over the old path until the new generation has one.
   */
  restart(): IceParameters {
    const parameters = this.#machine.agent.restart(this.#clock.now());
    this.#turn();
    return parameters;
  }

  /** A candidate from the peer's {@link onCandidate}, null included. False: refused (unusable, known, or too many). */
  addRemoteCandidate(candidate: Candidate | null): boolean {
    if (this.#state.kind === "closed") return false;
    const accepted = this.#machine.addRemoteCandidate(this.#clock.now(), candidate);
    this.#turn();
    return accepted;
  }

  /** Resolves once there is a {@link path}. @throws IceConnectionError `failed`, `closed`. */
  connected(): Promise<PairInfo> {
    const { path } = this;
    if (path) return Promise.resolve(path);
    if (this.#state.kind !== "open") return Promise.reject(this.#error());
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** Sends a datagram over {@link path}; false when there is none (nothing is queued). */
  send(data: Uint8Array): boolean {
    if (this.#state.kind !== "open") return false;
    const out = this.#machine.wrap(data);
    if (out) this.#sockets.get(out.socket)?.send(out.data, out.to);
    return out !== null;
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    return this.#received;
  }

  /** Gives allocations back and closes sockets and timer. What arrived before can still be read. */
  close(): Promise<void> {
    if (this.#state.kind === "closed") return this.#state.done;
    const done = this.#shutDown();
    this.#state = { kind: "closed", done };
    this.#received.end();
    this.#rejectWaiters();
    return done;
  }

  /** @internal */
  handleDatagram(socket: SocketId, from: SocketAddress, data: Uint8Array): void {
    if (this.#state.kind === "closed") return;
    const received = this.#machine.handleDatagram(this.#clock.now(), socket, from, data);
    // Sockets and relays hand out views on memory of theirs.
    if (received) this.#received.push(received.slice());
    this.#turn();
  }

  /** After every change: passes on what happened, sends what is to be sent, arms the one timer. */
  #turn(): void {
    if (this.#state.kind === "closed") return;
    this.#drainEvents();
    const machine = this.#machine;
    for (let out = machine.pollTransmit(); out; out = machine.pollTransmit()) {
      this.#sockets.get(out.socket)?.send(out.data, out.to);
    }
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    const deadline = machine.pollTimeout();
    if (!deadline) return;
    const waitMs = Math.min(2 ** 31 - 1, Math.max(0, deadline.at - this.#clock.now()));
    this.#timer = setTimeout(() => {
      machine.handleTimeout(this.#clock.now());
      this.#turn();
    }, waitMs);
  }

  #drainEvents(): void {
    const now = this.#clock.now();
    for (let event = this.#machine.pollEvent(now); event; event = this.#machine.pollEvent(now)) {
      switch (event.type) {
        case "local-candidate":
          this.#announce(event.candidate);
          break;
        case "gathered":
          this.#announce(null);
          break;
        case "pair-valid":
          for (const waiter of this.#waiters.splice(0)) waiter.resolve(event.pair);
          break;
        case "failed":
          this.#state = { kind: "failed", reason: event.reason };
          this.#received.end(this.#error());
          this.#rejectWaiters();
          break;
      }
    }
  }

  #announce(candidate: Candidate | null): void {
    if (this.#onCandidate) this.#onCandidate(candidate);
    else if (this.#unheard.length < MAX_UNHEARD_CANDIDATES) this.#unheard.push(candidate);
  }

  #error(): IceConnectionError {
    if (this.#state.kind !== "failed") return new IceConnectionError("closed", "the connection is closed");
    return new IceConnectionError("failed", `no path to the peer: ${this.#state.reason}`);
  }

  #rejectWaiters(): void {
    const error = this.#error();
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }

  async #shutDown(): Promise<void> {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#machine.close(this.#clock.now());
    const leaving: Promise<void>[] = [];
    for (let out = this.#machine.pollTransmit(); out; out = this.#machine.pollTransmit()) {
      const { socket, data, to } = out;
      leaving.push(new Promise((sent) => this.#sockets.get(socket)?.send(data, to, sent)));
    }
    await Promise.all(leaving);
    await Promise.all([...this.#sockets.values()].map((socket) => socket.close()));
  }
}

function bindAddresses(bind: readonly string[] | undefined): { readonly ip: string; readonly port: number }[] {
  const wanted = bind ?? interfaceIps();
  const texts = wanted.length > 0 ? wanted : ["127.0.0.1"];
  return texts.slice(0, MAX_SOCKETS).map((text) => {
    if (parseIp(text)) return { ip: text, port: 0 };
    const { ip, port } = parseSocketAddress(text);
    return { ip, port };
  });
}

async function resolveServer(text: string): Promise<SocketAddress> {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (!host || port < 1 || port > 65_535) {
    throw new IceConnectionError("bad-server", `"${text}" is not host:port (IPv6 addresses in brackets)`);
  }
  if (parseIp(host)) return SocketAddress.of(host, port);
  try {
    return SocketAddress.of((await lookup(host)).address, port);
  } catch (cause) {
    throw new IceConnectionError("bad-server", `the server ${host} cannot be resolved; check its name`, { cause });
  }
}
