import type { Deadline, Logger, Millis } from "@adit/core";
import type { IceAgent, PairId } from "@adit/ice";
import type { QuicConnection } from "@adit/quic";
import type { DatagramSizes, SizeWay } from "../path/datagram-size.ts";

export interface SizeProberOptions {
  /** The session, for the log. */
  readonly session: string;
  readonly ice: IceAgent;
  readonly sizes: DatagramSizes;
  /** Whether datagrams leave whole or not at all: else a path would seem to carry what it gets in pieces. */
  readonly sendsWhole: boolean;
  readonly log: Logger;
}

/** Finds out by padded checks how large the active pair's datagrams may be. */
export class SizeProber {
  readonly #options: SizeProberOptions;

  constructor(options: SizeProberOptions) {
    this.#options = options;
  }

  /** `active`: the pair that carries the session, null while it is not up. */
  pump(now: Millis, active: PairId | null, carrier: QuicConnection | null): void {
    const { ice, sizes, sendsWhole, log, session } = this.#options;
    if (!sendsWhole) return;
    sizes.setActive(now, active, () => (active === null ? null : this.#wayOf(active)));
    const before = active === null ? 0 : sizes.bytes(active);
    const probe = sizes.pollProbe(now);
    if (probe) ice.probe(now, probe.pair, probe.bytes);
    if (active === null || sizes.bytes(active) >= before) return;
    log.debug("datagrams-too-large", { session, pair: active, bytes: before });
    // What was swallowed is missed only when something that was sent later is acknowledged: that should not wait for a timer that has backed off.
    carrier?.sendAckEliciting();
  }

  handleAnswer(now: Millis, pair: PairId, bytes: number): void {
    const { sizes, log, session } = this.#options;
    const before = sizes.bytes(pair);
    sizes.handleAnswer(now, pair, bytes);
    if (sizes.bytes(pair) !== before) log.debug("datagram-size", { session, pair, bytes });
  }

  pollTimeout(): Deadline | null {
    return this.#options.sizes.pollTimeout();
  }

  #wayOf(id: PairId): SizeWay | null {
    const pair = this.#options.ice.pair(id);
    if (!pair) return null;
    const relayed = pair.local.type === "relay" || pair.remote.type === "relay";
    return { family: pair.remote.address.family, relayed, rttMs: pair.rttMs ?? 0 };
  }
}
