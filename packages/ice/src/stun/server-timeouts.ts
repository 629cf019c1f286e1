import { type Millis, SmoothedRtt } from "@adit/core";
import { DEFAULT_TIMING, type StunTransaction } from "./transaction.ts";

/** RFC 8489 §6.2.1: "The value SHOULD be considered stale and discarded if no transactions have occurred to the same server in the last 10 minutes." */
const STALE_MS = 600_000;

/**
 * However near a server is, it gets so long to answer: a busy machine is no lost packet, and Rc and Rm are counted in this, so that no
 * transaction is given up before 7.9 s.
 */
const MIN_RTO_MS = 100;

/** A repeated transaction says only what the round trip does not exceed; of that no more than this is believed. RFC 6298 §2.1: "the sender SHOULD set RTO <- 1 second". */
const MAX_BOUND_MS = 1_000;

/** Servers remembered at once; beyond it the one that was not heard of for longest is forgotten. */
const MAX_SERVERS = 64;

interface Known {
  readonly rtt: SmoothedRtt;
  /** What the last transaction took, if it was repeated; 0 if it was not. */
  readonly boundMs: Millis;
  readonly usedAt: Millis;
}

/**
 * How long each server may take to answer before a request is sent again, from what its answers took (RFC 8489 §6.2.1): servers are told apart by
 * IP address, and what one socket has learnt serves the others.
 */
export class ServerTimeouts {
  /** By IP address, the one that was heard of last at the end. */
  readonly #servers = new Map<string, Known>();

  /** The RTO that a transaction begins with, ms. */
  rtoMs(now: Millis, ip: string): Millis {
    const known = this.#get(now, ip);
    if (!known) return DEFAULT_TIMING.rtoMs;
    return Math.max(MIN_RTO_MS, known.rtt.timeoutMs ?? DEFAULT_TIMING.rtoMs, known.boundMs);
  }

  /**
   * The server answered. Karn's algorithm: "RTT estimates SHOULD NOT be computed from STUN transactions that result in the retransmission of a
   * request"; the next one then waits for as long as this took altogether, or a way that has become longer would never be measured.
   */
  answered(now: Millis, ip: string, transaction: StunTransaction): void {
    const tookMs = now - transaction.startedAt;
    const rtt = this.#get(now, ip)?.rtt ?? new SmoothedRtt();
    if (!transaction.isRepeated) rtt.add(tookMs);
    this.#set(ip, { rtt, boundMs: transaction.isRepeated ? Math.min(tookMs, MAX_BOUND_MS) : 0, usedAt: now });
  }

  /** A transaction failed: what was known of the way to the server may hold no more. */
  unanswered(ip: string): void {
    this.#servers.delete(ip);
  }

  /** Something else measured the round trip to that address, ms, by the rules of RFC 6298; counts until a transaction has. */
  suppose(now: Millis, ip: string, rttMs: Millis): void {
    if (this.#get(now, ip)?.rtt.rttMs != null) return;
    const rtt = new SmoothedRtt();
    rtt.add(rttMs);
    this.#set(ip, { rtt, boundMs: 0, usedAt: now });
  }

  #get(now: Millis, ip: string): Known | null {
    const known = this.#servers.get(ip);
    return known && now - known.usedAt <= STALE_MS ? known : null;
  }

  #set(ip: string, known: Known): void {
    this.#servers.delete(ip);
    this.#servers.set(ip, known);
    if (this.#servers.size <= MAX_SERVERS) return;
    for (const oldest of this.#servers.keys()) {
      this.#servers.delete(oldest);
      return;
    }
  }
}
