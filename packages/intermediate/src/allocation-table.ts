/** All allocations of a relay by client, by port and by relay socket; which port a new one gets, and how many anybody may have. */
import {
  Counters,
  equalSecret,
  type IpFamily,
  type Logger,
  type Millis,
  type Random,
  SocketAddress,
  type SocketId,
} from "@adit/core";
import { STUN_ERROR } from "@adit/ice";
import { Accounts } from "./accounts.ts";
import { type AllocateRequest, Allocation, Relay, type RelayId } from "./allocation.ts";
import { Holdings } from "./holdings.ts";
import { SourceCounts, sourceKey } from "./ip-limits.ts";
import type { RelayPolicy, TurnOwner } from "./relay-policy.ts";
import { RESERVATION_MS, type RelayedIp, RelayPorts, type Reservation } from "./relay-ports.ts";

export interface TurnLimits {
  /** Relayed addresses at one time; past it 508. By default as many as there are ports. */
  readonly allocations: number;
  /** Relayed addresses per foreign user or REST id (486): one account may stand for a whole service. */
  readonly perForeign: number;
}

export const TURN_LIMITS: TurnLimits = { allocations: Number.POSITIVE_INFINITY, perForeign: 1024 };

/** What the driver is asked to do with relay sockets. */
export type TurnCommand =
  | { readonly type: "bind"; readonly relay: RelayId; readonly address: SocketAddress }
  | { readonly type: "close"; readonly relay: RelayId };

export interface AllocationTableOptions {
  /** One or two, of different families. */
  readonly relayed: readonly RelayedIp[];
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

/** RFC 8489 §6.3.1: a server may keep a response for 40 s, for retransmissions of its request. */
const RETRANSMISSION_MS = 40_000;

/** Ports tried before an Allocate gets 508: in the default range the chance of so many taken ones in a row is nil. */
const MAX_BIND_TRIES = 16;

export type AllocationRefusal = "quota-allocations" | "ip-allocations" | "allocations" | "draining";

export class AllocationTable {
  /** Allocations that were refused. */
  readonly refusals = new Counters<AllocationRefusal>();
  readonly #holdings = new Holdings();
  readonly #accounts: Accounts;
  #closed = false;
  readonly #options: AllocationTableOptions;
  readonly #ports: Readonly<Partial<Record<IpFamily, RelayPorts>>>;
  /** By 5-tuple: our socket, then the client's address. */
  readonly #byClient = new Map<SocketId, Map<string, Allocation>>();
  readonly #allocations = new Set<Allocation>();
  readonly #relays = new Map<RelayId, Relay>();
  /** In the order in which they expire. Each counts against its owner's bound and holds a port, so there are no more than ports. */
  readonly #reservations = new Set<Reservation>();
  /** Relayed addresses and reservations. */
  readonly #perOwner = new Map<string, number>();
  /** Relayed addresses. */
  readonly #perClientIp = new SourceCounts();
  readonly #commands: TurnCommand[] = [];
  #lastRelay: RelayId = 0;
  #sweepAt: Millis | null = null;
  #deepSweepAt: Millis = 0;

  constructor(options: AllocationTableOptions) {
    const { relayed, ports, random } = options;
    this.#options = options;
    this.#accounts = options.accounts ?? new Accounts();
    this.#ports = Object.fromEntries(relayed.map((ip) => [ip.family, new RelayPorts(ip, ports, random)]));
  }

  /** No new allocations from now on (300 or 508). */
  close(): void {
    this.#closed = true;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  get size(): number {
    return this.#allocations.size;
  }

  /** Whether there are relayed addresses of this family. */
  has(family: IpFamily): boolean {
    return this.#ports[family] !== undefined;
  }

  /** The IP address of relayed addresses of this family. */
  relayedIp(family: IpFamily): string | undefined {
    return this.#ports[family]?.relayedIp;
  }

  /** The allocation of this client on that socket of ours, if it has not expired. */
  of(now: Millis, socket: SocketId, client: SocketAddress): Allocation | null {
    const allocation = this.#byClient.get(socket)?.get(client.key);
    if (!allocation) return null;
    if (allocation.expiresAt > now) return allocation;
    this.remove(allocation, "expired");
    return null;
  }

  ofRelay(relay: RelayId): Relay | undefined {
    return this.#relays.get(relay);
  }

  /** The relay behind a relayed address of ours. */
  relayAt(address: SocketAddress): Relay | undefined {
    return this.#ports[address.family]?.relayAt(address);
  }

  /** What was kept under this token; null when it is unknown, somebody else's or too old. */
  reservation(now: Millis, owner: TurnOwner, token: Uint8Array): Reservation | null {
    for (const one of this.#reservations) {
      if (one.owner === owner.key && one.expiresAt > now && equalSecret(one.token, token)) return one;
    }
    return null;
  }

  /** A new allocation, for which the driver is asked to bind sockets. `quota` is the client's bound, `full` the server's. */
  create(now: Millis, o: NewAllocation): "ok" | "quota" | "full" {
    const refusal = this.#deny(o);
    if (refusal) {
      this.refusals.add(refusal);
      return refusal === "quota-allocations" || refusal === "ip-allocations" ? "quota" : "full";
    }
    const allocation = new Allocation({
      client: o.client,
      clientSocket: o.clientSocket,
      owner: o.owner,
      account: this.#accounts.of(o.owner.key),
      holdings: this.#holdings,
      transaction: o.transaction,
      request: o.request,
      createdAt: now,
      expiresAt: now + o.request.lifetimeMs,
    });
    for (const family of o.request.families) this.#addRelay(now, allocation, family);
    if (allocation.relays.length < o.request.families.length) {
      for (const relay of allocation.relays) this.#removeRelay(relay);
      this.refusals.add("allocations");
      return "full";
    }
    const clients = this.#byClient.get(o.clientSocket) ?? new Map<string, Allocation>();
    this.#byClient.set(o.clientSocket, clients.set(o.client.key, allocation));
    this.#allocations.add(allocation);
    this.#sweepAt ??= now + SWEEP_MS;
    return "ok";
  }

  #deny({ owner, client, request }: NewAllocation): AllocationRefusal | null {
    const { limits } = this.#options;
    if (this.#closed) return "draining";
    const perOwner = owner.kind === "peer" ? this.#accounts.limits.allocationsPerKey : limits.perForeign;
    const relays = request.families.length;
    // A reserved port counts already.
    const held = typeof request.port === "object" ? 0 : relays + (request.port === "pair" ? 1 : 0);
    if ((this.#perOwner.get(owner.key) ?? 0) + held > perOwner) return "quota-allocations";
    const { allocationsPerIp } = this.#accounts.limits;
    if (!this.#perClientIp.hasRoom(sourceKey(client.ip), allocationsPerIp, relays)) return "ip-allocations";
    return this.#relays.size + relays > limits.allocations ? "allocations" : null;
  }

  /** All sockets of the allocation are there. */
  setLive(allocation: Allocation, response: Uint8Array): void {
    allocation.state = { kind: "live", response };
    this.#options.policy.invalidate();
    const relayed = allocation.relays.map(({ bound }) => bound?.address.key).join(" ");
    this.#tell(allocation, "allocation-created", { relayed });
  }

  /** The port was not to be had, perhaps another program has it: the next one is tried. False when it is time to give up. */
  tryNextPort(now: Millis, relay: Relay): boolean {
    const { allocation } = relay;
    if (allocation.state.kind !== "binding") return true;
    const want = allocation.state.request.port;
    const ports = this.#ports[relay.family];
    if (!ports || typeof want === "object" || relay.tries >= MAX_BIND_TRIES) return false;
    const next = ports.find(relay.port, want);
    if (next === null) return false;
    ports.release(relay.port);
    if (relay.reservation) this.#removeReservation(relay.reservation);
    this.#askToBind(now, relay, next);
    return true;
  }

  /** Gives up one of two relayed addresses of an allocation that is being made. */
  dropRelay(relay: Relay, reason: string): void {
    const { allocation } = relay;
    if (allocation.state.kind === "binding") {
      allocation.state.request.refused = { family: relay.family, code: STUN_ERROR.INSUFFICIENT_CAPACITY };
    }
    this.#removeRelay(relay);
    this.#options.log.debug("relayed-address-removed", { client: allocation.client.key, family: relay.family, reason });
  }

  /** A socket that came too late. */
  closeSocket(relay: RelayId): void {
    this.#commands.push({ type: "close", relay });
  }

  remove(allocation: Allocation, reason: string): void {
    if (!this.#allocations.delete(allocation)) return;
    const { client, clientSocket, sentBytes, receivedBytes } = allocation;
    this.#byClient.get(clientSocket)?.delete(client.key);
    for (const relay of allocation.relays) this.#removeRelay(relay);
    allocation.release();
    this.#tell(allocation, "allocation-removed", { sentBytes, receivedBytes, reason });
  }

  /** Of foreign clients there is no other trace; of our own peers signaling tells. */
  #tell({ client, owner }: Allocation, event: string, fields: Readonly<Record<string, string | number>>): void {
    const { log } = this.#options;
    log[owner.kind === "foreign" ? "info" : "debug"](event, { owner: owner.key, client: client.key, ...fields });
  }

  removeAll(reason: string): void {
    for (const allocation of [...this.#allocations]) this.remove(allocation, reason);
  }

  get sweepAt(): Millis | null {
    return this.#sweepAt;
  }

  /** Removes what has expired. */
  sweep(now: Millis): void {
    if (this.#sweepAt === null || now < this.#sweepAt) return;
    const deep = now >= this.#deepSweepAt;
    if (deep) this.#deepSweepAt = now + DEEP_SWEEP_MS;
    for (const allocation of [...this.#allocations]) {
      if (allocation.expiresAt <= now) this.remove(allocation, "expired");
      else if (deep) this.#sweepDeep(now, allocation);
    }
    for (const reservation of this.#reservations) {
      if (reservation.expiresAt > now) break;
      this.#removeReservation(reservation);
    }
    this.#sweepAt = this.#allocations.size + this.#reservations.size > 0 ? now + SWEEP_MS : null;
  }

  #sweepDeep(now: Millis, allocation: Allocation): void {
    allocation.sweep(now);
    const { state, createdAt } = allocation;
    if (state.kind === "live" && now - createdAt > RETRANSMISSION_MS) state.response = null;
  }

  pollCommand(): TurnCommand | null {
    return this.#commands.shift() ?? null;
  }

  /** Adds a relayed address of that family, unless no port is to be had. */
  #addRelay(now: Millis, allocation: Allocation, family: IpFamily): void {
    if (allocation.state.kind !== "binding") return;
    const want = allocation.state.request.port;
    const ports = this.#ports[family];
    const port = typeof want === "object" ? this.#redeem(now, allocation.owner, want.token) : ports?.find(null, want);
    if (!ports || port === null || port === undefined) return;
    const relay = new Relay(++this.#lastRelay, allocation, family, port);
    allocation.relays = [...allocation.relays, relay];
    this.#relays.set(relay.id, relay);
    count(this.#perOwner, allocation.owner.key, 1);
    this.#perClientIp.add(sourceKey(allocation.client.ip), 1);
    this.#askToBind(now, relay, port);
  }

  #removeRelay(relay: Relay): void {
    const { id, allocation, family, port } = relay;
    if (!this.#relays.delete(id)) return;
    allocation.relays = allocation.relays.filter((other) => other !== relay);
    this.#ports[family]?.release(port);
    count(this.#perOwner, allocation.owner.key, -1);
    this.#perClientIp.add(sourceKey(allocation.client.ip), -1);
    // Nobody was told of its token yet.
    if (allocation.state.kind === "binding" && relay.reservation) this.#removeReservation(relay.reservation);
    this.#commands.push({ type: "close", relay: id });
    this.#options.policy.invalidate();
  }

  #askToBind(now: Millis, relay: Relay, port: number): void {
    const { allocation, family } = relay;
    const ports = this.#ports[family];
    if (!ports) return;
    relay.port = port;
    relay.tries++;
    ports.hold(port, relay);
    const pair = allocation.state.kind === "binding" && allocation.state.request.port === "pair";
    relay.reservation = pair ? this.#reserve(now, family, port + 1, allocation.owner.key) : null;
    this.#commands.push({ type: "bind", relay: relay.id, address: SocketAddress.of(ports.bindIp, port) });
  }

  #reserve(now: Millis, family: IpFamily, port: number, owner: string): Reservation {
    const token = this.#options.random.bytes(8);
    const reservation: Reservation = { token, family, port, owner, expiresAt: now + RESERVATION_MS };
    this.#reservations.add(reservation);
    this.#ports[family]?.hold(port, reservation);
    count(this.#perOwner, owner, 1);
    this.#sweepAt ??= now + SWEEP_MS;
    return reservation;
  }

  #removeReservation(reservation: Reservation): void {
    if (!this.#reservations.delete(reservation)) return;
    this.#ports[reservation.family]?.release(reservation.port);
    count(this.#perOwner, reservation.owner, -1);
  }

  #redeem(now: Millis, owner: TurnOwner, token: Uint8Array): number | null {
    const reservation = this.reservation(now, owner, token);
    if (!reservation) return null;
    this.#removeReservation(reservation);
    return reservation.port;
  }
}

export interface NewAllocation {
  readonly client: SocketAddress;
  readonly clientSocket: SocketId;
  readonly owner: TurnOwner;
  readonly transaction: string;
  readonly request: AllocateRequest;
}

function count(counts: Map<string, number>, key: string, by: 1 | -1): void {
  const next = (counts.get(key) ?? 0) + by;
  if (next > 0) counts.set(key, next);
  else counts.delete(key);
}
