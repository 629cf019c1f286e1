/** Who may begin a handshake, and who has to prove his address first. What is kept per address is bounded by what was let in. */
import type { Millis, SocketAddress } from "@adit/core";
import { type IpLimits, SourceCounts, sourceKey } from "./ip-limits.ts";
import type { Limits } from "./limits.ts";

/** Clients at one time; past it their first packets are dropped and they try again. */
const MAX_CLIENTS = 16_384;

/**
 * Handshakes at one time: each costs half a millisecond of CPU for a packet that anybody can send from any address. Past it a client that has
 * proved its address takes the place of the one that has been at it for longest: who falls silent holds a place no longer than others need it.
 */
const MAX_HANDSHAKES = 512;

/**
 * From so many handshakes at one time on, in all or of one address, a client has to show with a Retry's token that it is where its packet
 * says (RFC 9000 §8.1.2): that costs it a round trip, and us no memory.
 */
export const RETRY_FROM_HANDSHAKES = 64;
export const RETRY_FROM_HANDSHAKES_PER_IP = 16;

/**
 * Handshakes of one address at one time, proved or not: who answers every Retry and then falls silent must not hold all there are. A quarter
 * of all, or as many as the operator lets it do in a second where that is more.
 */
const HANDSHAKES_PER_IP = MAX_HANDSHAKES / 4;

export type HandshakeDrop = "clients" | "handshakes" | "ip-clients" | "ip-handshakes" | "draining";

export class HandshakeGate {
  readonly #limits: () => Limits;
  readonly #ipLimits: IpLimits;
  readonly #makeRoom: (now: Millis) => boolean;
  readonly #clientsPerIp = new SourceCounts();
  readonly #handshakesPerIp = new SourceCounts();
  #clients = 0;
  #handshakes = 0;
  #closed = false;

  /** `makeRoom`: gives up the oldest handshake, telling {@link failed}; false when there is none. */
  constructor(limits: () => Limits, ipLimits: IpLimits, makeRoom: (now: Millis) => boolean) {
    this.#makeRoom = makeRoom;
    this.#limits = limits;
    this.#ipLimits = ipLimits;
  }

  /** Handshakes under way. */
  get handshakes(): number {
    return this.#handshakes;
  }

  /** Nobody is let in any more. */
  close(): void {
    this.#closed = true;
  }

  /** What is to become of a first packet; `proved`: it came with a token of a Retry. */
  decide(now: Millis, from: SocketAddress, proved: boolean): "accept" | "retry" | HandshakeDrop {
    const source = sourceKey(from.ip);
    if (this.#closed) return "draining";
    if (this.#clients >= MAX_CLIENTS) return "clients";
    if (!this.#clientsPerIp.hasRoom(source, this.#limits().clientsPerIp)) return "ip-clients";
    if (!this.#handshakesPerIp.hasRoom(source, this.#perIp)) return "ip-handshakes";
    const spent = !this.#ipLimits.mayHandshake(now, from.ip);
    if (proved && spent) return "ip-handshakes";
    if (proved) return this.#handshakes < MAX_HANDSHAKES || this.#makeRoom(now) ? "accept" : "handshakes";
    const busy =
      this.#handshakes >= RETRY_FROM_HANDSHAKES || this.#handshakesPerIp.of(source) >= RETRY_FROM_HANDSHAKES_PER_IP;
    return spent || busy ? "retry" : "accept";
  }

  /** TCP has proved that address: it is charged with a handshake of TLS, unless it has none left. */
  takeTls(now: Millis, from: SocketAddress): boolean {
    if (!this.#ipLimits.mayHandshake(now, from.ip)) return false;
    this.#ipLimits.chargeHandshake(now, from.ip);
    return true;
  }

  /** Whether a client whose handshake is over, and was charged by {@link takeTls}, is let in. */
  decideTls(from: SocketAddress): "accept" | HandshakeDrop {
    if (this.#closed) return "draining";
    if (this.#clients >= MAX_CLIENTS) return "clients";
    return this.#clientsPerIp.hasRoom(sourceKey(from.ip), this.#limits().clientsPerIp) ? "accept" : "ip-clients";
  }

  accepted(from: SocketAddress): void {
    this.#clients++;
    this.#clientsPerIp.add(sourceKey(from.ip), 1);
    this.#countHandshake(from, 1);
  }

  /** The address is proved, by a Retry's token or by the end of the handshake: it pays for it, however it ends. Once for each. */
  charge(now: Millis, from: SocketAddress): void {
    this.#ipLimits.chargeHandshake(now, from.ip);
  }

  established(from: SocketAddress): void {
    this.#countHandshake(from, -1);
  }

  failed(from: SocketAddress): void {
    this.#countHandshake(from, -1);
  }

  gone(from: SocketAddress): void {
    this.#clients--;
    this.#clientsPerIp.add(sourceKey(from.ip), -1);
  }

  get #perIp(): number {
    return Math.max(HANDSHAKES_PER_IP, this.#limits().handshakesPerIpPerSecond);
  }

  #countHandshake(from: SocketAddress, by: 1 | -1): void {
    this.#handshakes += by;
    this.#handshakesPerIp.add(sourceKey(from.ip), by);
  }
}
