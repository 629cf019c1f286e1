import { Counters, type Millis, type SocketAddress, type SocketId, type Transmit } from "@adit/core";
import { gateKey } from "../path/gates.ts";
import type { Session } from "./session.ts";

/**
 * Checks a second to addresses that nothing authentic came from, for all sessions with one peer: some 10 KB/s. A session begins with 10 to 30,
 * at once; whoever names addresses of others anew and anew, the peer or an intermediate in its name, has them sent so much and no more.
 */
export const CHECKS_PER_SECOND = 100;
export const CHECKS_AT_ONCE = 1_000;
/** Peers remembered, as many as there may be sessions; past it the one that was not heard of for longest starts anew. */
const MAX_PEERS = 1_024;

/** What is left to one peer, and when that was so. */
interface Budget {
  checks: number;
  at: Millis;
}

/** How much may be sent to where other people say that a peer is. A check that is held back is as one that was lost: it is sent again. */
export class CheckBudget {
  readonly drops = new Counters<"check-budget">();
  readonly #peers = new Map<string, Budget>();

  /** Whether the session may send this now. Everything but a request to where nobody has shown himself may. */
  allows(now: Millis, session: Session, { data, socket, to }: Transmit): boolean {
    if (!isCheck(data) || isKnown(now, session, socket, to)) return true;
    if (this.#take(now, session.peer.id)) return true;
    this.drops.add("check-budget");
    return false;
  }

  #take(now: Millis, peerId: string): boolean {
    const { checks, at } = this.#peers.get(peerId) ?? { checks: CHECKS_AT_ONCE, at: now };
    const left = Math.min(CHECKS_AT_ONCE, checks + ((now - at) * CHECKS_PER_SECOND) / 1000);
    this.#peers.delete(peerId);
    const [oldest] = this.#peers.keys();
    if (oldest !== undefined && this.#peers.size >= MAX_PEERS) this.#peers.delete(oldest);
    this.#peers.set(peerId, { checks: left >= 1 ? left - 1 : left, at: now });
    return left >= 1;
  }
}

/** A STUN request (RFC 8489 §5: both class bits are 0); QUIC's first bytes are 64 and above. */
const isCheck = (data: Uint8Array): boolean =>
  (data[0] as number) < 4 && ((data[0] as number) & 0x01) === 0 && ((data[1] as number) & 0x10) === 0;

const isKnown = (now: Millis, session: Session, socket: SocketId, to: SocketAddress): boolean =>
  session.data.gates.isOpen(now, gateKey(socket, to));
