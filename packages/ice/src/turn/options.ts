import { type Logger, type Random, type SocketAddress, type SocketId, utf8 } from "@adit/core";
import { StunError } from "../stun/errors.ts";
import { opaqueString } from "../stun/integrity.ts";
import type { LongTermCredentials } from "../stun/long-term.ts";
import type { ServerTimeouts } from "../stun/server-timeouts.ts";
import { STUN_LIMITS } from "../stun/tables.ts";

/** How the client reaches the relay; what the relay sends to peers is UDP in any case. */
export type TurnTransport = "udp" | "tcp" | "tls";

/** Of the relayed address, which is what decides whom it can reach. */
export type RelayFamily = 4 | 6 | "both";

/** What {@link TurnClient} takes. */
export interface TurnClientOptions {
  /** Where the relay listens. */
  readonly server: SocketAddress;
  /**
   * "udp" unless given. Over a stream requests are sent once (RFC 8489 §6.2.2), and who owns the stream frames what goes in and
   * cuts what comes out ({@link connectStunStream} does).
   */
  readonly transport?: TurnTransport;
  /** The UDP socket to send from. */
  readonly socket: SocketId;
  /** How others name the allocation: FIRST_RELAY_ID or above. */
  readonly relaySocket: SocketId;
  /** Of long-term credentials, 508 bytes at most. */
  readonly username: string;
  /** Of long-term credentials; never logged. */
  readonly password: string;
  /** When given, a relay of another realm is refused. */
  readonly realm?: string;
  /**
   * Goes once where a 300 (Try Alternate) points, over UDP (RFC 8489 §10). {@link TurnClient.server} then changes, so whoever routes
   * datagrams has to ask for it each time. Without it a 300 is a failure, which names the alternate.
   */
  readonly followAlternate?: boolean;
  /**
   * Asks for a relayed address of this family, or for one of each (RFC 8656 §7.1); the relay's default is IPv4. A relay that has not
   * got both gives one.
   */
  readonly family?: RelayFamily;
  /** What is known of how long servers take to answer, shared with whoever else asks them; its own unless given. */
  readonly timeouts?: ServerTimeouts;
  /** Of transaction IDs. */
  readonly random: Random;
  /** Silent unless given. */
  readonly log?: Logger;
}

/** Data that a peer sent to the relayed address. */
export interface RelayedData {
  /** Who sent it to the relay. */
  readonly peer: SocketAddress;
  /** A view on the datagram. */
  readonly data: Uint8Array;
}

/** @throws StunError when the user name does not fit its attribute. */
export function checkedCredentials(credentials: LongTermCredentials): LongTermCredentials {
  const length = utf8(opaqueString(credentials.username)).length;
  if (length <= STUN_LIMITS.USERNAME_BYTES) return credentials;
  throw new StunError(`a TURN user name may have ${STUN_LIMITS.USERNAME_BYTES} bytes, not ${length}`);
}
