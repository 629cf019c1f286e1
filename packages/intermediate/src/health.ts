/** Whether the intermediate can do what it is there for, and how late its loop is. */
import { type Clock, type Millis, monotonicClock } from "@adit/core";
import { sentenceOf } from "@adit/program";
import type { NameStore } from "./names/name-store.ts";
import type { Intermediate } from "./server.ts";

/** How often the event loop's lag is measured, and how many measurements count as recent. */
const LAG_INTERVAL_MS = 250;
const LAG_SAMPLES = 40;

/** Recent lag from which on it is not healthy, ms: keepalives and checks of clients expire behind it. */
const MAX_LAG_MS = 2_000;

export interface HealthReport {
  readonly ready: boolean;
  readonly listening: boolean;
  /** "ok", or which listeners do not answer. */
  readonly listeners: string;
  readonly draining: boolean;
  /** "ok", or why names cannot be looked up. */
  readonly names: string;
  /** The longest of the last ten seconds. */
  readonly eventLoopLagMs: number;
  readonly [detail: string]: unknown;
}

/** What is looked at of the intermediate. */
export type Serving = Pick<Intermediate, "isListening" | "isDraining">;

/** As {@link SelfCheck}. */
export interface Listeners {
  check(): string;
}

export class Health {
  readonly #server: Serving;
  readonly #names: NameStore;
  readonly #lags: number[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #clock: Clock;
  readonly #listeners: Listeners;
  #expectedAt: Millis;

  constructor(server: Serving, names: NameStore, listeners: Listeners, clock: Clock = monotonicClock) {
    this.#server = server;
    this.#names = names;
    this.#listeners = listeners;
    this.#clock = clock;
    this.#expectedAt = clock.now() + LAG_INTERVAL_MS;
    this.#timer = setInterval(() => this.#measure(), LAG_INTERVAL_MS);
  }

  /** The longest lag of the event loop in the last ten seconds, ms. */
  get eventLoopLagMs(): number {
    // One that lasts still counts.
    return Math.max(0, this.#clock.now() - this.#expectedAt, ...this.#lags);
  }

  check(): HealthReport {
    const names = this.#namesWork();
    const listeners = this.#listeners.check();
    const { isListening: listening, isDraining: draining } = this.#server;
    const eventLoopLagMs = Math.round(this.eventLoopLagMs);
    const works = names === "ok" && listeners === "ok" && eventLoopLagMs < MAX_LAG_MS;
    return { ready: listening && !draining && works, listening, listeners, draining, names, eventLoopLagMs };
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #measure(): void {
    const now = this.#clock.now();
    this.#lags.push(Math.max(0, now - this.#expectedAt));
    if (this.#lags.length > LAG_SAMPLES) this.#lags.shift();
    this.#expectedAt = now + LAG_INTERVAL_MS;
  }

  #namesWork(): string {
    try {
      this.#names.ownerOf("health");
      return "ok";
    } catch (error) {
      return sentenceOf(error);
    }
  }
}
