import { type Millis, type SocketAddress, seededRandom, type Transmit, utf8 } from "@adit/core";
import { test } from "@adit/harness";
import { Network, runMachine, type SimMachine } from "@adit/sim";
import { IceAgent } from "../src/agent.ts";
import { IceDemux } from "../src/demux.ts";
import { pairId } from "../src/pair.ts";
import {
  address,
  drainEvents,
  drainTransmits,
  makeCheck,
  mustDecode,
  OURS,
  PEER,
  PEER_PARAMETERS,
  remoteHost,
  STRANGER,
} from "./kit.ts";

/** Many agents on one socket of a host. */
class Endpoint implements SimMachine {
  readonly agents: IceAgent[];
  readonly demux = new IceDemux<IceAgent>();
  readonly #due = new Map<IceAgent, Millis>();
  readonly #out: Transmit[] = [];
  unrouted = 0;

  constructor(count: number, role: "controlling" | "controlled", seed: number) {
    const random = seededRandom(seed);
    this.agents = Array.from({ length: count }, () => new IceAgent({ role, random }));
    for (const agent of this.agents) this.demux.add(agent, agent);
  }

  touch(agent: IceAgent): void {
    for (const transmit of drainTransmits(agent)) {
      this.demux.noteTransmit(agent, transmit.data);
      this.#out.push(transmit);
    }
    for (const event of drainEvents(agent)) {
      if (event.type === "pair-valid") this.demux.claimPath(agent, event.pair.id);
      if (event.type === "pair-expired") this.demux.releasePath(agent, event.pair.id);
    }
    this.#due.set(agent, agent.pollTimeout()?.at ?? Number.POSITIVE_INFINITY);
  }

  handleDatagram(now: Millis, socket: number, from: SocketAddress, data: Uint8Array): void {
    const agent = this.demux.route(socket, from, data);
    if (!agent) {
      this.unrouted++;
      return;
    }
    agent.handleDatagram(now, socket, from, data);
    this.touch(agent);
  }

  handleTimeout(now: Millis): void {
    for (const [agent, due] of this.#due) {
      if (due > now) continue;
      agent.handleTimeout(now);
      this.touch(agent);
    }
  }

  pollTimeout(): { at: Millis; reason: string } | null {
    let at = Number.POSITIVE_INFINITY;
    for (const due of this.#due.values()) if (due < at) at = due;
    return at === Number.POSITIVE_INFINITY ? null : { at, reason: "one of many" };
  }

  pollTransmit(): Transmit | null {
    return this.#out.shift() ?? null;
  }
}

test("a thousand sessions share one socket on each side, and each finds its own", (t) => {
  const SESSIONS = 1_000;
  const network = new Network({ seed: 5 });
  const [a, b] = [new Endpoint(SESSIONS, "controlling", 1), new Endpoint(SESSIONS, "controlled", 2)];
  const runs = [runMachine(network.addHost("a", OURS.ip), a), runMachine(network.addHost("b", PEER.ip), b)];
  const addresses = runs.map((run) => t.must(run.sockets.get(0)).address);
  for (let i = 0; i < SESSIONS; i++) {
    const [left, right] = [t.must(a.agents[i]), t.must(b.agents[i])];
    for (const [k, agent] of [left, right].entries()) {
      const other = agent === left ? right : left;
      agent.addLocalCandidate(0, { type: "host", address: t.must(addresses[k]), socket: 0 });
      agent.setRemoteParameters(0, other.local);
      agent.addRemoteCandidate(0, remoteHost(t.must(addresses[1 - k])));
    }
    a.touch(left);
    b.touch(right);
  }
  for (const run of runs) run.wake();
  network.clock.advance(7_000); // consent checks, too
  for (const end of [a, b]) {
    t.equal(end.agents.filter((agent) => agent.nominated).length, SESSIONS);
    t.equal(end.unrouted, 0);
    t.ok(
      end.agents.every((agent) => agent.pairs()[0]?.failure === null && agent.drops.total() === 0),
      "nothing came to the wrong one",
    );
  }
  // All of them share one path: data on it is nobody's in particular.
  t.equal(a.demux.route(0, t.must(addresses[1]), utf8("data")), null);
  t.equal(a.demux.sessionsOn(0, t.must(addresses[1])).length, SESSIONS);
  for (const agent of a.agents) a.demux.delete(agent);
  t.equal(a.demux.size, 0);
  t.equal(a.demux.sessionsOn(0, t.must(addresses[1])).length, 0);
});

test("checks go by fragment, answers by transaction, data by path; strangers' find nobody", (t) => {
  const random = seededRandom(3);
  const agents = ["one", "two"].map(() => new IceAgent({ role: "controlled", random }));
  const [one, two] = [t.must(agents[0]), t.must(agents[1])];
  const demux = new IceDemux<string>();
  t.ok(demux.add("one", one) && demux.add("two", two));
  t.equal(demux.add("two", two), false, "it is there already");
  t.equal(demux.route(0, PEER, makeCheck(two, random)), "two");
  one.addLocalCandidate(0, { type: "host", address: OURS, socket: 0 });
  one.setRemoteParameters(0, PEER_PARAMETERS);
  one.addRemoteCandidate(0, remoteHost(PEER));
  const request = t.must(drainTransmits(one)[0]).data;
  demux.noteTransmit("one", request);
  const answer = request.slice();
  answer[0] = 0x01; // a success response with the same transaction
  t.equal(demux.route(0, PEER, answer), "one");
  answer[19] = (answer[19] ?? 0) ^ 1;
  t.equal(demux.route(0, PEER, answer), null);
  t.equal(demux.route(0, PEER, utf8("data")), null);
  demux.claimPath("one", pairId(0, PEER));
  t.equal(demux.route(0, PEER, utf8("data")), "one");
  t.equal(demux.route(1, PEER, utf8("data")), null, "another socket");
  t.equal(demux.route(0, STRANGER, utf8("data")), null);
  demux.releasePath("one", pairId(0, PEER));
  t.equal(demux.route(0, PEER, utf8("data")), null);
  demux.delete("one");
  t.equal(demux.route(0, PEER, request), null);
  t.equal(mustDecode(request).method, 1);
});

test("after a restart both generations' fragments are the session's, after the next one only two", (t) => {
  const random = seededRandom(4);
  const agent = new IceAgent({ role: "controlled", random });
  const demux = new IceDemux<string>();
  demux.add("it", agent);
  const old = makeCheck(agent, random);
  agent.restart(0);
  demux.refresh("it");
  t.equal(demux.route(0, PEER, makeCheck(agent, random)), "it");
  t.equal(demux.route(0, PEER, old), null, "nothing was valid in the old one, so it is forgotten");
  t.equal(demux.route(0, address("192.0.2.9", 9), makeCheck(agent, random)), "it", "wherever it comes from");
});
