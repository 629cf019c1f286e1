import type { Deadline, Millis } from "@adit/core";

/** While application bytes moved within this time, silence is worth a check. */
export const ACTIVE_FOR_MS = 5_000;
/** Nothing heard for this long: a check is sent, */
export const SILENCE_MS = 100;
/** and again after this, so that there are at least six within the patience: losses must not look like death. */
export const RECHECK_MS = 50;
/** No answer for max(this, 3 round trips): the path is dead. */
export const DEAD_AFTER_MIN_MS = 300;
export const DEAD_AFTER_ROUND_TRIPS = 3;
/** While active, the round trip is measured this often: hearing packets proves one direction only. */
export const MEASURE_INTERVAL_MS = 1_000;
/** A measurement may go unanswered this many times as long while packets are heard: some loss is no death. */
export const MEASURE_PATIENCE = 3;
/** A timer that fires this late says that we slept, not that the peer was silent. */
export const STALL_MS = 100;

type State =
  /** No application bytes lately: nothing is due, consent (RFC 7675) watches the pair. */
  | { readonly name: "idle" }
  /** Packets come in. */
  | { readonly name: "hearing" }
  /** Nothing heard since `since` + SILENCE_MS: checks are out; any packet or answer ends it. */
  | { readonly name: "silent"; since: Millis; checkedAt: Millis }
  /**
   * A round trip must be shown, hearing packets is not enough: only an answer ends it. `demanded`: the peer complains that it
   * hears nothing. Otherwise it is our own periodic measurement, whose checks may be lost while the path lives: more patience.
   */
  | { readonly name: "verifying"; readonly demanded: boolean; since: Millis; checkedAt: Millis }
  | { readonly name: "dead" };

/** What is to be done now: send one check, or give the path up. */
export type LivenessVerdict = "check" | "dead" | null;

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

  /** How long nothing has been heard, ms. */
  silentMs(now: Millis): Millis {
    return Math.max(0, now - this.#heardAt);
  }

  /** Since when the path is under suspicion: an answer on another pair after that shows that the other one stands. */
  suspectSince(now: Millis): Millis {
    return this.#state.name === "silent" || this.#state.name === "verifying" ? this.#state.since : now;
  }

  /** Application bytes were written or read. */
  handleActivity(now: Millis): void {
    this.#activeUntil = now + ACTIVE_FOR_MS;
    if (this.#state.name !== "idle") return;
    // Silence counts from the moment somebody cares: an idle path says nothing, and that is no sign.
    this.#heardAt = Math.max(this.#heardAt, now);
    this.#measuredAt = now;
    this.#state = { name: "hearing" };
  }

  /** A QUIC packet came in on the pair. */
  handleHeard(now: Millis): void {
    this.#heardAt = now;
    if (this.#state.name === "silent") this.#state = { name: "hearing" };
  }

  /** A check of ours on the pair was answered. */
  handleAnswer(now: Millis, smoothedRttMs: Millis): void {
    this.#heardAt = now;
    this.#measuredAt = now;
    this.#rttMs = smoothedRttMs;
    if (this.#state.name === "silent" || this.#state.name === "verifying") this.#state = { name: "hearing" };
  }

  /** The peer says that it hears nothing: hearing it is not enough any more, a round trip has to be shown. */
  demandProof(now: Millis): void {
    if (this.#state.name === "dead" || (this.#state.name === "verifying" && this.#state.demanded)) return;
    this.#activeUntil = Math.max(this.#activeUntil, now + ACTIVE_FOR_MS);
    this.#state = { name: "verifying", demanded: true, since: now, checkedAt: now - RECHECK_MS };
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
        return this.#whileHearing(now);
      case "silent":
      case "verifying":
        if (now >= this.#deadAt(this.#state)) {
          this.#state = { name: "dead" };
          return "dead";
        }
        if (now < this.#state.checkedAt + RECHECK_MS) return null;
        this.#state.checkedAt = now;
        return "check";
    }
  }

  pollTimeout(): Deadline | null {
    switch (this.#state.name) {
      case "idle":
      case "dead":
        return null;
      case "hearing":
        return {
          at: Math.min(this.#heardAt + SILENCE_MS, this.#measuredAt + MEASURE_INTERVAL_MS),
          reason: "path silence",
        };
      case "silent":
      case "verifying":
        return {
          at: Math.min(this.#state.checkedAt + RECHECK_MS, this.#deadAt(this.#state)),
          reason: "path check answer",
        };
    }
  }

  #whileHearing(now: Millis): LivenessVerdict {
    if (now >= this.#activeUntil) {
      this.#state = { name: "idle" };
      return null;
    }
    if (now >= this.#heardAt + SILENCE_MS) {
      this.#state = { name: "silent", since: now, checkedAt: now };
      return "check";
    }
    if (now < this.#measuredAt + MEASURE_INTERVAL_MS) return null;
    this.#state = { name: "verifying", demanded: false, since: now, checkedAt: now };
    return "check";
  }

  #deadAt(state: Extract<State, { name: "silent" | "verifying" }>): Millis {
    const patienceMs = Math.max(DEAD_AFTER_MIN_MS, DEAD_AFTER_ROUND_TRIPS * this.#rttMs);
    if (state.name === "silent" || state.demanded) return state.since + patienceMs;
    const silentAt = Math.max(state.since, this.#heardAt + SILENCE_MS);
    return Math.min(silentAt + patienceMs, state.since + MEASURE_PATIENCE * patienceMs);
  }

  /** This process did not run for `lateMs`: what came in meanwhile has not been read yet, so that time is nobody's silence. */
  #forgive(lateMs: Millis): void {
    this.#heardAt += lateMs;
    this.#measuredAt += lateMs;
    if (this.#state.name !== "silent" && this.#state.name !== "verifying") return;
    this.#state.since += lateMs;
    this.#state.checkedAt += lateMs;
  }
}
