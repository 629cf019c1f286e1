import type { Deadline, Millis, SocketAddress } from "@adit/core";

export type CarrierEvent =
  /** The other side has proved its key. */
  | { readonly type: "established"; readonly peerId: string }
  /** Its packets come from elsewhere now. */
  | { readonly type: "moved"; readonly to: SocketAddress }
  /** Nothing is carried any more. What had come before can still be read. */
  | { readonly type: "closed"; readonly reason: string };

/** What carries signaling between a client and the intermediate, on either side: a stream of bytes, over QUIC or over TLS. */
export interface Carrier {
  readonly kind: "quic" | "tls";
  /** Where packets to the other side go now. */
  readonly remote: SocketAddress;
  /** Nothing is left to be done: it may be forgotten. */
  readonly isGone: boolean;
  /** What was written, or has come, and waits here for the other side or for us; of what QUIC holds its flow control is the bound. */
  readonly heldBytes: number;
  pollEvent(): CarrierEvent | null;
  /** How many bytes were read into `buffer`. @throws when the stream is broken. */
  read(buffer: Uint8Array): number | "blocked" | "end";
  /** How many bytes were taken: fewer when the other side reads slowly. @throws when the stream is broken. */
  write(data: Uint8Array): number;
  /** Ends the stream behind what was written, and the connection with it. */
  finish(reason: string): void;
  /** Ends the connection at once. */
  abort(code: number, reason: string): void;
  handleTimeout(now: Millis): void;
  pollTimeout(now: Millis): Deadline | null;
}
