/**
 * Seeded meetings of two agents behind any NATs, judged by the oracle. A seed draws everything: the NATs, the wires, relays, the
 * moments of signaling. What must hold is thrown as a sentence when it does not.
 */
import {
  fromUtf8,
  type Millis,
  type Random,
  randomInt,
  type SocketAddress,
  type SocketId,
  seededRandom,
  utf8,
} from "@adit/core";
import {
  canConnectDirectly,
  composeNats,
  type Host,
  type LinkOptions,
  type NatBehavior,
  type NatFiltering,
  type NatKind,
  type NatMapping,
  Network,
  type NetworkEvent,
  type Realm,
  type RunningMachine,
  runMachine,
} from "@adit/sim";
import { GatheringAgent, type GatheringEvent } from "../src/driver/gathering-agent.ts";
import type { PairInfo } from "../src/pair.ts";
import { SimRelay } from "./sim-relay.ts";

/** A public address, and every NAT of RFC 4787. */
const KINDS: readonly (NatKind | null)[] = [
  null,
  ...(["EIM", "ADM", "APDM"] satisfies NatMapping[]).flatMap((mapping) =>
    (["EIF", "ADF", "APDF"] satisfies NatFiltering[]).map((filtering) => ({ mapping, filtering })),
  ),
];

type Nats = readonly Partial<NatBehavior>[];

export interface Scenario {
  readonly seed: number;
  /** The NATs of each side, the outermost first. */
  readonly a: Nats;
  readonly b: Nats;
  /** A NAT in front of both. */
  readonly common: Partial<NatBehavior> | null;
  /** Both hosts in one network, behind A's NATs. */
  readonly sameNetwork: boolean;
  /** Both private networks have the same addresses, so that a host candidate of the peer's is one of our own. */
  readonly sameAddresses: boolean;
  readonly link: Partial<LinkOptions>;
  readonly relayForA: boolean;
  readonly relayForB: boolean;
  /** How long signaling takes, each way. */
  readonly signalingMs: readonly [Millis, Millis];
}

export interface Outcome {
  readonly direct: boolean;
  /** From the moment at which both had the other's parameters. */
  readonly validMs: Millis | null;
  readonly nominatedMs: Millis | null;
  /** Connectivity checks of both sides until then, repetitions too. */
  readonly checks: number;
}

/** Any hundred seeds in a row contain every pair of kinds once. */
export function drawScenario(seed: number): Scenario {
  const random = seededRandom(seed);
  const chance = (probability: number) => random.float() < probability;
  const kindOf = (index: number): Nats => {
    const kind = KINDS[index % KINDS.length];
    const layers: Nats = kind ? [behave(random, kind)] : [];
    if (!chance(0.25)) return layers;
    const carrier = KINDS[1 + randomInt(random, KINDS.length - 1)];
    return carrier ? [behave(random, carrier), ...layers] : layers;
  };
  const [a, b] = [kindOf(seed), kindOf(Math.floor(seed / KINDS.length))];
  const clean = chance(0.5);
  const carrier = KINDS[1 + randomInt(random, KINDS.length - 1)] ?? null;
  return {
    seed,
    a,
    b,
    common: carrier && chance(0.2) ? behave(random, carrier) : null,
    sameNetwork: a.length > 0 && chance(0.1),
    sameAddresses: chance(0.3),
    link: {
      latencyMs: 1 + random.float() * 25,
      jitterMs: random.float() * 10,
      ...(clean ? {} : { loss: random.float() * 0.03, duplicate: 0.05, reorder: 0.1 }),
    },
    relayForA: chance(0.4),
    relayForB: chance(0.4),
    signalingMs: [10 + random.float() * 200, 10 + random.float() * 200],
  };
}

function behave(random: Random, kind: NatKind): Partial<NatBehavior> {
  const ports = (["preserving", "sequential", "random"] as const)[randomInt(random, 3)] ?? "random";
  return { ...kind, ports, hairpin: random.float() < 0.5, inboundRefresh: random.float() < 0.5 };
}

/** What the oracle says of a scenario. */
export function expectsDirect(scenario: Scenario): boolean {
  const { a, b, common, sameNetwork } = scenario;
  if (sameNetwork) return true;
  if (!common) return canConnectDirectly(natOf(a), natOf(b));
  if (a.length === 0 && b.length === 0) return true; // one network
  // A host right behind the common NAT has an address there that the other's NAT can reach.
  if (a.length === 0 || b.length === 0) return canConnectDirectly(natOf(a), natOf(b));
  return common.hairpin === true && canConnectDirectly(natOf([common, ...a]), natOf([common, ...b]));
}

const natOf = (nats: Nats): NatKind | null =>
  composeNats(nats.map(({ mapping = "EIM", filtering = "APDF" }) => ({ mapping, filtering })));

/** One side: a gathering agent at work on a host. */
class Peer {
  readonly machine: GatheringAgent;
  readonly running: RunningMachine;
  readonly received: string[] = [];
  readonly events: { readonly at: Millis; readonly event: GatheringEvent }[] = [];
  readonly #network: Network;
  /** Takes what is to be signalled; what came before it was set comes at once. */
  #onEvent: ((event: GatheringEvent) => void) | null = null;

  constructor(host: Host, role: "controlling" | "controlled", seed: number, relay: SimRelay, allocates: boolean) {
    this.#network = host.network;
    const sockets = new Map<SocketId, { ip?: string }>([[0, {}]]);
    const bound = new Map<SocketId, SocketAddress>();
    const port = 40_000 + (seed % 10_000);
    const made: { machine: GatheringAgent | null } = { machine: null };
    const must = (): GatheringAgent => {
      if (!made.machine) throw new Error("the machine is not made yet");
      return made.machine;
    };
    this.running = runMachine(
      host,
      {
        handleDatagram: (now, socket, from, data) => {
          const received = must().handleDatagram(now, socket, from, data);
          if (received) this.received.push(fromUtf8(received) ?? "?");
        },
        handleTimeout: (now) => must().handleTimeout(now),
        pollTimeout: () => must().pollTimeout(),
        pollTransmit: () => must().pollTransmit(),
      },
      {
        sockets: new Map([...sockets.keys()].map((id) => [id, { port: port + id }])),
        onTurn: (now) => this.#drain(now),
      },
    );
    for (const [id, socket] of this.running.sockets) bound.set(id, socket.address);
    made.machine = new GatheringAgent(host.network.clock.now(), {
      role,
      random: seededRandom(seed),
      sockets: bound,
      stunServers: [relay.address],
      turnServers: allocates ? [{ address: relay.address, username: "user", password: "pass" }] : [],
    });
    this.machine = made.machine;
    this.running.wake();
  }

  get direct(): PairInfo[] {
    return this.machine.agent.pairs().filter((pair) => pair.valid && pair.direct);
  }

  get nominated(): PairInfo | null {
    return this.machine.agent.nominated;
  }

  signalTo(other: Peer, delayMs: Millis): void {
    const { clock } = this.#network;
    const later = (fn: () => void) =>
      void clock.schedule(clock.now() + delayMs, () => {
        fn();
        other.running.wake();
      });
    const parameters = this.machine.agent.local;
    later(() => void other.machine.agent.setRemoteParameters(clock.now(), parameters));
    this.#onEvent = (event) => {
      if (event.type === "local-candidate") {
        later(() => void other.machine.addRemoteCandidate(clock.now(), event.candidate));
      } else if (event.type === "gathered") {
        later(() => void other.machine.addRemoteCandidate(clock.now(), null));
      }
    };
    for (const { event } of this.events) this.#onEvent(event);
  }

  send(text: string): void {
    const out = this.machine.wrap(utf8(text));
    if (out) this.running.sockets.get(out.socket)?.send(out.data, out.to);
  }

  at(is: (event: GatheringEvent) => boolean): Millis | null {
    return this.events.find(({ event }) => is(event))?.at ?? null;
  }

  close(): void {
    this.machine.close(this.#network.clock.now());
    this.running.wake();
  }

  #drain(now: Millis): void {
    for (let event = this.machine.pollEvent(now); event; event = this.machine.pollEvent(now)) {
      this.events.push({ at: now, event });
      this.#onEvent?.(event);
    }
  }
}

/** Bounds that every scenario keeps. */
export const BOUNDS = {
  /** From both sides' having all parameters to a nominated pair on both, on wires that lose nothing. */
  cleanMs: 3_000,
  /** The same where up to 3 % are lost on each of up to eight wires a way: the time of one check transaction (RFC 8489 §6.2.1). */
  lossyMs: 39_500,
  /** Checks that both sides send until then, repetitions too, for each pair that they have. */
  checksPerPair: 8,
  /** The same on lossy wires. NATs that show a new address for each answer have the agents trigger each other meanwhile. */
  lossyChecksPerPair: 20,
  /** Until both say that there is no path. NATs that show a new address for each answer make the agents chase each other for a while. */
  failureMs: 300_000,
} as const;

function build(scenario: Scenario, network: Network): { readonly a: Host; readonly b: Host } {
  const outside = scenario.common
    ? network.addNat("carrier of both", "198.51.100.100", scenario.common).inside
    : network.internet;
  const behind = (name: string, nats: Nats, side: number): Realm => {
    let realm = outside;
    nats.forEach((behavior, depth) => {
      const ip = realm === network.internet ? `198.51.100.${side}` : `100.64.${depth}.${side}`;
      realm = network.addNat(`${name} ${depth}`, ip, behavior, { outside: realm }).inside;
    });
    return realm;
  };
  const ipIn = (realm: Realm, side: number): string => {
    if (realm === network.internet) return `198.51.100.${side}`;
    const overlap = scenario.sameAddresses && !scenario.sameNetwork && scenario.a.length > 0 && scenario.b.length > 0;
    return overlap ? "192.168.1.2" : `192.168.${side}.2`;
  };
  const realmOfA = behind("A", scenario.a, 1);
  const realmOfB = scenario.sameNetwork ? realmOfA : behind("B", scenario.b, 2);
  return {
    a: network.addHost("A", ipIn(realmOfA, 1), { realm: realmOfA }),
    b: network.addHost("B", ipIn(realmOfB, 2), { realm: realmOfB }),
  };
}

/** Runs a scenario from gathering to the last byte after close. @throws Error that says what did not hold. */
export function runScenario(scenario: Scenario, trace: ((event: NetworkEvent) => void) | null = null): Outcome {
  const network = new Network({ seed: scenario.seed, link: scenario.link });
  network.onEvent = trace;
  const { clock } = network;
  const relay = new SimRelay(network);
  const hosts = build(scenario, network);
  const a = new Peer(hosts.a, "controlling", scenario.seed * 2, relay, scenario.relayForA);
  const b = new Peer(hosts.b, "controlled", scenario.seed * 2 + 1, relay, scenario.relayForB);
  a.signalTo(b, scenario.signalingMs[0]);
  b.signalTo(a, scenario.signalingMs[1]);
  const direct = expectsDirect(scenario);
  const lossy = scenario.link.loss !== undefined;
  const expectsPath = direct || scenario.relayForA || scenario.relayForB;
  const began = Math.max(...scenario.signalingMs);
  const settled = () => {
    const [ours, theirs] = [a.nominated, b.nominated];
    return ours !== null && theirs !== null && areOnePath(ours, theirs) && (!direct || ours.direct);
  };
  if (!expectsPath) {
    expectFailure(network, a, b);
    expectNothingLeft(network, relay, a, b, lossy);
    return { direct, validMs: null, nominatedMs: null, checks: checksOf(a, b) };
  }
  const boundMs = lossy ? BOUNDS.lossyMs : BOUNDS.cleanMs;
  if (!clock.runUntilDone(settled, began + boundMs)) {
    throw new Error(
      `not settled after ${boundMs} ms: A ${describe(a)}; B ${describe(b)}; drops ${JSON.stringify(network.drops)}`,
    );
  }
  const nominatedMs = clock.now() - began;
  const checks = checksOf(a, b);
  const pairs = a.machine.agent.pairs().length + b.machine.agent.pairs().length;
  expect(
    checks <= pairs * (lossy ? BOUNDS.lossyChecksPerPair : BOUNDS.checksPerPair),
    `${checks} checks of ${pairs} pairs`,
  );
  const valid = [a, b].map((peer) => peer.at(({ type }) => type === "pair-valid") ?? Number.NaN);
  clock.advance(lossy ? 10_000 : 3_000);
  expect(settled(), `settled on one path and left it: A ${describe(a)}; B ${describe(b)}`);
  expect(a.machine.agent.role !== b.machine.agent.role, "both have one role");
  if (!direct)
    expect(a.direct.length + b.direct.length === 0, "a direct pair where the oracle says that there is none");
  expectData(network, a, b);
  expectNothingLeft(network, relay, a, b, lossy);
  return { direct, validMs: Math.max(...valid) - began, nominatedMs, checks };
}

/** Both sides mean the same path: what one calls remote, the other calls local. */
const areOnePath = (ours: PairInfo, theirs: PairInfo): boolean =>
  ours.remote.address.equals(theirs.local.address) && theirs.remote.address.equals(ours.local.address);

function expect(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}

const checksOf = (...peers: Peer[]): number =>
  peers.flatMap((peer) => peer.machine.agent.pairs()).reduce((sum, pair) => sum + pair.requestsSent, 0);

const describe = (peer: Peer): string => {
  const { agent } = peer.machine;
  const pairs = agent.pairs().map((p) => `${p.local.type} ${p.local.address.key} ${p.remote.type} ${p.id} ${p.state}`);
  return `${agent.role}, nominated ${agent.nominated?.id ?? "none"}, [${pairs.join("; ")}]`;
};

/** No path can exist: both say so, but not before RFC 8863 lets them. */
function expectFailure(network: Network, a: Peer, b: Peer): void {
  network.clock.advance(BOUNDS.failureMs);
  for (const peer of [a, b]) {
    expect(peer.direct.length === 0, "a direct pair where the oracle says that there is none");
    const failedAt = peer.at(({ type }) => type === "failed");
    expect(failedAt !== null, `no failure in time: ${describe(peer)}`);
    expect((failedAt ?? 0) > 39_500, `failed as early as ${failedAt} ms`);
  }
}

function expectData(network: Network, a: Peer, b: Peer): void {
  for (let i = 0; i < 20; i++) {
    a.send("from A");
    b.send("from B");
    network.clock.advance(20);
  }
  network.clock.advance(500);
  expect(a.received.includes("from B") && b.received.includes("from A"), "no data over the nominated pair");
}

function expectNothingLeft(network: Network, relay: SimRelay, a: Peer, b: Peer, lossy: boolean): void {
  const { clock } = network;
  const sent = { late: 0 };
  a.close();
  b.close();
  clock.advance(5_000);
  network.onEvent = ({ kind }) => {
    if (kind === "sent") sent.late++;
  };
  clock.advance(120_000);
  expect(sent.late === 0, `${sent.late} datagrams sent after close`);
  expect(clock.nextAt === null, `something is scheduled at ${clock.nextAt} ms after close`);
  for (const peer of [a, b]) {
    expect(peer.machine.pollTimeout() === null && peer.machine.pollTransmit() === null, "work is left after close");
  }
  if (!lossy) expect(relay.allocations === 0, `${relay.allocations} allocations are left after close`);
}
