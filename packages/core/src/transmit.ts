import type { SocketAddress } from "./address.ts";

/**
 * Names a local sender: a UDP socket of this program (0, 1, ...), or a TURN allocation that acts as one
 * ({@link FIRST_RELAY_ID} and up). On a wildcard socket nobody knows the interface address, so this is the local side of a pair.
 */
export type SocketId = number;

/** Ids below it are UDP sockets; from it on, allocations on a TURN relay. */
export const FIRST_RELAY_ID: SocketId = 1000;

export const isRelaySocket = (id: SocketId): boolean => id >= FIRST_RELAY_ID;

/** A datagram that a state machine wants sent. */
export interface Transmit {
  readonly data: Uint8Array;
  readonly socket: SocketId;
  readonly to: SocketAddress;
  /** The datagram is dropped rather than fragmented, here and on its way; only where the socket can do that. */
  readonly dontFragment?: boolean;
}
