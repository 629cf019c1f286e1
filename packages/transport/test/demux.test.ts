import { nullLogger, SocketAddress, seededRandom } from "@adit/core";
import { type T, test } from "@adit/harness";
import { type Candidate, IceAgent } from "@adit/ice";
import { type Identity, QuicConfig, QuicEndpoint } from "@adit/quic";
import { ANY_SERVICE, PEER_ALPN } from "@adit/signaling";
import { Demux, EARLY_FOR_MS, EARLY_PER_SESSION } from "../src/peer/demux.ts";
import { sessionTag } from "../src/peer/session-tag.ts";
import { connectorSide } from "./session-sides.ts";

const SOCKET = 0;
const own = SocketAddress.of("192.0.2.3", 3000);
const agentAddress = SocketAddress.of("192.0.2.2", 2000);
const stranger = SocketAddress.of("198.51.100.66", 6666);
const sessionId = 0x0123_4567_89ab_cdefn;

/** A connector with one session that was offered and answered, and the agent's side of it by hand. */
function world(t: T) {
  // The claims come when the session has begun, and the demultiplexer, which has the connector's identity, is there.
  const { session, agent, connector, random } = connectorSide({
    sessionId,
    own,
    claims: {
      learnRoute: (pair, of) => demux.claimPair(pair, of),
      claimConnection: (connection, of) => demux.claimConnection(connection, of),
      claimUfrags: (of) => demux.claimUfrags(of),
    },
  });
  const config = (role: "client" | "server", identity: Identity) =>
    QuicConfig.create({ role, identity, alpn: PEER_ALPN, maxIdleTimeoutMs: 60_000 });
  const quic = new QuicEndpoint({ random, server: config("server", connector) });
  const demux = new Demux(quic, () => {});
  demux.add(session);
  const ice = new IceAgent({ role: "controlling", random, policy: "all", taMs: 5, log: nullLogger });
  session.handleSignaling(0, {
    type: "candidate-offer",
    sessionId,
    serviceId: ANY_SERVICE,
    ticket: null,
    ice: ice.local,
    candidates: [],
  });
  ice.setRemoteParameters(0, session.ice.local);
  ice.addLocalCandidate(0, { type: "host", address: agentAddress, base: agentAddress, socket: SOCKET });
  ice.addRemoteCandidate(0, session.ice.localCandidates[0] as Candidate);
  ice.handleTimeout(0);
  const client = new QuicEndpoint({ random }).connect(0, {
    config: config("client", agent),
    local: { host: "192.0.2.9", port: 1 },
    remote: { host: "192.0.2.9", port: 2 },
    sourceIdSuffix: sessionTag(sessionId),
  });
  const out = new Uint8Array(2048);
  const initial = out.slice(0, t.must(client.send(out)).length);
  return { demux, quic, session, check: t.must(ice.pollTransmit()).data.slice(), initial };
}

test("a source whose gate is closed reaches no QUIC state, whatever it sends", (t) => {
  const { demux, quic, session, initial } = world(t);
  const random = seededRandom(8);
  for (let i = 0; i < 1_000; i++) {
    const data = i % 2 === 0 ? initial.slice() : random.bytes(30 + (i % 1_200));
    if (i % 2 === 1) data[0] = 0x40 | (i & 0xbf); // short and long headers
    demux.handleDatagram(i, SOCKET, stranger, data);
  }
  t.equal(quic.connectionCount, 0);
  t.equal(quic.connectionIdCount, 0);
  t.same(session.connections, []);
  t.equal(session.data.gates.isOpen(0, `${SOCKET}|${stranger.key}`), false);
  t.ok(demux.drops.get("early-overflow") + demux.drops.get("quic-from-stranger") >= 900);
});

test("a first packet that overtakes its check waits for it, and then opens the session's connection", (t) => {
  const { demux, quic, session, check, initial } = world(t);
  demux.handleDatagram(10, SOCKET, agentAddress, initial.slice());
  t.equal(quic.connectionCount, 0);
  demux.handleDatagram(20, SOCKET, agentAddress, check);
  t.equal(quic.connectionCount, 1);
  t.equal(session.connections.length, 1);
});

test("no more than 4 of a session wait, and none longer than 200 ms", (t) => {
  const { demux, quic, check, initial } = world(t);
  for (let i = 0; i < EARLY_PER_SESSION + 3; i++) demux.handleDatagram(0, SOCKET, agentAddress, initial.slice());
  t.equal(demux.drops.get("early-overflow"), 3);
  demux.retryEarly(EARLY_FOR_MS);
  t.equal(demux.drops.get("early-expired"), EARLY_PER_SESSION);
  demux.handleDatagram(EARLY_FOR_MS + 1, SOCKET, agentAddress, check);
  t.equal(quic.connectionCount, 0);
});

test("the gate is for one address: packets of the connection from elsewhere leave no trace", (t) => {
  const { demux, quic, session, check, initial } = world(t);
  demux.handleDatagram(0, SOCKET, agentAddress, check);
  demux.handleDatagram(0, SOCKET, stranger, initial.slice());
  t.equal(quic.connectionCount, 0);
  demux.handleDatagram(1, SOCKET, agentAddress, initial.slice());
  const connection = t.must(session.connections[0]);
  const before = connection.stats().packetsReceived;
  demux.handleDatagram(2, SOCKET, stranger, initial.slice());
  t.equal(connection.stats().packetsReceived, before);
  t.equal(session.data.drops.get("gate-closed"), 1);
});

test("a check with the wrong password opens nothing", (t) => {
  const { demux, quic, check, initial } = world(t);
  const forged = check.slice();
  // One bit within MESSAGE-INTEGRITY, which ends 8 bytes (FINGERPRINT) before the message does.
  forged[forged.length - 12] = (forged[forged.length - 12] as number) ^ 1;
  demux.handleDatagram(0, SOCKET, agentAddress, forged);
  demux.handleDatagram(1, SOCKET, agentAddress, initial.slice());
  t.equal(quic.connectionCount, 0);
});
