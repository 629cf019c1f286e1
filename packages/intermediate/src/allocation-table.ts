/** All allocations of a relay by client, by port and by relay socket; which port a new one gets, and how many anybody may have. */
import { Counters, type Logger, type Millis, type Random, randomInt, SocketAddress, type SocketId } from "@adit/core";
import { Accounts } from "./accounts.ts";
import { type AllocateRequest, Allocation, type RelayId } from "./allocation.ts";
import type { RelayPolicy, TurnOwner } from "./relay-policy.ts";

export interface TurnLimits {
  /** Allocations at one time; past it 508. */
  readonly allocations: number;
  /** Allocations per foreign user or REST id (486): one account may stand for a whole service. */
  readonly perForeign: number;
  /** Allocations per client IP address (486): keys cost nothing, addresses do. */
  readonly perClientIp: number;
}

export const TURN_LIMITS: TurnLimits = { allocations: 4096, perForeign: 1024, perClientIp: 512 };

/** What the driver is asked to do with relay sockets. */
export type TurnCommand =
  | { readonly type: "bind"; readonly relay: RelayId; readonly address: SocketAddress }
  | { readonly type: "close"; readonly relay: RelayId };

export interface AllocationTableOptions {
  /** Where relay sockets are bound. */
  readonly bindIp: string;
  /** The IP address in XOR-RELAYED-ADDRESS. */
  readonly relayedIp: string;
  /** `--relay-ports`, both included. */
  readonly ports: { readonly first: number; readonly last: number };
  readonly limits: TurnLimits;
  /** What a key may have and what it has used. */
  readonly accounts?: Accounts | undefined;
  readonly policy: RelayPolicy;
  readonly random: Random;
  readonly log: Logger;
}

/** How often expired allocations are looked for. Whatever uses one looks at its expiry itself. */
const SWEEP_MS = 1_000;
const DEEP_SWEEP_MS = 60_000;

/** Ports tried before an Allocate gets 508: in the default range the chance of so many taken ones in a row is nil. */
const MAX_BIND_TRIES = 16;

export type AllocationRefusal = "quota-allocations" | "ip-allocations" | "allocations" | "draining";

export class AllocationTable {
  /** Allocations that were refused. */
  readonly refusals = new Counters<AllocationRefusal>();
  readonly #accounts: Accounts;
  #closed = false;
  readonly #options: AllocationTableOptions;
  /** By 5-tuple: our socket, then the client's address. */
  readonly #byClient = new Map<SocketId, Map<string, Allocation>>();
  readonly #byRelay = new Map<RelayId, Allocation>();
  /** Ports in use, those that are being bound included. */
  readonly #byPort = new Map<number, Allocation>();
  readonly #perOwner = new Map<string, number>();
  readonly #perClientIp = new Map<string, number>();
  readonly #commands: TurnCommand[] = [];
  #lastRelay: RelayId = 0;
  #sweepAt: Millis | null = null;
  #deepSweepAt: Millis = 0;

  constructor(options: AllocationTableOptions) {
    this.#options = options;
    this.#accounts = options.accounts ?? new Accounts();
  }

  /** No new allocations from now on (508). */
  close(): void {
    this.#closed = true;
  }

  get size(): number {
    return this.#byRelay.size;
  }

  /** The allocation of this client on that socket of ours, if it has not expired. */
  of(now: Millis, socket: SocketId, client: SocketAddress): Allocation | null {
    const allocation = this.#byClient.get(socket)?.get(client.key);
    if (!allocation) return null;
    if (allocation.expiresAt > now) return allocation;
    this.remove(allocation, "expired");
    return null;
  }

  ofRelay(relay: RelayId): Allocation | undefined {
    return this.#byRelay.get(relay);
  }

  /** The live allocation with this port of the relayed IP. */
  ofPort(port: number): Allocation | undefined {
    const allocation = this.#byPort.get(port);
    return allocation?.state.kind === "live" ? allocation : undefined;
  }

  /** A new allocation, for which the driver is asked to bind a socket. `quota` is the client's bound, `full` the server's. */
  create(now: Millis, o: NewAllocation): "ok" | "quota" | "full" {
    const refusal = this.#deny(o);
    if (refusal) {
      this.refusals.add(refusal);
      return refusal === "quota-allocations" || refusal === "ip-allocations" ? "quota" : "full";
    }
    const port = this.#freePort(null, o.request.evenPort);
    if (port === null) {
      this.refusals.add("allocations");
      return "full";
    }
    const allocation = new Allocation({
      relay: ++this.#lastRelay,
      client: o.client,
      clientSocket: o.clientSocket,
      owner: o.owner,
      account: this.#accounts.of(o.owner.key),
      transaction: o.transaction,
      state: { kind: "binding", port, tries: 1, request: o.request },
      expiresAt: now + o.request.lifetimeMs,
    });
    const clients = this.#byClient.get(o.clientSocket) ?? new Map<string, Allocation>();
    this.#byClient.set(o.clientSocket, clients.set(o.client.key, allocation));
    this.#byRelay.set(allocation.relay, allocation);
    count(this.#perOwner, o.owner.key, 1);
    count(this.#perClientIp, o.client.ip, 1);
    this.#askToBind(allocation, port);
    this.#sweepAt ??= now + SWEEP_MS;
    return "ok";
  }

  #deny({ owner, client }: NewAllocation): AllocationRefusal | null {
    const { limits } = this.#options;
    if (this.#closed) return "draining";
    const perOwner = owner.kind === "peer" ? this.#accounts.limits.allocationsPerKey : limits.perForeign;
    if ((this.#perOwner.get(owner.key) ?? 0) >= perOwner) return "quota-allocations";
    if ((this.#perClientIp.get(client.ip) ?? 0) >= limits.perClientIp) return "ip-allocations";
    return this.#byRelay.size >= limits.allocations ? "allocations" : null;
  }

  /** The socket is there. */
  setLive(allocation: Allocation, relayed: SocketAddress, socket: SocketId, response: Uint8Array): void {
    allocation.state = { kind: "live", relayed, socket, response };
    this.#options.policy.invalidate();
    this.#options.log.debug("allocation-created", {
      client: allocation.client.key,
      relayed: relayed.key,
      owner: allocation.owner.key,
    });
  }

  /** The port was not to be had, perhaps another program has it: the next one is tried. False when it is time to give up. */
  tryNextPort(allocation: Allocation): boolean {
    if (allocation.state.kind !== "binding") return true;
    const { port, tries, request } = allocation.state;
    const next = tries < MAX_BIND_TRIES ? this.#freePort(port, request.evenPort) : null;
    if (next === null) return false;
    this.#byPort.delete(port);
    allocation.state = { kind: "binding", port: next, tries: tries + 1, request };
    this.#askToBind(allocation, next);
    return true;
  }

  /** A socket that came too late. */
  closeSocket(relay: RelayId): void {
    this.#commands.push({ type: "close", relay });
  }

  remove(allocation: Allocation, reason: string): void {
    const { relay, client, clientSocket, owner } = allocation;
    if (!this.#byRelay.delete(relay)) return;
    this.#byClient.get(clientSocket)?.delete(client.key);
    this.#byPort.delete(portOf(allocation));
    count(this.#perOwner, owner.key, -1);
    count(this.#perClientIp, client.ip, -1);
    this.#commands.push({ type: "close", relay });
    this.#options.policy.invalidate();
    this.#options.log.debug("allocation-removed", { client: client.key, owner: owner.key, reason });
  }

  removeAll(reason: string): void {
    for (const allocation of [...this.#byRelay.values()]) this.remove(allocation, reason);
  }

  get sweepAt(): Millis | null {
    return this.#sweepAt;
  }

  /** Removes what has expired. */
  sweep(now: Millis): void {
    if (this.#sweepAt === null || now < this.#sweepAt) return;
    const deep = now >= this.#deepSweepAt;
    if (deep) this.#deepSweepAt = now + DEEP_SWEEP_MS;
    for (const allocation of [...this.#byRelay.values()]) {
      if (allocation.expiresAt <= now) this.remove(allocation, "expired");
      else if (deep) allocation.sweep(now);
    }
    this.#sweepAt = this.#byRelay.size > 0 ? now + SWEEP_MS : null;
  }

  pollCommand(): TurnCommand | null {
    return this.#commands.shift() ?? null;
  }

  #askToBind(allocation: Allocation, port: number): void {
    this.#byPort.set(port, allocation);
    const address = SocketAddress.of(this.#options.bindIp, port);
    this.#commands.push({ type: "bind", relay: allocation.relay, address });
  }

  /**
   * A port that no allocation uses, from a random one upwards: RFC 8656 §7.2 wants relayed ports hard to guess. After a failure
   * the search goes on behind the port that failed.
   */
  #freePort(after: number | null, even: boolean): number | null {
    const { first, last } = this.#options.ports;
    const size = last - first + 1;
    const start = after === null ? randomInt(this.#options.random, size) : after - first + 1;
    for (let i = 0; i < size; i++) {
      const port = first + ((start + i) % size);
      if (!this.#byPort.has(port) && !(even && port % 2 !== 0)) return port;
    }
    return null;
  }
}

export interface NewAllocation {
  readonly client: SocketAddress;
  readonly clientSocket: SocketId;
  readonly owner: TurnOwner;
  readonly transaction: string;
  readonly request: AllocateRequest;
}

const portOf = ({ state }: Allocation): number => (state.kind === "live" ? state.relayed.port : state.port);

function count(counts: Map<string, number>, key: string, by: 1 | -1): void {
  const next = (counts.get(key) ?? 0) + by;
  if (next > 0) counts.set(key, next);
  else counts.delete(key);
}
