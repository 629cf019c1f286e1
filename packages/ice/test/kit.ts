import { type Millis, type Random, SocketAddress, type SocketId, seededRandom, type Transmit, utf8 } from "@adit/core";
import { type Host, Network, type NetworkOptions, type RunningMachine, runMachine } from "@adit/sim";
import { IceAgent } from "../src/agent.ts";
import type { IceAgentOptions, IceEvent } from "../src/agent-types.ts";
import type { Candidate, LocalCandidate } from "../src/candidate.ts";
import { type Check, encodeCheck } from "../src/checks.ts";
import { type PairInfo, pairId } from "../src/pair.ts";
import { decodeStun, type StunMessage } from "../src/stun/message.ts";

export const address = (ip: string, port: number): SocketAddress => SocketAddress.of(ip, port);

/** A host candidate of a peer, as signaling would bring it. */
export function remoteHost(at: SocketAddress, priority = 2_130_706_431, foundation = "1"): Candidate {
  return { foundation, component: 1, transport: "udp", priority, address: at, type: "host", related: null };
}

export const drainEvents = (agent: IceAgent): IceEvent[] => {
  const events: IceEvent[] = [];
  for (let event = agent.pollEvent(); event; event = agent.pollEvent()) events.push(event);
  return events;
};

export interface SideOptions extends Partial<Omit<IceAgentOptions, "random">> {
  /** Sockets by id with the address each binds; one wildcard socket 0 by default. */
  readonly sockets?: ReadonlyMap<SocketId, { readonly ip?: string }>;
  readonly seed?: number;
}

/** An agent at work on a simulated host, with what happened to it. */
export class Side {
  readonly agent: IceAgent;
  readonly running: RunningMachine;
  readonly events: { readonly at: Millis; readonly event: IceEvent }[] = [];
  readonly host: Host;
  onEvent: ((event: IceEvent) => void) | null = null;

  constructor(host: Host, role: "controlling" | "controlled", options: SideOptions = {}) {
    this.host = host;
    const { sockets, seed, ...rest } = options;
    this.agent = new IceAgent({ role, ...rest, random: seededRandom(seed ?? (role === "controlling" ? 1 : 2)) });
    this.running = runMachine(host, this.agent, {
      ...(sockets ? { sockets } : {}),
      onTurn: (now) => {
        for (const event of drainEvents(this.agent)) {
          this.events.push({ at: now, event });
          this.onEvent?.(event);
        }
      },
    });
  }

  get now(): Millis {
    return this.host.network.clock.now();
  }

  /** Host candidates of all its sockets, then the end. */
  gather(): void {
    for (const [id, socket] of this.running.sockets) {
      this.agent.addLocalCandidate(this.now, { type: "host", address: socket.address, socket: id });
    }
    this.agent.endOfLocalCandidates(this.now);
    this.running.wake();
  }

  is<Type extends IceEvent["type"]>(type: Type): (Extract<IceEvent, { type: Type }> & { readonly at: Millis })[] {
    return this.events
      .filter(({ event }) => event.type === type)
      .map(({ at, event }) => ({ ...(event as Extract<IceEvent, { type: Type }>), at }));
  }

  has(type: IceEvent["type"]): boolean {
    return this.events.some(({ event }) => event.type === type);
  }

  get valid(): PairInfo[] {
    return this.agent.pairs().filter((pair) => pair.valid);
  }
}

/** Carries parameters and candidates between two sides, `delayMs` each way; what was found before is carried too. */
export function signal(a: Side, b: Side, delayMs: Millis = 20): void {
  const { clock } = a.host.network;
  const oneWay = (from: Side, to: Side) => {
    const later = (fn: () => void) =>
      clock.schedule(clock.now() + delayMs, () => {
        fn();
        to.running.wake();
      });
    const parameters = from.agent.local;
    later(() => to.agent.setRemoteParameters(to.now, parameters));
    const carry = (candidate: LocalCandidate) => later(() => to.agent.addRemoteCandidate(to.now, candidate));
    for (const candidate of from.agent.localCandidates) carry(candidate);
    from.onEvent = (event) => {
      if (event.type === "local-candidate") carry(event.candidate);
    };
    later(() => to.agent.endOfRemoteCandidates(to.now));
  };
  oneWay(a, b);
  oneWay(b, a);
}

/** Two hosts on the open internet, agents on them, candidates gathered. */
export function makePair(
  options: NetworkOptions = {},
  a: SideOptions = {},
  b: SideOptions = {},
): { readonly network: Network; readonly a: Side; readonly b: Side } {
  const network = new Network(options);
  const left = new Side(network.addHost("a", "198.51.100.1"), "controlling", { seed: (options.seed ?? 1) * 2, ...a });
  const right = new Side(network.addHost("b", "198.51.100.2"), "controlled", {
    seed: (options.seed ?? 1) * 2 + 1,
    ...b,
  });
  left.gather();
  right.gather();
  return { network, a: left, b: right };
}

/** Both sides have the same pair nominated. */
export function agreed(a: Side, b: Side): boolean {
  const ours = a.agent.nominated;
  const theirs = b.agent.nominated;
  return ours !== null && theirs !== null && ours.valid && theirs.valid;
}

// One agent, driven step by step

export const OURS = address("198.51.100.1", 1000);
export const PEER = address("198.51.100.2", 2000);
export const STRANGER = address("203.0.113.66", 6666);
export const PEER_PARAMETERS = { ufrag: "peer", pwd: "peerpeerpeerpeerpeerpeer", options: [] };
export const PEER_KEY = utf8(PEER_PARAMETERS.pwd);

/** An agent with one candidate and one of the peer's, whose check is on its way since time 0. */
export function makeAgent(role: "controlling" | "controlled" = "controlled", remotePriority?: number) {
  const agent = new IceAgent({ role, random: seededRandom(1), tieBreaker: 1000n });
  agent.addLocalCandidate(0, { type: "host", address: OURS, socket: 0 });
  agent.setRemoteParameters(0, PEER_PARAMETERS);
  agent.addRemoteCandidate(0, remoteHost(PEER, remotePriority));
  const sent = drainTransmits(agent);
  drainEvents(agent);
  const first = sent[0];
  if (sent.length !== 1 || !first) throw new Error("one check was expected");
  return { agent, request: mustDecode(first.data), id: pairId(0, PEER) };
}

/** All that anyone can see of an agent. */
export const stateOf = (agent: IceAgent): string =>
  JSON.stringify(
    [agent.role, agent.localCandidates, agent.pairs(), agent.nominated, agent.pollTimeout()],
    (_key, value) => (typeof value === "bigint" ? `${value}` : value),
  );

export function drainTransmits(agent: IceAgent): Transmit[] {
  const all: Transmit[] = [];
  for (let one = agent.pollTransmit(); one; one = agent.pollTransmit()) all.push(one);
  return all;
}

/** The requests among what an agent wants sent. */
export const drainRequests = (agent: IceAgent): StunMessage[] =>
  drainTransmits(agent)
    .map(({ data }) => mustDecode(data))
    .filter((message) => message.class === "request");

/** Runs an agent's timers until `until`; returns the requests that it sent, with their times. */
export function runAlone(agent: IceAgent, until: Millis): { readonly at: Millis; readonly request: StunMessage }[] {
  const sent: { at: Millis; request: StunMessage }[] = [];
  for (let due = agent.pollTimeout(); due && due.at <= until; due = agent.pollTimeout()) {
    agent.handleTimeout(due.at);
    for (const request of drainRequests(agent)) sent.push({ at: due.at, request });
  }
  return sent;
}

export function mustDecode(data: Uint8Array): StunMessage {
  const message = decodeStun(data);
  if (!message) throw new Error("not a STUN message");
  return message;
}

/** A check from the peer, authentic unless `change` says otherwise. */
export const makeCheck = (agent: IceAgent, random: Random, change: Partial<Check> = {}): Uint8Array =>
  encodeCheck({
    transactionId: random.bytes(12),
    username: `${agent.local.ufrag}:${PEER_PARAMETERS.ufrag}`,
    key: utf8(agent.local.pwd),
    priority: 1_862_270_975,
    role: agent.role === "controlling" ? "controlled" : "controlling",
    tieBreaker: 1n,
    nominate: null,
    padTo: null,
    ...change,
  });
