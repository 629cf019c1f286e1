import { type Millis, seededRandom } from "@adit/core";
import type { PairId } from "@adit/ice";
import type { PathAction } from "../../src/path/actions.ts";
import { FollowerPolicy } from "../../src/path/follower.ts";
import type { PathPair } from "../../src/path/known-pairs.ts";
import { PathPolicy } from "../../src/path/policy.ts";
import { SlotTable } from "../../src/path/slots.ts";

/** One pair of the pretended network: each direction up or down, a round trip, a chance of loss per direction. */
export interface Wire {
  readonly pair: PathPair;
  rttMs: Millis;
  up: boolean;
  down: boolean;
  loss: number;
}

interface Scheduled {
  readonly at: Millis;
  readonly order: number;
  readonly run: (now: Millis) => void;
}

/**
 * Both policies on virtual time over pretended wires. QUIC is reduced to what the policies see of it: the agent's packets follow
 * its active slot, the connector's follow the last slot it heard the agent's data on, and `download` moves bytes one way.
 */
export class World {
  now: Millis = 0;
  readonly slots = new SlotTable();
  readonly agent: PathPolicy;
  readonly connector = new FollowerPolicy();
  readonly log: { at: Millis; who: "agent" | "connector"; action: string }[] = [];
  readonly wires = new Map<PairId, Wire>();
  signalingUp = true;
  /** Packets that reached the agent, and when. */
  readonly delivered: Millis[] = [];
  #active: PairId | null = null;
  #followed: PairId | null = null;
  #order = 0;
  #queue: Scheduled[] = [];
  readonly #random;

  constructor(seed = 1) {
    this.#random = seededRandom(seed);
    this.agent = new PathPolicy(0, {
      slots: this.slots,
      random: this.#random,
      explainNoDirect: () => "nobody answered",
    });
  }

  wire(id: string, kind: "relay" | "direct", rttMs: Millis, priority = kind === "direct" ? 100n : 1n): Wire {
    const wire = { pair: { id, kind, priority }, rttMs, up: true, down: true, loss: 0 };
    this.wires.set(id, wire);
    return wire;
  }

  /** The handshake completed over the wire, on both sides. */
  establish(wire: Wire): void {
    this.slots.bind(wire.pair.id, []);
    this.#active = wire.pair.id;
    this.#followed = wire.pair.id;
    this.agent.handleEstablished(this.now, wire.pair, "connected");
    this.connector.handleActive(this.now, wire.pair);
    this.#drain();
  }

  /** ICE found the pair valid, on both sides. */
  valid(wire: Wire): void {
    this.agent.handleAnswer(this.now, wire.pair, wire.rttMs);
    this.connector.handleAnswer(this.now, wire.pair, wire.rttMs);
    this.#drain();
  }

  /** The connector sends bytes every `everyMs`; the agent acknowledges what it hears. */
  download(untilMs: Millis, everyMs = 5): void {
    const tick = (now: Millis): void => {
      this.connector.handleActivity(now);
      if (this.#followed !== null) this.#packet(this.#followed, "down");
      if (now + everyMs <= untilMs) this.schedule(now + everyMs, tick);
    };
    this.schedule(this.now, tick);
  }

  /** The agent sends bytes every `everyMs`; the connector acknowledges. */
  upload(untilMs: Millis, everyMs = 5): void {
    const tick = (now: Millis): void => {
      this.agent.handleActivity(now);
      if (this.#active !== null) this.#packet(this.#active, "up");
      if (now + everyMs <= untilMs) this.schedule(now + everyMs, tick);
    };
    this.schedule(this.now, tick);
  }

  schedule(at: Millis, run: (now: Millis) => void): void {
    this.#queue.push({ at, order: this.#order++, run });
  }

  runUntil(endMs: Millis): void {
    for (let turns = 0; turns < 2_000_000; turns++) {
      this.#drain();
      const timers = [this.agent.pollTimeout()?.at, this.connector.pollTimeout()?.at];
      this.#queue.sort((a, b) => a.at - b.at || a.order - b.order);
      const next = Math.min(this.#queue[0]?.at ?? Infinity, timers[0] ?? Infinity, timers[1] ?? Infinity);
      if (next > endMs) {
        this.now = endMs;
        return;
      }
      this.now = Math.max(this.now, next);
      if (this.#queue[0] && this.#queue[0].at <= this.now) this.#queue.shift()?.run(this.now);
      else {
        this.agent.handleTimeout(this.now);
        this.connector.handleTimeout(this.now);
      }
    }
    throw new Error("the world does not come to rest");
  }

  changes(who: "agent" | "connector" = "agent"): string[] {
    return this.log.filter((entry) => entry.who === who && entry.action.includes("->")).map((entry) => entry.action);
  }

  count(who: "agent" | "connector", action: string): number {
    return this.log.filter((entry) => entry.who === who && entry.action === action).length;
  }

  at(who: "agent" | "connector", action: string): Millis | null {
    return this.log.find((entry) => entry.who === who && entry.action === action)?.at ?? null;
  }

  #passes(wire: Wire, direction: "up" | "down"): boolean {
    return wire[direction] && this.#random.float() >= wire.loss;
  }

  #drain(): void {
    for (let action = this.agent.pollAction(); action; action = this.agent.pollAction()) this.#act(action);
    for (let action = this.connector.pollAction(); action; action = this.connector.pollAction()) {
      this.log.push({ at: this.now, who: "connector", action: describe(action) });
      if (action.type === "check") this.#check("connector", action.pair);
      if (action.type === "ping" && this.#followed !== null) this.#packet(this.#followed, "down");
      if (action.type === "report" && this.signalingUp) {
        this.schedule(this.now + 20, (now) => this.agent.handlePeerReport(now));
      }
    }
  }

  #act(action: PathAction): void {
    this.log.push({ at: this.now, who: "agent", action: describe(action) });
    switch (action.type) {
      case "check":
        return this.#check("agent", action.pair);
      case "validate": {
        const wire = this.#wireOf(this.slots.pairOf(action.slot));
        if (!wire || !this.#passes(wire, "up") || !this.#passes(wire, "down")) return;
        return this.schedule(this.now + wire.rttMs, (now) => this.agent.handleValidated(now, action.slot));
      }
      case "migrate":
        this.#active = this.slots.pairOf(action.slot);
        if (this.#active !== null) this.#packet(this.#active, "up");
        return;
      case "look":
        for (const { pair } of this.wires.values()) if (pair.kind === "direct") this.#check("agent", pair.id);
        return;
      case "ping":
        if (this.#active !== null) this.#packet(this.#active, "up");
        return;
      default:
        return;
    }
  }

  #check(who: "agent" | "connector", pair: PairId): void {
    const wire = this.#wireOf(pair);
    if (!wire || !this.#passes(wire, "up") || !this.#passes(wire, "down")) return;
    const rttMs = wire.rttMs;
    this.schedule(this.now + rttMs, (now) => this[who].handleAnswer(now, wire.pair, rttMs));
  }

  /** One QUIC packet and, for data, its acknowledgement. */
  #packet(pair: PairId, direction: "up" | "down"): void {
    const wire = this.#wireOf(pair);
    if (!wire || !this.#passes(wire, direction)) return;
    this.schedule(this.now + wire.rttMs / 2, (now) => {
      if (direction === "up") {
        if (this.#active === pair && this.#followed !== pair) {
          this.#followed = pair;
          this.connector.handleActive(now, wire.pair);
        }
        this.connector.handleHeard(now, pair);
        if (this.#passes(wire, "down")) this.schedule(now + wire.rttMs / 2, (at) => this.agent.handleHeard(at, pair));
      } else {
        this.agent.handleHeard(now, pair);
        this.agent.handleActivity(now);
        this.delivered.push(now);
        if (this.#active !== null) {
          const back = this.#wireOf(this.#active);
          if (back && this.#passes(back, "up")) {
            const over = this.#active;
            this.schedule(now + back.rttMs / 2, (at) => this.connector.handleHeard(at, over));
          }
        }
      }
    });
  }

  #wireOf(pair: PairId | null): Wire | null {
    return pair === null ? null : (this.wires.get(pair) ?? null);
  }
}

function describe(action: { type: string } & Record<string, unknown>): string {
  if (action.type === "changed") return `${action.from} -> ${action.to}`;
  if (action.type === "check") return `check ${action.pair}`;
  return action.type;
}

/** Two sides that met on the relay; no direct pair. */
export function relayed(seed = 1, rttMs = 20): { world: World; relay: Wire } {
  const world = new World(seed);
  const relay = world.wire("relay", "relay", rttMs);
  world.establish(relay);
  world.valid(relay);
  return { world, relay };
}

/** On the relay, then direct, 2 s in; both pairs valid. */
export function settled(seed = 1, relayRttMs = 20, directRttMs = 10): { world: World; relay: Wire; direct: Wire } {
  const { world, relay } = relayed(seed, relayRttMs);
  const direct = world.wire("direct", "direct", directRttMs);
  world.valid(direct);
  world.runUntil(2_000);
  return { world, relay, direct };
}
