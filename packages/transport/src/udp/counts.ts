import { Counters } from "@adit/core";
import type { UdpStats } from "./udp.ts";

/** The counters behind {@link UdpStats}. System error codes are a closed set, so the maps stay small. */
export class UdpCounts {
  received = 0;
  sent = 0;
  readonly sendErrors = new Counters<string>();
  readonly receiveErrors = new Counters<string>();

  snapshot(): UdpStats {
    return {
      received: this.received,
      sent: this.sent,
      sendErrors: this.sendErrors.toJSON(),
      receiveErrors: this.receiveErrors.toJSON(),
    };
  }
}
