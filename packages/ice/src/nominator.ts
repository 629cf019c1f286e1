import type { Millis } from "@adit/core";
import type { AgentState } from "./agent-state.ts";
import type { CheckRunner } from "./check-runner.ts";
import type { Nominate } from "./checks.ts";
import {
  chooseNominee,
  deservesRenomination,
  type Nomination,
  settleMs,
  supersedesNomination,
  whyChosen,
} from "./nomination.ts";
import type { CandidatePair, NominationReason } from "./pair.ts";

/** Nominates (controlling) or follows nominations (controlled): RFC 8445 §8.1. */
export class Nominator {
  readonly #state: AgentState;
  readonly #checks: CheckRunner;
  /** The controlling side's own. */
  #nomination: Nomination = { kind: "open" };
  /** The nominated pair as both sides see it, with the count of its renomination. */
  #selected: { readonly pair: CandidatePair; readonly value: number | null } | null = null;
  #count = 0;
  #completed = false;

  constructor(state: AgentState, checks: CheckRunner) {
    this.#state = state;
    this.#checks = checks;
  }

  /** The nominated pair, while it is valid. */
  get selected(): CandidatePair | null {
    return this.#selected?.pair.valid ? this.#selected.pair : null;
  }

  /** When {@link progress} would nominate; null when there is nothing to do. */
  get nextAt(): Millis | null {
    return this.#nominee()?.at ?? null;
  }

  /** Nominates when it is time. */
  progress(now: Millis): void {
    const nominee = this.#nominee();
    if (!nominee || nominee.at > now) return;
    const value = this.#state.renominates ? ++this.#count : null;
    const { current } = this.#state.generations;
    if (this.#checks.send(now, nominee.pair, "nomination", current, { value })) {
      this.#nomination = { kind: "nominating", pair: nominee.pair };
    }
  }

  /** A check with USE-CANDIDATE of ours was answered. */
  succeeded(pair: CandidatePair, nominate: Nominate): void {
    this.#nomination = { kind: "nominated", pair };
    this.#select(pair, nominate.value, whyChosen(pair, this.#state.validPairs));
  }

  /** It was not, or the pair is not valid any more: another is nominated. */
  failed(pair: CandidatePair): void {
    if (this.#nomination.kind === "nominating" && this.#nomination.pair === pair) this.#nomination = { kind: "open" };
  }

  /** The controlling peer nominated a pair that is valid here. */
  accept(pair: CandidatePair, nominate: Nominate): void {
    const next = { pair, value: this.#state.renominates ? nominate.value : null };
    const isCurrent = this.#selected?.pair.consent?.generation === this.#state.generations.current;
    if (supersedesNomination(isCurrent ? this.#selected : null, next)) this.#select(pair, next.value, "peer");
  }

  removed(pair: CandidatePair): void {
    if (this.#selected?.pair === pair) this.#selected = null;
    if (this.#nomination.kind !== "open" && this.#nomination.pair === pair) this.#nomination = { kind: "open" };
  }

  roleChanged(): void {
    this.#nomination = { kind: "open" };
    this.#state.transactions.deleteWhere(({ kind }) => kind === "nomination");
  }

  restart(): void {
    this.#nomination = { kind: "open" };
    this.#completed = false;
  }

  #nominee(): { readonly pair: CandidatePair; readonly at: Millis } | null {
    const { role, transactions, validPairs, renominates, checklist } = this.#state;
    if (role !== "controlling" || this.#nomination.kind === "nominating" || !transactions.hasRoom) return null;
    const best = chooseNominee(validPairs);
    if (!best?.consent) return null;
    if (this.#nomination.kind === "nominated") {
      if (!renominates || !deservesRenomination(this.#nomination.pair, best)) return null;
    }
    const patience = checklist.hasUnresolvedAbove(best.priority) ? settleMs(best) : 0;
    return { pair: best, at: best.consent.since + patience };
  }

  #select(pair: CandidatePair, value: number | null, because: NominationReason): void {
    const again = this.#selected?.pair === pair && pair.nominated && this.#completed;
    for (const other of this.#state.checklist) if (other.nominated) other.setNominated(null);
    pair.setNominated(because);
    this.#selected = { pair, value };
    if (again) return;
    this.#state.log.debug("ice-nominated", { pair: pair.id, because });
    this.#state.outbox.event({ type: "nominated", pair: pair.info });
    if (this.#completed) return;
    this.#completed = true;
    this.#state.outbox.event({ type: "completed" });
  }
}
