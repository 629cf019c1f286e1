import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import type { SignaledCandidate } from "@adit/signaling";
import { DEFAULT_LIMITS } from "../src/limits.ts";
import {
  addCandidate,
  MAX_SESSIONS,
  type NewParty,
  type Session,
  SessionTable,
  startGeneration,
} from "../src/session-table.ts";

const party = (peerId: string, connection: number, ip: string): NewParty => ({
  peerId,
  connection,
  observed: SocketAddress.of(ip, 4000),
});

/** A session of an agent and a connector that no other has, from addresses that no other has. */
function create(table: SessionTable, n: number, now = n): Session | "full" | "ip-full" {
  const ip = (first: number): string => `${first}.${n >> 16}.${(n >> 8) & 255}.${n & 255}`;
  const [agent, connector] = [party(`agent ${n}`, 2 * n, ip(8)), party(`connector ${n}`, 2 * n + 1, ip(9))];
  return table.create(now, BigInt(n), agent, connector, DEFAULT_LIMITS);
}

test("a full table makes room with the oldest session that no connector has answered, and holds no more than its bound", (t) => {
  const table = new SessionTable(() => {});
  for (let n = 0; n < MAX_SESSIONS; n++) create(table, n);
  const [first, third] = [t.must(table.get(0n)), t.must(table.get(2n))];
  table.answer(first);
  t.equal(typeof create(table, MAX_SESSIONS), "object");
  t.equal(table.counts().active, MAX_SESSIONS);
  t.same([table.get(0n), table.get(1n), table.get(2n)], [first, undefined, third]);
});

test("a table full of sessions that were answered takes no more", (t) => {
  const table = new SessionTable(() => {});
  for (let n = 0; n < MAX_SESSIONS; n++) table.answer(create(table, n) as Session);
  t.equal(create(table, MAX_SESSIONS), "full");
  t.equal(table.counts().active, MAX_SESSIONS);
});

test("of sessions that ended in peace 1,024 have their last packets passed; past them the oldest is cut off at once", (t) => {
  const table = new SessionTable(() => {});
  for (let n = 0; n < 1_025; n++) {
    const session = create(table, n, 0) as Session;
    table.answer(session);
    table.endInPeace(0, session);
  }
  const reaches = (n: number): boolean => table.isSessionPeer(`agent ${n}`, `9.0.${n >> 8}.${n & 255}`);
  t.same([reaches(0), reaches(1), reaches(1_024)], [false, true, true]);
  table.sweep(2_000);
  t.same([reaches(1), reaches(1_024)], [false, false]);
  t.equal(table.sweepAt, null);
});

test("of a party 64 candidates of its newest generation are kept for the other one", (t) => {
  const { agent } = create(new SessionTable(() => {}), 1) as Session;
  const candidate = (port: number): SignaledCandidate => ({
    foundation: "1",
    component: 1,
    transport: "udp",
    priority: 1,
    address: SocketAddress.of("8.8.8.8", port),
    type: "host",
    related: null,
  });
  startGeneration(agent, "old", [candidate(1)]);
  startGeneration(agent, "new", [candidate(2)]);
  addCandidate(agent, "old", candidate(3));
  for (let port = 100; port < 200; port++) addCandidate(agent, "new", candidate(port));
  t.equal(agent.candidates.length, 64);
  t.same([agent.candidates[0]?.address.port, agent.candidates[1]?.address.port], [2, 100]);
});
