import type { Millis, SocketAddress, SocketId } from "@adit/core";

/** A gate closes when consent expires. "consent expires after 30 seconds" (RFC 7675 §5.1). */
export const GATE_LIFETIME_MS = 30_000;
/** Until our own check was answered, at most this many times what was received goes back (RFC 9000 §8.1 has the same limit). */
const AMPLIFICATION_LIMIT = 3;
/**
 * The controlling side's QUIC Initial leaves together with its first check, before anything was received: this many bytes,
 * two full datagrams and a retransmission of each, may go to an address that has not answered, once per session.
 */
export const INITIAL_ALLOWANCE_BYTES = 4 * 1200;
/** Per session; when reached, the gate that was refreshed longest ago closes. */
export const MAX_GATES_PER_SESSION = 100;

/** Where a datagram came from or goes to: our socket and the other side's address. */
export type GateKey = string;

export const gateKey = (socket: SocketId, remote: SocketAddress): GateKey => `${socket}|${remote.key}`;

interface Gate {
  /** Closed from then on, ms. */
  expiresAt: Millis;
  /** Our own check was answered from there: sending is unlimited. */
  answered: boolean;
  receivedBytes: number;
  sentBytes: number;
}

/**
 * Which addresses one session takes QUIC packets from and sends them to.
 *
 * Receive: open once an authenticated check request, or the answer to our own check, came from there. Send: at most
 * {@link AMPLIFICATION_LIMIT} times what came, until our own check was answered.
 */
export class Gates {
  readonly #gates = new Map<GateKey, Gate>();
  #allowance: { readonly key: GateKey; bytes: number } | null = null;

  get size(): number {
    return this.#gates.size;
  }

  keys(): IterableIterator<GateKey> {
    return this.#gates.keys();
  }

  /** An authenticated check request of `bytes` bytes came from there. It opens receiving but is no consent to send (RFC 7675 §5.1). */
  handleRequest(now: Millis, key: GateKey, bytes: number): void {
    const gate = this.#refresh(now, key);
    gate.receivedBytes += bytes;
  }

  /** Our own check was answered from there. */
  handleAnswer(now: Millis, key: GateKey): void {
    this.#refresh(now, key).answered = true;
  }

  /** Whether a packet of `bytes` bytes from there may reach QUIC; it is counted towards what may go back. */
  receive(now: Millis, key: GateKey, bytes: number): boolean {
    const gate = this.#open(now, key);
    if (!gate) return false;
    gate.receivedBytes += bytes;
    return true;
  }

  /** Whether a round trip of ours to there succeeded and still counts. */
  isAnswered(now: Millis, key: GateKey): boolean {
    return this.#open(now, key)?.answered ?? false;
  }

  isOpen(now: Millis, key: GateKey): boolean {
    return this.#open(now, key) !== null;
  }

  /** Lets the session's first Initials go to `key`, which has not answered yet. Once per session; later calls change nothing. */
  allowInitial(key: GateKey): void {
    this.#allowance ??= { key, bytes: INITIAL_ALLOWANCE_BYTES };
  }

  /** Whether `bytes` bytes may go there now; when so, they are counted. */
  send(now: Millis, key: GateKey, bytes: number): boolean {
    const gate = this.#open(now, key);
    if (gate?.answered) return true;
    if (gate && gate.sentBytes + bytes <= gate.receivedBytes * AMPLIFICATION_LIMIT) {
      gate.sentBytes += bytes;
      return true;
    }
    if (this.#allowance?.key === key && this.#allowance.bytes >= bytes) {
      this.#allowance.bytes -= bytes;
      return true;
    }
    return false;
  }

  close(key: GateKey): void {
    this.#gates.delete(key);
  }

  #open(now: Millis, key: GateKey): Gate | null {
    const gate = this.#gates.get(key);
    if (!gate) return null;
    if (now < gate.expiresAt) return gate;
    this.#gates.delete(key);
    return null;
  }

  #refresh(now: Millis, key: GateKey): Gate {
    const gate = this.#open(now, key) ?? { expiresAt: 0, answered: false, receivedBytes: 0, sentBytes: 0 };
    // Re-inserted, so that the map's order is the order of refreshing.
    this.#gates.delete(key);
    if (this.#gates.size >= MAX_GATES_PER_SESSION) {
      const oldest = this.#gates.keys().next();
      if (!oldest.done) this.#gates.delete(oldest.value);
    }
    // An unanswered gate is opened by the peer's checks and would live as long as they come: fine, it has authenticated itself.
    gate.expiresAt = now + GATE_LIFETIME_MS;
    this.#gates.set(key, gate);
    return gate;
  }
}
