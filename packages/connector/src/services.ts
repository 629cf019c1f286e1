import { connect, type Socket } from "node:net";
import { type Logger, type Millis, monotonicClock } from "@adit/core";
import { type ByteStream, codeOf, ExitError, type Exposure, type Streams, sentenceOf } from "@adit/program";
import type { FlowRequest, UdpServices } from "./udp-services.ts";

/** A stream that asks for a service; the endpoint's IncomingService is one. */
export interface ServiceRequest extends Pick<FlowRequest, "session" | "name" | "acceptFlow"> {
  readonly protocol: "tcp" | "udp";
  accept(): Promise<ByteStream>;
  refuse(code: "service-unknown" | "service-unavailable" | "too-many", reason: string): Promise<void>;
}

/** The TCP server behind a service must take the connection within this time, ms. */
const CONNECT_TIMEOUT_MS = 5000;

/**
 * TCP connections to services at once, those that are being made too, and of one peer, whatever its sessions: as many as one of them has
 * streams. Each has a descriptor, and where those are used up nobody is served. More are refused with `too-many`.
 */
const MAX_CONNECTIONS = 8192;
const MAX_CONNECTIONS_PER_PEER = 1024;
/** That is warned of once in so long. */
const WARN_INTERVAL_MS = 10_000;

/** How the servers behind the services are reached; a test brings its own. */
export interface Dialing {
  readonly timeoutMs?: number;
  readonly maxConnections?: number;
  readonly maxConnectionsPerPeer?: number;
  readonly connect?: typeof connect;
}

const PROTOCOLS = ["tcp", "udp"] as const;

/**
 * The exposed services: each request becomes a TCP connection to the server behind the service, or a flow of datagrams, or a refusal that
 * says why not. One name may stand for a TCP and a UDP service, as with DNS.
 */
export class Services {
  /** By protocol and name. */
  readonly #exposures = new Map<string, Exposure>();
  readonly #streams: Streams;
  readonly #udp: UdpServices;
  readonly #log: Logger;
  readonly #dialing: Dialing;
  readonly #sockets = new Set<Socket>();
  readonly #connectionsOf = new Map<string, number>();
  #connections = 0;
  #warnedAt: Millis = Number.NEGATIVE_INFINITY;

  /** @throws ExitError `usage` when two services of one protocol have the same name. */
  constructor(exposures: readonly Exposure[], streams: Streams, udp: UdpServices, log: Logger, dialing: Dialing = {}) {
    for (const exposure of exposures) {
      const { protocol, service } = exposure;
      if (this.#find(protocol, service)) {
        throw new ExitError("usage", `--expose names the ${protocol} service ${service} twice`);
      }
      this.#exposures.set(`${protocol}/${service}`, exposure);
    }
    this.#streams = streams;
    this.#udp = udp;
    this.#log = log;
    this.#dialing = dialing;
  }

  has(service: string): boolean {
    return PROTOCOLS.some((protocol) => this.#find(protocol, service));
  }

  /** Until the stream has ended or was refused. Never rejects. */
  async serve(request: ServiceRequest): Promise<void> {
    const { name, protocol } = request;
    const peerId = request.session.peer.id;
    if (!this.has(name)) {
      this.#log.warn("service-refused", {
        peerId,
        service: name,
        reason: "unknown",
        message: `a peer asked for ${name}, which is not exposed`,
      });
      return request.refuse(
        "service-unknown",
        `this connector exposes no service named ${name}; on its host, add --expose ${name}=${protocol}://HOST:PORT`,
      );
    }
    const exposure = this.#find(protocol, name);
    if (!exposure) {
      const is = protocol === "tcp" ? "a UDP service: --local udp:PORT=" : "a TCP service: --local PORT=";
      return request.refuse("service-unavailable", `${name} is ${is}${name} leads to it`);
    }
    if (protocol === "udp") return this.#udp.serve(request, exposure);
    if (!this.#hasRoomFor(peerId))
      return request.refuse("too-many", "this connector has as many connections as it takes");
    this.#count(peerId, 1);
    try {
      await this.#serveTcp(request, exposure);
    } finally {
      this.#count(peerId, -1);
    }
  }

  async #serveTcp(request: ServiceRequest, exposure: Exposure): Promise<void> {
    const { name } = request;
    const peerId = request.session.peer.id;
    let socket: Socket;
    try {
      socket = await this.#dial(exposure);
    } catch (error) {
      const reason = dialFailure(error);
      const address = `${exposure.host}:${exposure.port}`;
      const message = `${name}: nothing answers at ${address}: ${reason}`;
      this.#log.warn("service-unavailable", { peerId, service: name, address, reason, message });
      // Where the service stands is not the peer's business.
      return request.refuse("service-unavailable", `${name} does not answer: ${reason}`);
    }
    await this.#carry(socket, request);
  }

  /** Resets the connections that are left, and closes the flows. */
  reset(): void {
    this.#udp.close();
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  #find(protocol: "tcp" | "udp", service: string): Exposure | null {
    return this.#exposures.get(`${protocol}/${service}`) ?? null;
  }

  #hasRoomFor(peerId: string): boolean {
    const { maxConnections = MAX_CONNECTIONS, maxConnectionsPerPeer = MAX_CONNECTIONS_PER_PEER } = this.#dialing;
    const ofPeer = this.#connectionsOf.get(peerId) ?? 0;
    if (this.#connections < maxConnections && ofPeer < maxConnectionsPerPeer) return true;
    const now = monotonicClock.now();
    if (now >= this.#warnedAt + WARN_INTERVAL_MS) {
      this.#warnedAt = now;
      this.#log.warn("too-many-connections", { peerId, connections: this.#connections, connectionsOfPeer: ofPeer });
    }
    return false;
  }

  #count(peerId: string, by: 1 | -1): void {
    this.#connections += by;
    const ofPeer = (this.#connectionsOf.get(peerId) ?? 0) + by;
    if (ofPeer > 0) this.#connectionsOf.set(peerId, ofPeer);
    else this.#connectionsOf.delete(peerId);
  }

  #dial({ host, port }: Exposure): Promise<Socket> {
    const { timeoutMs = CONNECT_TIMEOUT_MS, connect: dial = connect } = this.#dialing;
    return new Promise((resolve, reject) => {
      const socket = dial({ host, port, allowHalfOpen: true });
      const late = new Error(`no answer within ${timeoutMs / 1000} s`);
      const timer = setTimeout(() => socket.destroy(late), timeoutMs);
      const onError = (error: Error): void => {
        clearTimeout(timer);
        reject(error);
      };
      socket.once("error", onError);
      socket.once("connect", () => {
        clearTimeout(timer);
        socket.off("error", onError);
        socket.on("error", () => {}); // whoever carries it hears of it too; alone it must not end the program
        resolve(socket);
      });
    });
  }

  async #carry(socket: Socket, request: ServiceRequest): Promise<void> {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    let stream: ByteStream;
    try {
      stream = await request.accept();
    } catch (error) {
      // The peer gave up while the service was being reached.
      this.#log.debug("stream-gone", { service: request.name, reason: sentenceOf(error) });
      socket.resetAndDestroy();
      return;
    }
    await this.#streams.carry(socket, stream, { peerId: request.session.peer.id, service: request.name });
  }
}

const DIAL_WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  EHOSTUNREACH: "no route to the host",
  ENETUNREACH: "no route to the network",
  ENOTFOUND: "the host name is unknown",
  EAI_AGAIN: "the host name could not be resolved",
  ETIMEDOUT: "no answer",
};

function dialFailure(error: unknown): string {
  // Several addresses were tried: the first failure stands for all.
  const first = error instanceof AggregateError ? error.errors[0] : error;
  return DIAL_WORDS[codeOf(first) ?? ""] ?? sentenceOf(first);
}
