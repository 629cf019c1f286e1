/** Either side's session without its endpoint. */
import { nullLogger, type Random, type SocketAddress, seededRandom } from "@adit/core";
import { Identity, QuicEndpoint } from "@adit/quic";
import { AgentSession } from "../src/peer/agent-session.ts";
import { ConnectorSession } from "../src/peer/connector-session.ts";
import { peerConfig } from "../src/peer/quic-configs.ts";
import type { SessionHost } from "../src/peer/session-host.ts";

export interface SideOptions {
  readonly sessionId: bigint;
  /** The host candidate that it has, on socket 0. */
  readonly own: SocketAddress;
  /** Who hears of its pairs, connections and ufrags; nobody unless given. */
  readonly claims?: Partial<Pick<SessionHost, "learnRoute" | "claimConnection" | "claimUfrags">>;
}

const identities = () => ({ agent: Identity.generate(seededRandom(1)), connector: Identity.generate(seededRandom(2)) });

/** What of its endpoint a session uses here. */
function hostOf({ peerId }: Identity, random: Random, { own, claims }: SideOptions): SessionHost {
  const host: Partial<SessionHost> = {
    peerId,
    log: nullLogger,
    random,
    icePolicy: "all",
    isServer: () => false,
    network: { policy: "all", udp: "open", mapping: "eim", ports: "unknown" },
    isGathering: false,
    now: () => 0,
    signal: () => true,
    localCandidates: () => [{ type: "host", address: own, base: own, socket: 0 }],
    predictPorts: () => {},
    touch: () => {},
    learnRoute: () => {},
    forgetRoute: () => {},
    claimUfrags: () => {},
    ...claims,
  };
  return host as SessionHost;
}

/** A session that waits for its agent's offer, and the identities of both. */
export function connectorSide(options: SideOptions) {
  const random = seededRandom(3);
  const { agent, connector } = identities();
  const session = new ConnectorSession(0, hostOf(connector, random, options), options.sessionId, {
    peerId: agent.peerId,
    isPermissionPending: () => false,
    offers: () => true,
    onService: () => {},
  });
  return { session, agent, connector, random };
}

/** A session that has made its offer and waits for the connector's answer; it begins no handshake before it is told whom with. */
export function agentSide(options: SideOptions) {
  const random = seededRandom(4);
  const { agent, connector } = identities();
  const session = new AgentSession(0, hostOf(agent, random, options), options.sessionId, {
    target: "office",
    expectedPeer: null,
    service: "web",
    prove: () => null,
    timeoutMs: 60_000,
    relayRttMs: 0,
    quic: new QuicEndpoint({ random }),
    config: peerConfig({ role: "agent", identity: agent }),
    socketTo: () => null,
    knowsUs: () => true,
  });
  session.start(0);
  return { session, agent, connector, random };
}
