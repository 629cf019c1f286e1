import type { LogFields, Logger } from "@adit/core";
import type { Datagrams, Flow } from "./datagrams.ts";

export interface CarriedFlowOptions {
  readonly flow: Flow;
  readonly peerId: string;
  readonly service: string;
  /** Counts those of all flows of the program. */
  readonly datagrams: Datagrams;
  readonly log: Logger;
}

/** A flow of a `udp` service that is open: logs `flow-open` and `flow-close`, and counts what it carries. */
export class CarriedFlow {
  readonly #options: CarriedFlowOptions;
  #count = 0;
  #bytes = 0;

  /** `more`: what else `flow-open` says. */
  constructor(options: CarriedFlowOptions, more: LogFields = {}) {
    this.#options = options;
    const { datagrams, flow, log, peerId, service } = options;
    datagrams.opened(flow);
    log.info("flow-open", { peerId, service, ...more });
  }

  /** To the peer; what the flow does not take is dropped. */
  send(payload: Uint8Array): void {
    const { datagrams, flow, log, service } = this.#options;
    if (datagrams.send(flow, payload)) return this.#note(payload);
    log.debug("datagram-dropped", { service, bytes: payload.length, maxPayloadBytes: flow.maxPayloadBytes });
  }

  /** It came from the peer. */
  noteReceived(payload: Uint8Array): void {
    this.#options.datagrams.received(payload);
    this.#note(payload);
  }

  /** Closes the flow, which calls nobody any more. */
  end(reason: string): void {
    const { datagrams, flow, log, peerId, service } = this.#options;
    flow.onDatagram = flow.onClosed = null;
    flow.close();
    datagrams.closed();
    log.info("flow-close", { peerId, service, datagrams: this.#count, bytes: this.#bytes, reason });
  }

  #note(payload: Uint8Array): void {
    this.#count++;
    this.#bytes += payload.length;
  }
}
