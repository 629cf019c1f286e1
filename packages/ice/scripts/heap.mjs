// node --expose-gc packages/ice/scripts/heap.mjs [SESSIONS]: what an idle session costs. Connects that many pairs of agents, which
// share one socket on each side, and lets them live on consent for a minute of virtual time. Build first.
import { SocketAddress, seededRandom } from "@adit/core";
import { IceAgent, IceDemux } from "@adit/ice";

const sessions = Number(process.argv[2] ?? 1_000);
if (!globalThis.gc || !(sessions > 0)) throw new Error("node --expose-gc packages/ice/scripts/heap.mjs [SESSIONS]");
const heapBytes = () => {
  for (let i = 0; i < 3; i++) globalThis.gc();
  return process.memoryUsage().heapUsed;
};

const at = [SocketAddress.of("198.51.100.1", 1000), SocketAddress.of("198.51.100.2", 1000)];
const random = seededRandom(1);
const before = heapBytes();
const sides = ["controlling", "controlled"].map((role) => ({
  demux: new IceDemux(),
  agents: Array.from({ length: sessions }, () => new IceAgent({ role, random })),
}));
for (const { demux, agents } of sides) for (const agent of agents) demux.add(agent, agent);

let datagrams = 0;
/** Delivers at once, in both directions, until nobody has anything to say. */
function settle(now, side, agent) {
  const waiting = [[side, agent]];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [from, sender] = next;
    for (let out = sender.pollTransmit(); out; out = sender.pollTransmit()) {
      datagrams++;
      sides[from].demux.noteTransmit(sender, out.data);
      const receiver = sides[1 - from].demux.route(0, at[from], out.data);
      receiver.handleDatagram(now, 0, at[from], out.data);
      waiting.push([1 - from, receiver]);
    }
    while (sender.pollEvent());
  }
}

for (let i = 0; i < sessions; i++) {
  for (const k of [0, 1]) {
    const agent = sides[k].agents[i];
    agent.addLocalCandidate(0, { type: "host", address: at[k], socket: 0 });
    agent.setRemoteParameters(0, sides[1 - k].agents[i].local);
    const [theirs] = [sides[1 - k].agents[i].localCandidates[0]];
    if (theirs) agent.addRemoteCandidate(0, theirs);
    settle(0, k, agent);
  }
  sides[0].agents[i].addRemoteCandidate(0, sides[1].agents[i].localCandidates[0]);
  settle(0, 0, sides[0].agents[i]);
}
const checks = datagrams / 2 / sessions;
for (let now = 0; now <= 60_000; now += 50) {
  for (const [k, { agents }] of sides.entries()) {
    for (const agent of agents) {
      const due = agent.pollTimeout();
      if (!due || due.at > now) continue;
      agent.handleTimeout(now);
      settle(now, k, agent);
    }
  }
}
const nominated = sides.flatMap(({ agents }) => agents).filter((agent) => agent.nominated).length;
if (nominated !== 2 * sessions) throw new Error(`only ${nominated} of ${2 * sessions} agents are connected`);
const kilobytes = (heapBytes() - before) / (2 * sessions) / 1024;
console.log(
  `${sessions} sessions on one socket: ${kilobytes.toFixed(1)} KB of heap for each idle agent, demux included`,
);
console.log(`${checks.toFixed(1)} round trips from parameters to nomination, those of both sides`);
