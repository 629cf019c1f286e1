import type { NativeConnection } from "./native.ts";
import { SparseCopies } from "./sparse-copies.ts";
import { TailProbe } from "./tail-probe.ts";
import type { SentPacket } from "./types.ts";

/** What is done about losses at the end of what was sent, where QUIC itself waits: copies, and PINGs that show what is missing. */
export class Tail {
  readonly #probe = new TailProbe();
  readonly #copies: SparseCopies;

  constructor(native: NativeConnection) {
    this.#copies = new SparseCopies(native);
  }

  /** See {@link TailProbe.rttMs}. */
  set rttMs(rttMs: number | null) {
    this.#probe.rttMs = rttMs;
    this.#copies.rttMs = rttMs;
  }

  handleSent(now: number, out: Uint8Array, packet: SentPacket): void {
    this.#probe.handleSent(now, packet.length);
    this.#copies.handleSent(now, out, packet);
  }

  handleReceived(now: number): void {
    this.#probe.handleReceived(now);
  }

  get deadline(): number | null {
    const probeAt = this.#probe.deadline;
    const copyAt = this.#copies.deadline;
    return probeAt === null || copyAt === null ? (probeAt ?? copyAt) : Math.min(probeAt, copyAt);
  }

  /** Whether a PING should leave now; it counts as sent. */
  isDue(now: number): boolean {
    return this.#probe.isDue(now);
  }

  /** A copy of an earlier packet that should leave now, written into `out`. */
  takeCopy(now: number, out: Uint8Array): SentPacket | null {
    return this.#copies.take(now, out);
  }
}
