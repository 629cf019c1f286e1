import { lookup } from "node:dns/promises";
import { type Clock, type Millis, monotonicClock, parseIp, SocketAddress } from "@adit/core";
import {
  CarriedFlow,
  codeOf,
  type Exposure,
  type Flow,
  FlowTable,
  IdleTimer,
  sentenceOf,
  type UdpFlowsOptions,
} from "@adit/program";
import { bindUdp, type Incoming, type Outgoing, type UdpHandlers, type UdpSocket } from "@adit/transport";

/** A stream that asks for a `udp` service; the endpoint's IncomingService is one. */
export interface FlowRequest {
  readonly session: { readonly peer: { readonly id: string } };
  readonly name: string;
  acceptFlow(): Promise<Flow>;
  refuse(code: "service-unavailable" | "too-many", reason: string): Promise<void>;
}

export interface UdpServicesOptions extends UdpFlowsOptions {
  readonly maxFlowsPerPeer?: number;
}

/** Flows at once, and of one peer: twice what an agent keeps by itself. Each has a socket. More are refused with `too-many`. */
const MAX_FLOWS = 1024;
const MAX_FLOWS_PER_PEER = 512;
/** A service that nothing answers at is warned of once in so long. */
const WARN_INTERVAL_MS = 10_000;

/** One flow of a peer's and the socket that speaks to the service for it. */
interface ServedFlow {
  readonly key: string;
  readonly peerId: string;
  readonly exposure: Exposure;
  readonly carried: CarriedFlow;
  readonly socket: UdpSocket;
  readonly to: SocketAddress;
  outgoing: Outgoing[];
}

/** Gives each flow a UDP socket of its own towards the service, and carries datagrams between the two. */
export class UdpServices {
  readonly #options: UdpServicesOptions;
  readonly #clock: Clock;
  readonly #table: FlowTable<ServedFlow>;
  readonly #idle: IdleTimer;
  /** Those that are being opened too. */
  readonly #flowsOf = new Map<string, number>();
  readonly #warnedAt = new Map<string, Millis>();
  #flows = 0;
  #nextKey = 0;

  constructor(options: UdpServicesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? monotonicClock;
    this.#table = new FlowTable({ maxFlows: options.maxFlows ?? MAX_FLOWS, idleMs: options.idleMs });
    this.#idle = new IdleTimer(
      () => this.#clock.now(),
      () => this.expire(),
    );
  }

  /** Until the flow is open, or was refused. Never rejects. */
  async serve(request: FlowRequest, exposure: Exposure): Promise<void> {
    const peerId = request.session.peer.id;
    const { maxFlows = MAX_FLOWS, maxFlowsPerPeer = MAX_FLOWS_PER_PEER, log } = this.#options;
    const ofPeer = this.#flowsOf.get(peerId) ?? 0;
    if (this.#flows >= maxFlows || ofPeer >= maxFlowsPerPeer) {
      log.warn("too-many-flows", { peerId, service: exposure.service, flows: this.#flows, flowsOfPeer: ofPeer });
      return request.refuse("too-many", `this connector has as many UDP flows as it takes`);
    }
    this.#count(peerId, 1);
    let isOpen = false;
    try {
      isOpen = await this.#open(request, exposure);
    } finally {
      if (!isOpen) this.#count(peerId, -1);
    }
  }

  /** Closes the flows that were idle for too long. */
  expire(): void {
    for (const served of this.#table.takeIdle(this.#clock.now())) this.#end(served, "idle");
    this.#idle.arm(this.#table.nextIdleAt);
  }

  /** Closes the flows that are left. */
  close(): void {
    this.#idle.stop();
    for (const served of this.#table.clear()) this.#end(served, "the connector is ending");
  }

  async #open(request: FlowRequest, exposure: Exposure): Promise<boolean> {
    const handlers = {
      onBatch: (_batch: readonly Incoming[]): void => {},
      onDrain,
      onIcmpError: (_code: string): void => {},
    };
    const way = await this.#reach(request, exposure, handlers);
    if (!way) return false;
    let flow: Flow;
    try {
      flow = await request.acceptFlow();
    } catch (error) {
      // The peer gave up meanwhile.
      this.#options.log.debug("flow-gone", { service: exposure.service, reason: sentenceOf(error) });
      way.socket.close();
      return false;
    }
    const { datagrams, log } = this.#options;
    const peerId = request.session.peer.id;
    const carried = new CarriedFlow({ flow, peerId, service: exposure.service, datagrams, log });
    const served = this.#add({ ...way, carried, exposure, peerId });
    handlers.onBatch = (batch) => this.#fromService(served, batch);
    handlers.onIcmpError = (code) => this.#noteUnreachable(served, code);
    flow.onDatagram = (payload) => this.#fromPeer(served, payload);
    flow.onClosed = (error) => {
      if (this.#table.delete(served.key, served)) this.#end(served, error ? sentenceOf(error) : "closed by the agent");
    };
    return true;
  }

  /** A socket towards the service; null when the request was refused for want of one. */
  async #reach(
    request: FlowRequest,
    exposure: Exposure,
    handlers: UdpHandlers,
  ): Promise<Pick<ServedFlow, "socket" | "to"> | null> {
    try {
      const to = await resolve(exposure);
      const socket = await bindUdp({ address: SocketAddress.of(to.family === 4 ? "0.0.0.0" : "::", 0), handlers });
      return { socket, to };
    } catch (error) {
      const reason = sentenceOf(error);
      const { service } = exposure;
      const address = `${exposure.host}:${exposure.port}`;
      const message = `${service}: no way to ${address}: ${reason}`;
      this.#options.log.warn("service-unavailable", {
        peerId: request.session.peer.id,
        service,
        address,
        reason,
        message,
      });
      // Where the service stands is not the peer's business.
      await request.refuse("service-unavailable", `${service} cannot be reached: ${codeOf(error) ?? "failed"}`);
      return null;
    }
  }

  #add(parts: Omit<ServedFlow, "key" | "outgoing">): ServedFlow {
    const served: ServedFlow = { ...parts, key: String(this.#nextKey++), outgoing: [] };
    this.#table.add(this.#clock.now(), served.key, served); // there is room: `serve` counts
    this.#idle.arm(this.#table.nextIdleAt);
    return served;
  }

  /** What comes in one turn of the event loop goes to the service in one call. */
  #fromPeer(served: ServedFlow, payload: Uint8Array): void {
    this.#table.use(this.#clock.now(), served.key);
    served.carried.noteReceived(payload);
    if (served.outgoing.push({ to: served.to, data: payload }) === 1) queueMicrotask(() => this.#flush(served));
  }

  #flush(served: ServedFlow): void {
    const batch = served.outgoing;
    served.outgoing = [];
    const left = batch.length - served.socket.send(batch);
    if (left > 0) this.#options.datagrams.dropped.add("local-full", left);
  }

  #fromService(served: ServedFlow, batch: readonly Incoming[]): void {
    this.#table.use(this.#clock.now(), served.key);
    for (const { data, from } of batch) {
      if (from.equals(served.to)) served.carried.send(data);
      else this.#options.datagrams.dropped.add("stranger");
    }
  }

  /** ICMP says that nothing takes datagrams there. The flow stays: the service may come back, as a restarted name server does. */
  #noteUnreachable(served: ServedFlow, code: string): void {
    const { datagrams, log } = this.#options;
    datagrams.dropped.add("unreachable");
    const { service } = served.exposure;
    const now = this.#clock.now();
    if (now < (this.#warnedAt.get(service) ?? Number.NEGATIVE_INFINITY) + WARN_INTERVAL_MS) return;
    this.#warnedAt.set(service, now); // as many as there are services
    const address = served.to.key;
    const message = `${service}: nothing takes datagrams at ${address} (${code}); is the service running?`;
    log.warn("service-unavailable", { peerId: served.peerId, service, address, reason: "unreachable", code, message });
  }

  /** It is out of the table. */
  #end(served: ServedFlow, reason: string): void {
    served.carried.end(reason);
    served.socket.close();
    this.#count(served.peerId, -1);
  }

  #count(peerId: string, by: 1 | -1): void {
    this.#flows += by;
    const ofPeer = (this.#flowsOf.get(peerId) ?? 0) + by;
    if (ofPeer > 0) this.#flowsOf.set(peerId, ofPeer);
    else this.#flowsOf.delete(peerId);
  }
}

/** What the system did not take was dropped. */
const onDrain = (): void => {};

async function resolve({ host, port }: Exposure): Promise<SocketAddress> {
  if (parseIp(host)) return SocketAddress.of(host, port);
  const { address } = await lookup(host);
  return SocketAddress.of(address, port);
}
