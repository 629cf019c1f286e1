import type { SocketAddress } from "@adit/core";

/** A datagram to be sent. The bytes may be reused as soon as `send` has returned. */
export interface Outgoing {
  readonly data: Uint8Array;
  readonly to: SocketAddress;
  /** Drop it rather than fragment it, where this socket can ({@link canSendUnfragmented}). */
  readonly dontFragment?: boolean;
}

/**
 * A datagram that came. `data` belongs to the receiver: it is not reused behind its back, and may be kept or written to. (It
 * may be a view into a larger buffer: copy what is kept for long.)
 */
export interface Incoming {
  readonly data: Uint8Array;
  readonly from: SocketAddress;
}

/** Called from the runtime's event loop, never from inside `send` or `close`, nor before who awaits `bindUdp` has the socket. */
export interface UdpHandlers {
  /** Datagrams in the order in which they came (see {@link onPart} for bursts), at most {@link MAX_RECEIVE_BATCH}. */
  onBatch(batch: readonly Incoming[]): void;
  /**
   * Under load the datagrams of one burst may come in parts: each is called at once, and `onBatch` follows, with what is left or nothing, when
   * there are no more. The bytes are lent: they are used again when this returns. Sockets without it hand up batches alone.
   */
  onPart?(part: readonly Incoming[]): void;
  /** After `send` took less than everything: it is worth calling it again. */
  onDrain(): void;
  /**
   * Where datagrams are lent ({@link UdpBindOptions.lends}): after those of all sockets that were ready at one time were handed up. Their
   * bytes are taken back when it returns. It comes for a socket too that was closed meanwhile.
   */
  onRoundEnd?(): void;
  /** An error came back for some datagram sent before (ICMP), where the runtime tells: `ECONNREFUSED`, ... It is counted anyway. */
  onIcmpError?(code: string): void;
}

/** What a socket did, since it was bound. All failures to send lose one datagram each, as the network may; nothing else. */
export interface UdpStats {
  readonly received: number;
  readonly sent: number;
  /** Datagrams that the system refused, by error code: EMSGSIZE, EPERM (a firewall rule), ENETUNREACH, ... */
  readonly sendErrors: Readonly<Record<string, number>>;
  /** Errors that came back for datagrams sent before (ICMP): ECONNREFUSED, EHOSTUNREACH, ... */
  readonly receiveErrors: Readonly<Record<string, number>>;
}

/** A bound UDP socket that moves batches. Nothing that comes from the network makes it throw or close. */
export interface UdpSocket {
  /** The bound address, with the port that the system chose. */
  readonly address: SocketAddress;
  /** Whether datagrams are lent ({@link UdpBindOptions.lends}), so that `onRoundEnd` is called. */
  readonly lends?: boolean;
  /**
   * Hands `batch[from..]` to the system, in order (one that is offered again after an ICMP error may come late). Returns how many were dealt with (sent, or refused for good and counted):
   * fewer than offered means the system takes no more now, `onDrain` follows, and the rest is the caller's to offer again or
   * to drop. After `close` everything is dealt with by being dropped.
   */
  send(batch: readonly Outgoing[], from?: number): number;
  stats(): UdpStats;
  /** No handler is called after it, but `onRoundEnd` for what was lent. Idempotent. */
  close(): void;
}

/** A batch handed up has at most this many datagrams, so that timers and sends get their turn under a flood. */
export const MAX_RECEIVE_BATCH = 512;

/** `linux`: sockets of our own, by system calls; they need Bun on Linux. */
export type UdpRuntime = "bun" | "node" | "linux";

export interface UdpBindOptions {
  /** Where to bind; port 0 lets the system choose. `0.0.0.0` and `::` are wildcards; `::` takes IPv6 only. */
  readonly address: SocketAddress;
  readonly handlers: UdpHandlers;
  /** Datagrams leave with DF, as QUIC wants it, where the runtime can be brought to it (Bun on Linux and macOS); false by default. */
  readonly dontFragment?: boolean;
  /**
   * Datagrams are lent: their objects and bytes are valid until `onRoundEnd` has returned, and whoever keeps them longer copies them. Then
   * the socket is one that is read together with others (`linux`), where the system has such: for one of thousands.
   */
  readonly lends?: boolean;
  /** Which implementation; the runtime's own unless given. `bun` needs Bun. */
  readonly runtime?: UdpRuntime;
}
