import {
  type Deadline,
  type Logger,
  type Millis,
  type Random,
  SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import { decodeStun, getXorAddress, STUN_ATTRIBUTE, STUN_METHOD, StunBuilder, StunTransactions } from "@adit/ice";
import type { DriverComponent } from "../driver.ts";
import type { NetworkView } from "./network-view.ts";
import { predictPorts } from "./port-prediction.ts";

/** Where the intermediate sees us, and where its STUN server is: another port, so a second destination. */
export interface Seen {
  /** Null: signaling does not go over UDP. */
  readonly observed: SocketAddress | null;
  readonly server: SocketAddress;
  /** The socket that everything goes over. */
  readonly socket: SocketId;
}

export interface NetworkSenseOptions {
  readonly policy: "all" | "relay";
  readonly random: Random;
  readonly log: Logger;
  readonly now: () => Millis;
  readonly wake: () => void;
  /** A socket that was never used, for one measurement; null when there is none to be had. */
  readonly openSocket: (family: 4 | 6) => Promise<SocketId | null>;
  readonly closeSocket: (socket: SocketId) => void;
  readonly onView: (view: NetworkView) => void;
}

/** Gets the addresses that the next mappings may have, the likeliest first; at most 24. */
export type PredictionListener = (predicted: readonly SocketAddress[]) => void;

/** A server that is there answers within half a second or is lost in the noise: silence is known for silence after 2.5 s. */
const TIMING = { rtoMs: 500, maxRequests: 3, lastWaitFactor: 2 } as const;
/** Fresh sockets of one measurement: with three a random draw is not taken for counting. */
const SOCKETS = 3;
/** Sessions that wait for one measurement; beyond it they go without. */
const MAX_LISTENERS = 64;

type Question = { readonly kind: "mapping" } | { readonly kind: "port"; readonly index: number };

/** A measurement of ports under way. */
interface Measurement {
  readonly sockets: SocketId[];
  readonly answers: (SocketAddress | null | "waiting")[];
}

/**
 * What our NAT does, found out with a few STUN requests to the intermediate: one from the socket that everything goes over, to a second
 * port, tells whether mappings depend on the destination; where they do, three from fresh sockets before each session tell whether
 * the next external ports can be predicted. Nothing waits for it.
 */
export class NetworkSense implements DriverComponent {
  readonly #options: NetworkSenseOptions;
  readonly #requests = new StunTransactions<Question & { socket: SocketId }>(1 + SOCKETS);
  #view: NetworkView;
  #seen: Seen | null = null;
  #measurement: Measurement | null = null;
  #listeners: PredictionListener[] = [];

  constructor(options: NetworkSenseOptions) {
    this.#options = options;
    this.#view = { policy: options.policy, udp: "unknown", mapping: "unknown", ports: "unknown" };
  }

  get view(): NetworkView {
    return this.#view;
  }

  /** We are seen from outside, or otherwise than before. */
  handleSeen(now: Millis, seen: Seen): void {
    this.#seen = seen;
    for (const pending of [...this.#requests]) if (pending.context.kind === "mapping") this.#requests.finish(pending);
    this.#ask(now, seen.socket, { kind: "mapping" });
  }

  /**
   * Calls `listener` once if the ports of the next mappings can be predicted, else never. Not with a relay-only policy, which keeps
   * our addresses to ourselves.
   */
  predict(listener: PredictionListener): void {
    const { mapping, policy } = this.#view;
    const mayCome = mapping === "apdm" || (mapping === "unknown" && this.#isAskingForMapping);
    if (policy === "relay" || !mayCome || this.#listeners.length >= MAX_LISTENERS) return;
    this.#listeners.push(listener);
    if (mapping === "apdm") void this.#measure();
  }

  get #isAskingForMapping(): boolean {
    return [...this.#requests].some(({ context }) => context.kind === "mapping");
  }

  /** True when it was an answer to us. */
  handleDatagram(socket: SocketId, from: SocketAddress, data: Uint8Array): boolean {
    if (this.#requests.size === 0 || !this.#seen?.server.equals(from)) return false;
    const message = decodeStun(data);
    const pending = message && this.#requests.match(message);
    if (!message || !pending || pending.context.socket !== socket) return false;
    const mapped = getXorAddress(message, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS);
    this.#requests.finish(pending);
    this.#handleAnswer(pending.context, message.class === "success" ? mapped : null);
    return true;
  }

  handleTimeout(now: Millis): void {
    for (const { context } of this.#requests.handleTimeout(now)) this.#handleAnswer(context, null);
  }

  pollTimeout(): Deadline | null {
    return this.#requests.pollTimeout();
  }

  pollTransmit(): Transmit | null {
    const pending = this.#requests.pollTransmit();
    if (!pending || !this.#seen) return null;
    return { data: pending.request, socket: pending.context.socket, to: this.#seen.server };
  }

  close(): void {
    this.#requests.clear();
    this.#listeners = [];
    this.#endMeasurement();
  }

  #ask(now: Millis, socket: SocketId, question: Question): void {
    const request = new StunBuilder("request", STUN_METHOD.BINDING, this.#options.random.bytes(12)).build({
      fingerprint: true,
    });
    this.#requests.start(now, request, { ...question, socket }, TIMING);
    this.#options.wake();
  }

  #handleAnswer(question: Question, mapped: SocketAddress | null): void {
    if (question.kind === "mapping") this.#handleMapping(mapped);
    else this.#handlePort(question.index, mapped);
  }

  #handleMapping(mapped: SocketAddress | null): void {
    const observed = this.#seen?.observed ?? null;
    // Silence says nothing where signaling goes over UDP: the server may not be there.
    const udp = mapped || observed ? "open" : "blocked";
    const mapping = !mapped || !observed ? "unknown" : mapped.equals(observed) ? "eim" : "apdm";
    this.#setView({ ...this.#view, udp, mapping, ports: "unknown" });
    if (mapping !== "apdm") this.#listeners = [];
    else if (this.#listeners.length > 0) void this.#measure();
  }

  /** One at a time: sessions that come meanwhile share its result. */
  async #measure(): Promise<void> {
    const { openSocket, closeSocket, now } = this.#options;
    const family = this.#seen?.server.family;
    if (this.#measurement || !family) return;
    const measurement: Measurement = { sockets: [], answers: [] };
    this.#measurement = measurement;
    for (let index = 0; index < SOCKETS; index++) {
      const socket = await openSocket(family);
      if (socket === null) break;
      if (this.#measurement !== measurement) return closeSocket(socket);
      measurement.sockets.push(socket);
    }
    measurement.answers.push(...measurement.sockets.map(() => "waiting" as const));
    if (measurement.sockets.length === 0) {
      this.#listeners = [];
      return this.#endMeasurement();
    }
    measurement.sockets.forEach((socket, index) => {
      this.#ask(now(), socket, { kind: "port", index });
    });
  }

  #handlePort(index: number, mapped: SocketAddress | null): void {
    const measurement = this.#measurement;
    if (!measurement) return;
    measurement.answers[index] = mapped;
    if (measurement.answers.includes("waiting")) return;
    this.#endMeasurement();
    const seen = measurement.answers.filter((answer) => answer instanceof SocketAddress);
    const ports = predictPorts(seen.map(({ port }) => port));
    const ip = seen[0]?.ip;
    this.#options.log.debug("ports-measured", { seen: seen.map(({ key }) => key), predicted: ports?.length ?? 0 });
    if (seen.length > 1) this.#setView({ ...this.#view, ports: ports ? "sequential" : "random" });
    const listeners = this.#listeners.splice(0);
    if (!ports || !ip) return;
    const predicted = ports.map((port) => SocketAddress.of(ip, port));
    for (const listener of listeners) listener(predicted);
  }

  #endMeasurement(): void {
    for (const socket of this.#measurement?.sockets ?? []) this.#options.closeSocket(socket);
    this.#measurement = null;
  }

  #setView(view: NetworkView): void {
    const before = this.#view;
    this.#view = view;
    const same = before.udp === view.udp && before.mapping === view.mapping && before.ports === view.ports;
    if (same) return;
    this.#options.log.debug("network-view", { udp: view.udp, mapping: view.mapping, ports: view.ports });
    this.#options.onView(view);
  }
}
