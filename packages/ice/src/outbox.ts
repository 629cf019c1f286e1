import type { Transmit } from "@adit/core";
import type { IceEvent } from "./agent-types.ts";

/** Datagrams that wait to be fetched; further ones are lost, as on a wire. The driver empties it after every call. */
const MAX_QUEUED_TRANSMITS = 256;
/** Events that wait to be fetched; beyond it the oldest is lost. */
const MAX_QUEUED_EVENTS = 1024;

/** What the agent wants done: drained by the driver. */
export class Outbox {
  readonly #transmits: Transmit[] = [];
  readonly #events: IceEvent[] = [];

  transmit(transmit: Transmit): void {
    if (this.#transmits.length < MAX_QUEUED_TRANSMITS) this.#transmits.push(transmit);
  }

  event(event: IceEvent): void {
    if (this.#events.length >= MAX_QUEUED_EVENTS) this.#events.shift();
    this.#events.push(event);
  }

  nextTransmit(): Transmit | null {
    return this.#transmits.shift() ?? null;
  }

  nextEvent(): IceEvent | null {
    return this.#events.shift() ?? null;
  }

  clear(): void {
    this.#transmits.length = 0;
    this.#events.length = 0;
  }
}
