import type { QuicConnection } from "@adit/quic";
import type { Control } from "./control.ts";
import type { Flows } from "./flows.ts";
import type { HeadBytes } from "./service-streams.ts";

/** The application's bytes: what the connection carried in streams and flows, less what Adit said itself. */
export class Traffic {
  /** Bytes of ours at the head of service streams. */
  readonly head: HeadBytes = { sent: 0, received: 0 };
  readonly #control: Control;
  readonly #flows: Flows;
  #seen = { sent: 0, received: 0 };

  constructor(control: Control, flows: Flows) {
    this.#control = control;
    this.#flows = flows;
  }

  count(carrier: QuicConnection | null): { readonly sent: number; readonly received: number } {
    if (!carrier) return { sent: 0, received: 0 };
    return {
      sent: carrier.sentBytes - this.#control.sentBytes - this.head.sent + this.#flows.sentBytes,
      received: carrier.receivedBytes - this.#control.receivedBytes - this.head.received + this.#flows.receivedBytes,
    };
  }

  /** Which way bytes moved since the last call; null when none did. */
  takeMoved(carrier: QuicConnection | null): { readonly received: boolean } | null {
    const { sent, received } = this.count(carrier);
    const before = this.#seen;
    if (sent === before.sent && received === before.received) return null;
    this.#seen = { sent, received };
    return { received: received > before.received };
  }
}
