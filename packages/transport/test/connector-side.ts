/** A connector's session without its endpoint. */
import { nullLogger, type SocketAddress, seededRandom } from "@adit/core";
import { Identity } from "@adit/quic";
import { ConnectorSession } from "../src/peer/connector-session.ts";
import type { SessionHost } from "../src/peer/session-host.ts";

export interface ConnectorSideOptions {
  readonly sessionId: bigint;
  /** The host candidate that it has, on socket 0. */
  readonly own: SocketAddress;
  /** Who hears of its pairs, connections and ufrags; nobody unless given. */
  readonly claims?: Partial<Pick<SessionHost, "learnRoute" | "claimConnection" | "claimUfrags">>;
}

/** A session that waits for its agent's offer, and the identities of both. */
export function connectorSide({ sessionId, own, claims }: ConnectorSideOptions) {
  const random = seededRandom(3);
  const [agent, connector] = [Identity.generate(seededRandom(1)), Identity.generate(seededRandom(2))];
  // What of its endpoint a session uses here.
  const host: Partial<SessionHost> = {
    peerId: connector.peerId,
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
  const session = new ConnectorSession(0, host as SessionHost, sessionId, {
    peerId: agent.peerId,
    isPermissionPending: () => false,
    offers: () => true,
    onService: () => {},
  });
  return { session, agent, connector, random };
}
