/** From the wire to the status: what a session makes of the round trips of its checks. */
import { nullLogger, type Random, SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { type Candidate, IceAgent, isUdpCandidate } from "@adit/ice";
import { ANY_SERVICE } from "@adit/signaling";
import type { Session } from "../src/peer/session.ts";
import { agentSide, connectorSide } from "./session-sides.ts";

const SOCKET = 0;
const SESSION_ID = 7n;
const OWN = SocketAddress.of("192.0.2.3", 3000);
const RELAYED = SocketAddress.of("192.0.2.2", 2000);
const ONE_WAY_MS = 4;
/** The first checks leave before the NAT lets them through. */
const OPEN_AT_MS = 400;
/** By then one was repeated and answered; another one is asked for. */
const PROBE_AT_MS = 1_500;

/** The ICE of the other side, by hand: it has a relayed address alone. */
function otherSide(role: "controlling" | "controlled", random: Random): IceAgent {
  const ice = new IceAgent({ role, random, policy: "all", taMs: 5, log: nullLogger });
  ice.addLocalCandidate(0, { type: "relay", address: RELAYED, base: RELAYED, socket: SOCKET });
  return ice;
}

const candidatesOf = (ice: IceAgent) => ice.localCandidates.filter(isUdpCandidate);

const WORLDS = {
  /** A connector's session that has answered an agent's offer. */
  connector: () => {
    const { session, random } = connectorSide({ sessionId: SESSION_ID, own: OWN });
    const ice = otherSide("controlling", random);
    session.handleSignaling(0, {
      type: "candidate-offer",
      sessionId: SESSION_ID,
      serviceId: ANY_SERVICE,
      ticket: null,
      ice: ice.local,
      candidates: candidatesOf(ice),
    });
    return { session, ice };
  },
  /** An agent's session whose offer a connector has answered. */
  agent: () => {
    const { session, random } = agentSide({ sessionId: SESSION_ID, own: OWN });
    const ice = otherSide("controlled", random);
    session.handleSignaling(0, {
      type: "candidate-answer",
      sessionId: SESSION_ID,
      ice: ice.local,
      candidates: candidatesOf(ice),
    });
    return { session, ice };
  },
};

function world(side: keyof typeof WORLDS): { readonly session: Session; readonly ice: IceAgent } {
  const { session, ice } = WORLDS[side]();
  ice.setRemoteParameters(0, session.ice.local);
  ice.addRemoteCandidate(0, session.ice.localCandidates[0] as Candidate);
  return { session, ice };
}

/** RFC 8489 §5: the class of a success response. */
const isAnswer = (data: Uint8Array): boolean => ((data[0] ?? 0) & 1) === 1 && ((data[1] ?? 0) & 0x10) === 0;

for (const side of ["agent", "connector"] as const)
  test(`${side}: the round trip of a check that was repeated gives way to the first one that is known`, (t) => {
    const { session, ice } = world(side);
    const known = new Set<number | null>();
    let toAgent: { readonly at: number; readonly data: Uint8Array }[] = [];
    let toConnector: { readonly at: number; readonly data: Uint8Array }[] = [];
    for (let now = 0; now < 2_000; now++) {
      if (now === PROBE_AT_MS) for (const { id } of session.ice.pairs()) session.ice.probe(now, id);
      for (const { data } of toAgent.filter(({ at }) => at === now)) ice.handleDatagram(now, SOCKET, OWN, data);
      for (const { data } of toConnector.filter(({ at }) => at === now)) session.handleStun(now, SOCKET, RELAYED, data);
      ice.handleTimeout(now);
      session.handleTimeout(now);
      session.pump(now);
      const at = now + ONE_WAY_MS;
      for (let sent = session.pollTransmit(now); sent; sent = session.pollTransmit(now))
        if (now >= OPEN_AT_MS) toAgent.push({ at, data: sent.data.slice() });
      // Its own checks are lost: each that came would have the connector send a new one.
      for (let sent = ice.pollTransmit(); sent; sent = ice.pollTransmit())
        if (isAnswer(sent.data)) toConnector.push({ at, data: sent.data.slice() });
      toAgent = toAgent.filter(({ at }) => at > now);
      toConnector = toConnector.filter(({ at }) => at > now);
      known.add(session.status().relayRttMs);
    }
    const [before, bound, true_, ...more] = [...known];
    t.equal(before, null);
    t.ok((bound ?? 0) > OPEN_AT_MS, `${bound} ms at first: which of the requests was answered is not known`);
    t.equal(true_, 2 * ONE_WAY_MS, "and then what the path takes");
    t.same(more, []);
  });
