import type { IpFamily, SocketAddress } from "@adit/core";
import { type Candidate, candidatePriority, type IceAgent } from "@adit/ice";
import type { ControlMessage, NetworkView as NetworkViewMessage, SignaledCandidate } from "@adit/signaling";
import { explainNoDirect } from "../nat/explain.ts";
import { type NetworkView, readNetworkView } from "../nat/network-view.ts";
import type { SessionHost } from "./session-host.ts";

/** Of an offer or an answer (docs/protocol.md §3). */
const MAX_ANNOUNCED = 64;

type Trickle = Extract<ControlMessage, { type: "candidate" }>;

export interface SessionNetworkOptions {
  readonly host: SessionHost;
  /** Our current generation. */
  readonly ufrag: () => string;
  readonly trickle: (message: Trickle) => void;
  readonly tell: (message: NetworkViewMessage) => void;
}

/** What both sides know of their networks: tells the peer, believes it for sentences only, and offers the ports that our NAT may use next. */
export class SessionNetwork {
  readonly #options: SessionNetworkOptions;
  #peer: NetworkView | null = null;
  #announced = false;
  #predicted: readonly SignaledCandidate[] = [];

  constructor(options: SessionNetworkOptions) {
    this.#options = options;
  }

  /** Our own candidates and, where there is room, those that may be ours by the time the peer tries them; what comes later trickles. */
  announce(own: readonly SignaledCandidate[]): readonly SignaledCandidate[] {
    this.#announced = true;
    return [...own, ...this.#predicted].slice(0, MAX_ANNOUNCED);
  }

  /** Behind a NAT with another port for each destination, in a new generation: which will it be? */
  predict(): void {
    const { host, ufrag, trickle } = this.#options;
    const generation = ufrag();
    host.predictPorts((addresses) => {
      if (generation !== ufrag()) return;
      this.#predicted = addresses.map(predictedCandidate);
      if (!this.#announced) return;
      for (const candidate of this.#predicted) trickle({ type: "candidate", ufrag: generation, candidate });
    });
  }

  /** To be called when the control stream is there, and when our view changed. */
  tell(): void {
    const { host, tell } = this.#options;
    tell({ type: "network-view", ...host.network });
  }

  handleView(message: NetworkViewMessage): void {
    this.#peer = readNetworkView(message);
  }

  explainNoDirect(ice: IceAgent): string {
    const publicIps = ice.localCandidates.filter(({ type }) => type === "srflx").map(({ address }) => address.ip);
    return explainNoDirect({
      own: this.#options.host.network,
      peer: this.#peer,
      publicIps,
      pairs: ice.pairs(),
      ownFamilies: familiesOf(ice.localCandidates),
      peerFamilies: familiesOf(ice.remoteCandidates),
    });
  }
}

const familiesOf = (candidates: readonly Pick<Candidate, "type" | "address">[]): ReadonlySet<IpFamily> =>
  new Set(candidates.filter(({ type }) => type !== "relay").map(({ address }) => address.family));

/** Below all server-reflexive candidates that are known and not guessed; each is a foundation of its own, so that none waits for another. */
const HIGHEST_PREFERENCE = 255;

function predictedCandidate(address: SocketAddress, index: number): SignaledCandidate {
  return {
    foundation: `predicted${index + 1}`,
    component: 1,
    transport: "udp",
    priority: candidatePriority("srflx", HIGHEST_PREFERENCE - index),
    address,
    type: "srflx",
    related: null,
  };
}
