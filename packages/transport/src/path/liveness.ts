import type { Deadline, Millis } from "@adit/core";

/** While application bytes moved within this time, silence is worth a check. */
export const ACTIVE_FOR_MS = 5_000;
/** Nothing heard for this long: a check is sent, */
const SILENCE_MS = 100;
/** and again after this, so that there are at least six within the patience: losses must not look like death. */
const RECHECK_MIN_MS = 25;
/** On long paths more seldom: so many in a round trip. */
const RECHECKS_PER_ROUND_TRIP = 8;
/** No answer for max(this, 3 round trips): the path is dead. */
export const DEAD_AFTER_MIN_MS = 300;
const DEAD_AFTER_ROUND_TRIPS = 3;
/**
 * Where another path has answered meanwhile, less patience is enough, max(this, a round trip + 80 ms, 1.5 round trips), in which four checks should
 * have been answered: a move that was not necessary costs a round trip, and a path that is dead for longer costs all of that time
 * (docs/adr/0010-when-a-path-is-left.md).
 */
const LEAVE_AFTER_MIN_MS = 120;
const LEAVE_SLACK_MS = 80;
const LEAVE_AFTER_ROUND_TRIPS = 1.5;
/** While active, the round trip is measured this often: hearing packets proves one direction only. */
const MEASURE_INTERVAL_MS = 200;
/** An answer is overdue after its round trip and this. */
const OVERDUE_SLACK_MS = 50;
/** A measurement may go unanswered this many times as long while packets are heard: some loss is no death. */
const MEASURE_PATIENCE = 3;
/** A timer that fires this late says that we slept, not that the peer was silent. */
export const STALL_MS = 100;

type State =
  /** No application bytes lately: nothing is due, consent (RFC 7675) watches the pair. */
  | { readonly name: "idle" }
  /** Packets come in. `measuring`: since when a measurement has been out. */
  | { readonly name: "hearing"; measuring: Millis | null }
  /**
   * Checks are out, and only an answer ends it; in `silent` nothing at all is heard, and a packet leads back to where that was not so. `demanded`: the peer
   * complains that it hears nothing. Otherwise our own measurement is overdue, whose checks may be lost while the path lives: more patience.
   */
  | {
      readonly name: "silent" | "verifying";
      readonly demanded: boolean;
      since: Millis;
      /** When the first check left that was not answered. */
      askedAt: Millis;
      checkedAt: Millis;
      /** Said already that the first answer is overdue. */
      told: boolean;
      /** Another path has answered since. */
      alternative: boolean;
    }
  | { readonly name: "dead" };

type Suspicion = Extract<State, { name: "silent" | "verifying" }>;

/**
 * What is to be done now: `measure`: send a check, all is well; `check`: send one, and ask the other paths too; `overdue`: the same,
 * and nothing at all was heard where an answer should have been here; `dead`: give the path up.
 */
export type LivenessVerdict = "measure" | "check" | "overdue" | "dead" | null;

/**
 * Watches the one pair that carries the session. The same clock runs on both sides: each hears only its own half.
 *
 * "While bytes moved in the last 5 s, a check goes out after 100 ms of silence. No answer for max(300 ms, 3 RTT): dead."
 */
export class Liveness {
  #state: State = { name: "idle" };
  #heardAt: Millis;
  #activeUntil: Millis;
  #measuredAt: Millis;
  #rttMs: Millis;

  /** `rttMs`: the pair's round trip as far as it is known. */
  constructor(now: Millis, rttMs: Millis | null) {
    this.#heardAt = now;
    this.#measuredAt = now;
    this.#activeUntil = now;
    this.#rttMs = rttMs ?? 0;
  }

  get state(): State["name"] {
    return this.#state.name;
  }

  /** Checks are out because something is amiss. */
  get isSuspect(): boolean {
    return this.#state.name === "silent" || this.#state.name === "verifying";
  }

  /**
   * Since when nothing at all has been heard, where another path has answered what was asked since then and this one should have by now; else null. (What
   * is sent elsewhere ahead of a path that is merely slow overtakes what is under way there, which then counts as lost.)
   */
  silentSince(now: Millis): Millis | null {
    const state = this.#state;
    const isSilent = state.name === "silent" && state.alternative && now >= state.since + this.#rttMs;
    return isSilent ? state.since : null;
  }

  /** Since when the path is under suspicion: an answer on another pair after that shows that the other one stands. */
  suspectSince(now: Millis): Millis {
    return this.#state.name === "silent" || this.#state.name === "verifying" ? this.#state.since : now;
  }

  /** Application bytes were written or read. The first ones after a time of quiet ask at once whether the path still stands. */
  handleActivity(now: Millis): void {
    this.#activeUntil = now + ACTIVE_FOR_MS;
    if (this.#state.name !== "idle") return;
    // Silence counts from the moment somebody cares: an idle path says nothing, and that is no sign.
    this.#heardAt = Math.max(this.#heardAt, now);
    this.#measuredAt = now - MEASURE_INTERVAL_MS;
    this.#state = { name: "hearing", measuring: null };
  }

  /**
   * A QUIC packet came in on the pair. It ends a silence, and no question: a path that is dead one way is heard, and what was asked on it stays
   * unanswered.
   */
  handleHeard(now: Millis): void {
    this.#heardAt = now;
    const state = this.#state;
    if (state.name !== "silent") return;
    const { askedAt } = state;
    const isOverdue = now >= this.#overdueAt(askedAt);
    this.#state = isOverdue ? { ...state, name: "verifying", since: askedAt } : { name: "hearing", measuring: askedAt };
  }

  /** A check of ours on the pair was answered. */
  handleAnswer(now: Millis, smoothedRttMs: Millis): void {
    this.#heardAt = now;
    this.#rttMs = smoothedRttMs;
    if (this.isSuspect) {
      this.#measuredAt = now;
      this.#state = { name: "hearing", measuring: null };
    } else if (this.#state.name === "hearing") this.#state.measuring = null;
  }

  /** Another pair of the session answered a check that was sent at `sentAt`: what was sent before the suspicion says nothing. */
  handleAlternative(sentAt: Millis): void {
    const state = this.#state;
    if ((state.name === "silent" || state.name === "verifying") && sentAt >= state.since) state.alternative = true;
  }

  /** The peer says that it hears nothing: hearing it is not enough any more, a round trip has to be shown. */
  demandProof(now: Millis): void {
    const state = this.#state;
    if (state.name === "dead" || (state.name === "verifying" && state.demanded)) return;
    this.#activeUntil = Math.max(this.#activeUntil, now + ACTIVE_FOR_MS);
    // What went unanswered before the peer complained counts.
    if (state.name === "silent" || state.name === "verifying") {
      this.#state = { ...state, name: "verifying", demanded: true };
      return;
    }
    const asked = suspicion("verifying", { since: now, askedAt: now, checkedAt: Number.NEGATIVE_INFINITY });
    this.#state = { ...asked, demanded: true };
  }

  /** Call at {@link pollTimeout}'s time until it returns null. */
  handleTimeout(now: Millis): LivenessVerdict {
    const due = this.pollTimeout();
    if (!due || due.at > now) return null;
    if (now - due.at > STALL_MS) this.#forgive(now - due.at);
    switch (this.#state.name) {
      case "idle":
      case "dead":
        return null;
      case "hearing":
        return this.#whileHearing(now, this.#state);
      case "silent":
      case "verifying":
        return this.#whileSuspect(now, this.#state);
    }
  }

  pollTimeout(): Deadline | null {
    switch (this.#state.name) {
      case "idle":
      case "dead":
        return null;
      case "hearing": {
        const { measuring } = this.#state;
        const measureAt = measuring === null ? this.#measuredAt + MEASURE_INTERVAL_MS : this.#overdueAt(measuring);
        return { at: Math.min(this.#heardAt + SILENCE_MS, measureAt), reason: "path silence" };
      }
      case "silent":
      case "verifying": {
        const at = Math.min(this.#state.checkedAt + this.#recheckMs, this.#deadAt(this.#state));
        return { at: Math.max(at, this.#state.since), reason: "path check answer" };
      }
    }
  }

  #whileHearing(now: Millis, state: Extract<State, { name: "hearing" }>): LivenessVerdict {
    if (now >= this.#activeUntil) {
      this.#state = { name: "idle" };
      return null;
    }
    if (now >= this.#heardAt + SILENCE_MS) {
      this.#state = suspicion("silent", { since: now, askedAt: state.measuring ?? now, checkedAt: now });
      return "check";
    }
    if (state.measuring !== null && now >= this.#overdueAt(state.measuring)) {
      this.#state = suspicion("verifying", { since: state.measuring, askedAt: state.measuring, checkedAt: now });
      return "check";
    }
    if (state.measuring !== null || now < this.#measuredAt + MEASURE_INTERVAL_MS) return null;
    this.#measuredAt = now;
    state.measuring = now;
    return "measure";
  }

  #whileSuspect(now: Millis, state: Suspicion): LivenessVerdict {
    if (now >= this.#deadAt(state)) {
      this.#state = { name: "dead" };
      return "dead";
    }
    if (now < state.checkedAt + this.#recheckMs) return null;
    state.checkedAt = now;
    if (state.name === "verifying" && !state.demanded && now >= this.#heardAt + SILENCE_MS) {
      const since = Math.max(state.since, this.#heardAt + SILENCE_MS);
      this.#state = { ...state, name: "silent", since };
      return "check";
    }
    const isQuestion = state.name === "silent" || state.demanded;
    if (!isQuestion || state.told || now < this.#overdueAt(state.askedAt)) return "check";
    state.told = true;
    return "overdue";
  }

  get #recheckMs(): Millis {
    return Math.max(RECHECK_MIN_MS, this.#rttMs / RECHECKS_PER_ROUND_TRIP);
  }

  #overdueAt(sentAt: Millis): Millis {
    return sentAt + this.#rttMs + OVERDUE_SLACK_MS;
  }

  #deadAt(state: Suspicion): Millis {
    const aloneMs = Math.max(DEAD_AFTER_MIN_MS, DEAD_AFTER_ROUND_TRIPS * this.#rttMs);
    const besideMs = Math.max(LEAVE_AFTER_MIN_MS, this.#rttMs + LEAVE_SLACK_MS, LEAVE_AFTER_ROUND_TRIPS * this.#rttMs);
    const answerUntil = state.askedAt + MEASURE_PATIENCE * aloneMs;
    if (state.name === "verifying" && !state.demanded) return answerUntil;
    return Math.min(answerUntil, state.since + (state.alternative ? besideMs : aloneMs));
  }

  /** This process did not run for `lateMs`: what came in meanwhile has not been read yet, so that time is nobody's silence. */
  #forgive(lateMs: Millis): void {
    this.#heardAt += lateMs;
    this.#measuredAt += lateMs;
    const state = this.#state;
    if (state.name === "hearing" && state.measuring !== null) state.measuring += lateMs;
    if (state.name !== "silent" && state.name !== "verifying") return;
    state.since += lateMs;
    state.askedAt += lateMs;
    state.checkedAt += lateMs;
  }
}

function suspicion(
  name: Suspicion["name"],
  times: { readonly since: Millis; readonly askedAt: Millis; readonly checkedAt: Millis },
): Suspicion {
  return { name, ...times, demanded: false, told: false, alternative: false };
}
