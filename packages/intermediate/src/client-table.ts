/** The clients of signaling: which of them something happened to, who has something to send, whose time has come, who holds too much. */
import type { Deadline, Millis, Transmit } from "@adit/core";
import type { QuicConnection } from "@adit/quic";
import { Deadlines } from "./deadlines.ts";
import { QuicCarrier } from "./quic-carrier.ts";
import type { ConnectionId } from "./session-table.ts";
import type { SignalingClientConnection } from "./signaling-client.ts";
import { SlowClients } from "./slow-clients.ts";

export class ClientTable {
  readonly #byId = new Map<ConnectionId, SignalingClientConnection>();
  readonly #byQuic = new Map<QuicConnection, SignalingClientConnection>();
  /** Those whose certificate is not known yet, the oldest first. */
  readonly #handshaking = new Set<SignalingClientConnection>();
  /** Those that something happened to since they were last looked at; and those that may have packets to send. */
  #dirty = new Set<SignalingClientConnection>();
  readonly #sending = new Set<SignalingClientConnection>();
  readonly #deadlines = new Deadlines<SignalingClientConnection>();
  readonly #slow: SlowClients<SignalingClientConnection>;

  /** `maxHeldBytes`: what clients may hold that read or speak slowly, in all. */
  constructor(maxHeldBytes: number | undefined) {
    this.#slow = new SlowClients(maxHeldBytes);
  }

  get size(): number {
    return this.#byId.size;
  }

  /** What is kept for clients that read or speak slowly. */
  get heldBytes(): number {
    return this.#slow.bytes;
  }

  add(client: SignalingClientConnection): void {
    this.#byId.set(client.id, client);
    this.#handshaking.add(client);
    if (client.carrier instanceof QuicCarrier) this.#byQuic.set(client.carrier.quic, client);
  }

  get(id: ConnectionId): SignalingClientConnection | undefined {
    return this.#byId.get(id);
  }

  of(quic: QuicConnection): SignalingClientConnection | undefined {
    return this.#byQuic.get(quic);
  }

  all(): Iterable<SignalingClientConnection> {
    return this.#byId.values();
  }

  /** Something happened to it, or is to be done for it. */
  touch(client: SignalingClientConnection): void {
    this.#dirty.add(client);
  }

  /** Its handshake is over, one way or the other. */
  endHandshake(client: SignalingClientConnection): void {
    this.#handshaking.delete(client);
  }

  /** Who has been at its handshake for longest. */
  get oldestHandshake(): SignalingClientConnection | null {
    return this.#handshaking.values().next().value ?? null;
  }

  /** Takes out those that were touched. */
  takeTouched(): ReadonlySet<SignalingClientConnection> {
    const dirty = this.#dirty;
    this.#dirty = new Set();
    return dirty;
  }

  /** All was done for it but sending. */
  settle(client: SignalingClientConnection): void {
    this.#slow.note(client, client.origin, client.heldBytes);
    this.#sending.add(client);
  }

  /** Takes out those that have to make room for others. */
  takeExcess(): readonly SignalingClientConnection[] {
    return this.#slow.takeExcess();
  }

  forget(client: SignalingClientConnection): void {
    this.#handshaking.delete(client);
    this.#slow.note(client, client.origin, 0);
    this.#deadlines.set(client, null);
    this.#byId.delete(client.id);
    if (client.carrier instanceof QuicCarrier) this.#byQuic.delete(client.carrier.quic);
  }

  /** The next packet; `transmit` makes that of one connection. Who has none left has its deadline set. */
  pollTransmit(now: Millis, transmit: (quic: QuicConnection) => Transmit | null): Transmit | null {
    for (const client of this.#sending) {
      const packet = client.carrier instanceof QuicCarrier ? transmit(client.carrier.quic) : null;
      if (packet) return packet;
      this.#sending.delete(client);
      // One that was forgotten in this turn has sent its last.
      if (this.#byId.has(client.id)) this.#deadlines.set(client, client.pollTimeout(now)?.at ?? null);
    }
    return null;
  }

  /** Takes out those whose time has come. */
  takeDue(now: Millis): SignalingClientConnection[] {
    return this.#deadlines.take(now).filter((client) => {
      const due = client.pollTimeout(now);
      if (due && due.at <= now) return true;
      this.#deadlines.set(client, due?.at ?? null);
      return false;
    });
  }

  pollTimeout(): Deadline | null {
    const { next } = this.#deadlines;
    return next === null ? null : { at: next, reason: "signaling clients" };
  }
}
