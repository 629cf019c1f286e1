/** What carries one client's signaling: a stream of bytes, over QUIC or over TLS. */
import type { Deadline, Millis, SocketAddress } from "@adit/core";

export type CarrierEvent =
  /** The client has proved its key. */
  | { readonly type: "established"; readonly peerId: string }
  /** Its packets come from elsewhere now. */
  | { readonly type: "moved"; readonly to: SocketAddress }
  /** Nothing is carried any more. What had come before can still be read. */
  | { readonly type: "closed"; readonly reason: string };

export interface ClientCarrier {
  readonly kind: "quic" | "tls";
  /** Where packets to the client go now. */
  readonly remote: SocketAddress;
  /** Nothing is left to be done: it may be forgotten. */
  readonly isGone: boolean;
  pollEvent(): CarrierEvent | null;
  /** How many bytes were read into `buffer`. @throws when the stream is broken. */
  read(buffer: Uint8Array): number | "blocked" | "end";
  /** How many bytes were taken: fewer when the client reads slowly. @throws when the stream is broken. */
  write(data: Uint8Array): number;
  /** Ends the stream behind what was written, and the connection with it. */
  finish(reason: string): void;
  /** Ends the connection at once. */
  abort(code: number, reason: string): void;
  handleTimeout(now: Millis): void;
  pollTimeout(now: Millis): Deadline | null;
}
