import type { Millis } from "@adit/core";
import type { PairId } from "@adit/ice";
import type { SessionPath } from "../status.ts";
import type { PathAction } from "./actions.ts";
import type { PathPair } from "./known-pairs.ts";
import { SwitchGap } from "./switch-gap.ts";

/** What became of the session's path, for people: why it is where it is, and what each change cost. */
export class Journal {
  readonly #actions: PathAction[];
  readonly #gap = new SwitchGap();
  #reason = "the handshake is under way";
  #migrations = 0;
  /** What carries the session, or did last. */
  #pair: PairId | null = null;
  /** A change whose gap is still being measured. */
  #pending: { readonly from: SessionPath; readonly to: PathPair; readonly reason: string } | null = null;

  /** `changed` actions go to the end of `actions`. */
  constructor(actions: PathAction[]) {
    this.#actions = actions;
  }

  get reason(): string {
    return this.#reason;
  }

  /** Path changes after `connecting`. */
  get migrations(): number {
    return this.#migrations;
  }

  explain(reason: string): void {
    this.#reason = reason;
  }

  start(to: PathPair, reason: string): void {
    this.#reason = reason;
    this.#pair = to.id;
    this.#gap.begin(to.id);
    this.#actions.push({ type: "changed", from: "connecting", to: to.kind, pair: to.id, reason, gapMs: null });
  }

  /** The session moved; it is told once the first packet has come on the new path. */
  move(now: Millis, from: SessionPath, to: PathPair, reason: string): void {
    this.#abandon();
    this.#reason = reason;
    if (from === to.kind && this.#pair === to.id) return;
    this.#pair = to.id;
    this.#migrations++;
    this.#pending = { from, to, reason };
    this.#gap.start(now, to.id);
  }

  suspend(from: SessionPath, reason: string): void {
    this.#abandon();
    this.#reason = reason;
    this.#migrations++;
    this.#actions.push({ type: "changed", from, to: "suspended", pair: null, reason, gapMs: null });
  }

  /** A packet of the session came in on `pair`. */
  handleHeard(now: Millis, pair: PairId): void {
    const gapMs = this.#gap.handleHeard(now, pair);
    if (gapMs !== null) this.#tell(gapMs);
  }

  #abandon(): void {
    if (this.#gap.abandon()) this.#tell(null);
  }

  #tell(gapMs: Millis | null): void {
    if (!this.#pending) return;
    const { from, to, reason } = this.#pending;
    this.#actions.push({ type: "changed", from, to: to.kind, pair: to.id, reason, gapMs });
    this.#pending = null;
  }
}
