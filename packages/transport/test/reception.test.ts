import { nullLogger, SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import type { CandidateOffer } from "@adit/signaling";
import { ConnectorSession } from "../src/peer/connector-session.ts";
import type { Presence } from "../src/peer/presence.ts";
import { Reception } from "../src/peer/reception.ts";
import type { SessionHost } from "../src/peer/session-host.ts";
import { SessionSet } from "../src/peer/session-set.ts";

/** A front door that lets nobody in, what it refused, and what it said of it. */
function closedDoor() {
  const refused: bigint[] = [];
  const warnings: Record<string, unknown>[] = [];
  const reception = new Reception({
    host: { peerId: "c".repeat(52) } as SessionHost,
    sessions: new SessionSet(),
    log: { ...nullLogger, warn: (event, fields) => void warnings.push({ event, ...fields }) },
    admit: () => false,
    offers: () => true,
    onService: undefined,
    isPermissionPending: () => false,
    refuse: (_at, session) => void refused.push(session),
    wallClock: () => 0,
    onSession: () => {
      throw new Error("a stranger was let in");
    },
    onIncoming: () => {
      throw new Error("a stranger was let in");
    },
  });
  const announce = (now: number, sessionId: bigint): void =>
    reception.handleIncoming(now, AT, {
      type: "incoming",
      sessionId,
      peerId: `${sessionId}`.padStart(52, "x"),
      peerObserved: SocketAddress.of("6.6.6.6", 1),
    });
  const offer = (now: number, sessionId: bigint): void => reception.handleOffer(now, AT, { ...OFFER, sessionId });
  return { announce, offer, refused, warnings };
}

const AT = {} as Presence;
const OFFER: CandidateOffer = {
  type: "candidate-offer",
  sessionId: 0n,
  serviceId: "web",
  ice: { ufrag: "evil", pwd: "p".repeat(24), options: [] },
  candidates: [],
  ticket: null,
};

test("each stranger is refused; the log has 30 lines a minute of them, and then says how many it left out", (t) => {
  const { announce, offer, refused, warnings } = closedDoor();
  const knock = (now: number, id: bigint): void => {
    announce(now, id);
    offer(now, id);
  };
  for (let id = 1n; id <= 100n; id++) knock(Number(id), id);
  t.equal(refused.length, 100);
  t.equal(warnings.length, 30);
  t.ok(warnings.every(({ event, suppressed }) => event === "peer-not-allowed" && suppressed === undefined));
  knock(60_001, 101n);
  t.equal(warnings.at(-1)?.suppressed, 70);
  knock(60_002, 102n);
  t.equal(warnings.length, 32);
  t.equal(warnings.at(-1)?.suppressed, undefined);
});

test("strangers who are announced and offer nothing are forgotten, the oldest first", (t) => {
  const { announce, offer, refused } = closedDoor();
  for (let id = 1n; id <= 1_000n; id++) announce(0, id);
  for (let id = 1n; id <= 1_000n; id++) offer(1, id);
  t.same(refused.length, 64);
  t.equal(refused[0], 937n);
});

test("a session that stands is led to nobody but its own peer, whatever an intermediate announces under its number", (t) => {
  const peer = "a".repeat(52);
  const standing: ConnectorSession = Object.create(ConnectorSession.prototype, {
    peer: { value: { id: peer, name: null } },
    isOver: { value: false },
  });
  const led: string[] = [];
  const reception = new Reception({
    host: { peerId: "c".repeat(52) } as SessionHost,
    sessions: { get: () => standing } as unknown as SessionSet,
    log: nullLogger,
    admit: () => true,
    offers: () => true,
    onService: undefined,
    isPermissionPending: () => false,
    refuse: () => {},
    wallClock: () => 0,
    onSession: () => led.push("a new session"),
    onIncoming: (_now, _at, _session, { ip }) => led.push(ip),
  });
  const announce = (peerId: string, ip: string): void =>
    reception.handleIncoming(0, AT, {
      type: "incoming",
      sessionId: 1n,
      peerId,
      peerObserved: SocketAddress.of(ip, 1),
    });
  announce("b".repeat(52), "6.6.6.6");
  t.same(led, []);
  announce(peer, "8.8.4.4");
  t.same(led, ["8.8.4.4"]);
});
