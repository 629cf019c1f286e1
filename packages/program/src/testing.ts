/** For the tests of agent and connector. */
import type { Flow } from "./datagrams.ts";

/** A flow whose other end is the test. */
export class FakeFlow implements Flow {
  onDatagram: ((payload: Uint8Array) => void) | null = null;
  onClosed: ((error: Error | null) => void) | null = null;
  maxPayloadBytes = 1200;
  isClosed = false;
  /** What `send` says of a datagram that is not too large. */
  answer: "sent" | "full" = "sent";
  readonly sent: Uint8Array[] = [];

  send(payload: Uint8Array): "sent" | "full" | "too-large" | "closed" {
    if (this.isClosed) return "closed";
    if (payload.length > this.maxPayloadBytes) return "too-large";
    if (this.answer === "sent") this.sent.push(payload.slice());
    return this.answer;
  }

  close(): void {
    this.isClosed = true;
  }

  /** The other side, or the session, ends it. */
  end(error: Error | null = null): void {
    this.isClosed = true;
    this.onClosed?.(error);
  }
}
