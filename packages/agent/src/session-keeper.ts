import { setTimeout as delay } from "node:timers/promises";
import { Backoff, type Clock, type Logger, monotonicClock, type Random, systemRandom } from "@adit/core";
import { codeOf, sentenceOf } from "@adit/program";

/** What the keeper needs to know of a session. */
export interface KeptSession {
  readonly closed: Promise<{ readonly code: string; readonly reason: string }>;
  /** Resolves when another session should take over; this one ends by itself. */
  readonly retiring?: Promise<void>;
  close(reason?: string): void;
}

export interface SessionKeeperOptions<S extends KeptSession> {
  /** One try for a session; the first error of all ends the keeper, later ones only when they are permanent. */
  readonly connect: () => Promise<S>;
  /** Whether asking again can never help. */
  readonly isPermanent: (error: unknown) => boolean;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Waits; rejects when the signal aborts. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
}

type State<S> =
  | { readonly name: "connecting" }
  | { readonly name: "up"; readonly session: S }
  | { readonly name: "waiting" }
  | { readonly name: "ended"; readonly error: unknown };

/** A session that lasted this long was a good one: the next loss begins with no delay again. */
const GOOD_SESSION_MS = 5000;
/** No more connections wait for a session at once; the next ones fail at once. */
const WAITING_LIMIT = 1024;

const systemSleep = async (ms: number, signal: AbortSignal): Promise<void> => {
  await delay(ms, undefined, { signal });
};

/**
 * Keeps one session to one target, shared by all listeners. When it ends or retires, the next is sought at once, and then with backoff,
 * forever; a permanent refusal, or failing before there ever was a session, ends it.
 */
export class SessionKeeper<S extends KeptSession> {
  readonly #options: SessionKeeperOptions<S>;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Between tries that fail. */
  readonly #retry = new Backoff({ initialMs: 250, maxMs: 5000 });
  /** Between sessions that do not last. */
  readonly #flapping = new Backoff({ initialMs: 250, maxMs: 5000 });
  readonly #waiting = new Set<{ resolve: (session: S) => void; reject: (error: unknown) => void }>();
  #state: State<S> = { name: "connecting" };

  constructor(options: SessionKeeperOptions<S>) {
    this.#options = options;
    this.#clock = options.clock ?? monotonicClock;
    this.#random = options.random ?? systemRandom;
    this.#sleep = options.sleep ?? systemSleep;
  }

  get isUp(): boolean {
    return this.#state.name === "up";
  }

  /** Resolves when the signal aborts. @throws what made it give up. */
  async run(): Promise<void> {
    const { signal } = this.#options;
    try {
      for (let wasConnected = false; !signal.aborted; ) {
        const session = await this.#connect(wasConnected);
        if (session === null) continue;
        wasConnected = true;
        await this.#hold(session);
      }
      this.#end(new Error("the program is ending"));
    } catch (error) {
      const why = signal.aborted ? new Error("the program is ending") : error;
      this.#end(why);
      if (!signal.aborted) throw error;
    }
  }

  /**
   * The session that is up, or the next one.
   * @throws when the keeper ended, when too many wait, or with the signal's reason.
   */
  session(signal: AbortSignal): Promise<S> {
    const state = this.#state;
    if (state.name === "up") return Promise.resolve(state.session);
    if (state.name === "ended") return Promise.reject(state.error);
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.#waiting.size >= WAITING_LIMIT)
      return Promise.reject(new Error("too many connections wait for the session"));
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.delete(waiter);
        signal.removeEventListener("abort", onAbort);
      };
      const onAbort = (): void => {
        leave();
        reject(signal.reason);
      };
      const waiter = {
        resolve: (session: S) => {
          leave();
          resolve(session);
        },
        reject: (error: unknown) => {
          leave();
          reject(error);
        },
      };
      this.#waiting.add(waiter);
      signal.addEventListener("abort", onAbort);
    });
  }

  /** One try. Null when it failed and another may follow now. */
  async #connect(wasConnected: boolean): Promise<S | null> {
    const { connect, isPermanent, log, signal } = this.#options;
    this.#state = { name: "connecting" };
    try {
      return await connect();
    } catch (error) {
      if (signal.aborted || !wasConnected || isPermanent(error)) throw error;
      const firstFailure = this.#retry.attempt === 0;
      const retryInMs = Math.round(this.#retry.next(this.#random.float()));
      const why = { code: codeOf(error), reason: sentenceOf(error), retryInMs };
      log[firstFailure ? "warn" : "debug"]("reconnect-failed", {
        ...why,
        message: `${sentenceOf(error)}; trying again`,
      });
      await this.#wait(retryInMs);
      return null;
    }
  }

  /** Until the session ends. */
  async #hold(session: S): Promise<void> {
    const { signal } = this.#options;
    if (signal.aborted) return session.close("the program is ending");
    const since = this.#clock.now();
    this.#state = { name: "up", session };
    this.#retry.reset();
    for (const waiter of [...this.#waiting]) waiter.resolve(session);
    const retired = await endOf(session, signal);
    if (signal.aborted || retired) return;
    const lasted = this.#clock.now() - since >= GOOD_SESSION_MS;
    if (lasted) this.#flapping.reset();
    const isFirst = this.#flapping.attempt === 0;
    const pauseMs = this.#flapping.next(this.#random.float());
    if (!isFirst) await this.#wait(pauseMs);
  }

  async #wait(ms: number): Promise<void> {
    this.#state = { name: "waiting" };
    await this.#sleep(ms, this.#options.signal);
  }

  #end(error: unknown): void {
    this.#state = { name: "ended", error };
    for (const waiter of [...this.#waiting]) waiter.reject(error);
  }
}

/** Resolves when the session has ended or retires, with true in that case, or the signal aborts. */
function endOf(session: KeptSession, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (retired: boolean): void => {
      signal.removeEventListener("abort", onEnd);
      resolve(retired);
    };
    const onEnd = (): void => end(false);
    signal.addEventListener("abort", onEnd);
    session.closed.then(onEnd, onEnd);
    session.retiring?.then(() => end(true));
    if (signal.aborted) onEnd();
  });
}
