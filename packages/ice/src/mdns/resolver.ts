import { type BindOptions, createSocket, type Socket } from "node:dgram";
import { type Logger, type Millis, type Random, randomInt, SocketAddress } from "@adit/core";
import { decodeResponse, encodeQueries, isMdnsName } from "./message.ts";

/** RFC 6762 §3: "the IPv4 link-local multicast address 224.0.0.251", port 5353. */
const MDNS_GROUP = SocketAddress.of("224.0.0.251", 5353);
/** Names that are asked for at once; more are not resolved: an agent makes one for each of its addresses. */
export const MAX_MDNS_QUERIES = 16;
/** Who waits for one name; more are told that there is none: a name stands in one candidate, or in a few. */
export const MAX_MDNS_WAITERS = 16;
/** RFC 6762 §5.2: "the interval between the first two queries MUST be at least one second", then growing by a factor of two. */
const QUERY_TIMES_MS: readonly Millis[] = [0, 1_000, 3_000];
const GIVE_UP_MS: Millis = 6_000;

export interface MdnsResolverOptions {
  /** Addresses of ours: a query leaves by the interface of each IPv4 one. */
  readonly localIps: () => readonly string[];
  readonly random: Random;
  readonly log: Logger;
  /** {@link MDNS_GROUP} unless given, which is not listened to then. */
  readonly group?: SocketAddress;
}

interface Query {
  readonly name: string;
  readonly id: number;
  readonly waiters: ((ip: string | null) => void)[];
  readonly timers: ReturnType<typeof setTimeout>[];
}

/**
 * Resolves the names that other agents hide their addresses behind. It asks from ports of its own, so that answers come by unicast (RFC
 * 6762 §6.7), and listens to the group for who answers there all the same. Its sockets are open while something is asked.
 */
export class MdnsResolver {
  readonly #options: MdnsResolverOptions;
  /** By name in lower case; at most {@link MAX_MDNS_QUERIES}. */
  readonly #queries = new Map<string, Query>();
  readonly #askers: Socket[] = [];
  #listener: Socket | null = null;
  #closed = false;

  constructor(options: MdnsResolverOptions) {
    this.#options = options;
  }

  /** The one address of a name; null: there is none or more than one, nobody answers, or too much is asked for at once. */
  resolve(name: string): Promise<string | null> {
    const key = name.toLowerCase();
    if (this.#closed || !isMdnsName(key)) return Promise.resolve(null);
    return new Promise((resolve) => {
      const known = this.#queries.get(key);
      const isFull = known ? known.waiters.length >= MAX_MDNS_WAITERS : this.#queries.size >= MAX_MDNS_QUERIES;
      if (isFull) resolve(null);
      else if (known) known.waiters.push(resolve);
      else this.#ask(key, resolve);
    });
  }

  /** Gives up whatever is asked. */
  close(): void {
    this.#closed = true;
    for (const query of this.#queries.values()) this.#conclude(query, null);
  }

  #ask(name: string, waiter: (ip: string | null) => void): void {
    const query: Query = { name, id: randomInt(this.#options.random, 0x10000), waiters: [waiter], timers: [] };
    this.#queries.set(name, query);
    if (this.#queries.size === 1) this.#open();
    const messages = encodeQueries(query.id, name);
    const send = (): void => {
      for (const data of messages) this.#send(data);
    };
    for (const ms of QUERY_TIMES_MS) query.timers.push(setTimeout(send, ms));
    query.timers.push(setTimeout(() => this.#conclude(query, null), GIVE_UP_MS));
  }

  #open(): void {
    const ips = this.#options.localIps().filter((ip) => !ip.includes(":"));
    for (const ip of ips) {
      const socket = this.#bind(createSocket("udp4"), { address: ip, port: 0 }, "asks", () => {
        socket.setMulticastInterface(ip);
        socket.setMulticastTTL(255); // RFC 6762 §11
      });
      this.#askers.push(socket);
    }
    if (this.#options.group) return;
    const { ip: group, port } = MDNS_GROUP;
    const listener = this.#bind(createSocket({ type: "udp4", reuseAddr: true }), { port }, "listens", () => {
      for (const ip of ips) listener.addMembership(group, ip);
    });
    this.#listener = listener;
  }

  /** Whatever goes wrong is silence: the name is not resolved then. */
  #bind(socket: Socket, to: BindOptions, kind: "asks" | "listens", onBound: () => void): Socket {
    const { log } = this.#options;
    const complain = (error: unknown): void => log.debug("ice-mdns-error", { kind, message: String(error) });
    socket.on("error", complain);
    socket.on("message", (data, { port }) => this.#receive(data, port, kind));
    socket.bind(to, () => {
      try {
        onBound();
      } catch (error) {
        complain(error);
      }
    });
    return socket;
  }

  #send(data: Uint8Array): void {
    const { group = MDNS_GROUP } = this.#options;
    for (const socket of this.#askers) {
      try {
        socket.send(data, group.port, group.ip, () => {}); // what does not leave is silence
      } catch (error) {
        this.#options.log.debug("ice-mdns-error", { message: String(error) });
      }
    }
  }

  /**
   * RFC 6762 §6: "The source UDP port in all Multicast DNS responses MUST be 5353". What comes by the group carries no ID (§18.1); what comes
   * by unicast repeats the query's (§6.7).
   */
  #receive(data: Uint8Array, fromPort: number, by: "asks" | "listens"): void {
    const { group = MDNS_GROUP } = this.#options;
    const response = fromPort === group.port ? decodeResponse(data) : null;
    if (!response) return;
    for (const [name, ips] of response.addresses) {
      const query = this.#queries.get(name);
      if (!query || (by === "asks" && query.id !== response.id)) continue;
      const [ip = null, another] = ips;
      // §3.2.2: "SHOULD ignore candidates where the hostname resolution returns more than one IP address".
      this.#conclude(query, another === undefined ? ip : null);
    }
  }

  #conclude(query: Query, ip: string | null): void {
    if (this.#queries.get(query.name) !== query) return;
    this.#queries.delete(query.name);
    for (const timer of query.timers) clearTimeout(timer);
    if (this.#queries.size === 0) {
      for (const socket of this.#askers.splice(0)) socket.close();
      this.#listener?.close();
      this.#listener = null;
    }
    this.#options.log.debug("ice-mdns-resolved", { name: query.name, found: ip !== null });
    for (const waiter of query.waiters) waiter(ip);
  }
}
