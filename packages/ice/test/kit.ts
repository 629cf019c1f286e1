import { type Millis, SocketAddress, type SocketId, seededRandom } from "@adit/core";
import { type Host, Network, type NetworkOptions, type RunningMachine, runMachine } from "@adit/sim";
import { IceAgent } from "../src/agent.ts";
import type { IceAgentOptions, IceEvent } from "../src/agent-types.ts";
import type { Candidate, LocalCandidate } from "../src/candidate.ts";
import type { PairInfo } from "../src/pair.ts";

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
