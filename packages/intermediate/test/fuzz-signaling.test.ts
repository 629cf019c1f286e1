/** Clients over TLS that say anything, from the first byte to well-formed nonsense: the server serves on, and keeps nothing of them. */
import { type Random, randomInt, SocketAddress, seededRandom } from "@adit/core";
import { FUZZ, fuzzInputs, fuzzSeed, test } from "@adit/harness";
import { Identity } from "@adit/quic";
import { type SignalingMessage, signalingCodec } from "@adit/signaling";
import { mutate, pick } from "./mutate.ts";
import { hello, TlsStage } from "./tls-kit.ts";

const ice = { ufrag: "abcd", pwd: "abcdefghijklmnopqrstuv", options: ["trickle"] };
const candidate = {
  foundation: "1",
  component: 1,
  transport: "udp",
  priority: 1,
  address: SocketAddress.of("198.51.100.1", 9),
  type: "host",
  related: null,
} as const;

/** Well-formed, of every type, about a few sessions and names; most make no sense where they are said. */
function anything(random: Random): SignalingMessage {
  const sessionId = BigInt(randomInt(random, 6));
  const name = pick(random, ["witness", "c-0", "c-1", "c-2", "nobody"]);
  return pick<() => SignalingMessage>(random, [
    () => hello("agent"),
    () => ({ type: "register", requestId: sessionId, name }),
    () => ({ type: "connect", sessionId, target: name, expectedPeer: null }),
    () => ({ type: "candidate-offer", sessionId, serviceId: "web", ice, candidates: [candidate], ticket: null }),
    () => ({ type: "candidate-answer", sessionId, ice, candidates: [candidate] }),
    () => ({ type: "candidate", sessionId, ufrag: "abcd", candidate: pick(random, [null, candidate]) }),
    () => ({ type: "punching-result", sessionId, outcome: pick(random, ["direct", "relay", "failed"]), detail: "" }),
    () => ({ type: "restart", sessionId, ice, candidates: [], answer: sessionId > 2n }),
    () => ({ type: "path-report", sessionId, path: "direct", alive: true, silentMs: 1 }),
    () => ({ type: "ping", id: sessionId }),
    () => ({ type: "pong", id: sessionId }),
    () => ({ type: "error", code: "busy", message: "no", sessionId: pick(random, [null, sessionId]), requestId: null }),
    () => ({ type: "session-end", sessionId, reason: "done" }),
    () => ({ type: "goodbye", reason: "done" }),
    () => ({ type: "welcome", version: 1, peerId: "a".repeat(52), observed: candidate.address, turn: null }),
  ])();
}

test(
  "a signaling server takes any bytes over TLS, and any message in any order",
  (t) => {
    const seed = fuzzSeed(4);
    const random = seededRandom(seed);
    const stage = new TlsStage(random);
    const certificates = Array.from({ length: 24 }, () => Identity.generate().certificate);
    const witness = stage.open(Identity.generate().certificate, "8.8.8.8");
    witness.says(hello("connector"), { type: "register", requestId: 1n, name: "witness" });
    stage.turn();
    // Made once: writing them down takes longer than all the rest.
    const frames = Array.from({ length: 500 }, () => signalingCodec.encodeFrame(anything(random)));
    const inputs = fuzzInputs(15_000);
    let [client, served, wellFormed] = [stage.open(certificates[0] as Uint8Array, "9.9.9.9"), 0, 0];
    for (let i = 0; i < inputs; i++) {
      stage.now += 20;
      if (!client.isOpen || i % 40 === 0) {
        // Half of them go without a word.
        if (i % 2 === 0) client.destroy();
        const n = randomInt(random, certificates.length);
        client = stage.open(certificates[n] as Uint8Array, `9.9.${n}.9`);
        if (randomInt(random, 20) > 0) client.says(hello(n % 2 === 0 ? "agent" : "connector"));
      }
      const good = randomInt(random, 8) > 0;
      const bytes = good ? pick(random, frames) : mutate(random, pick(random, frames), pick(random, frames));
      const cut = randomInt(random, 4) === 0 ? randomInt(random, bytes.length + 1) : 0;
      if (good) wellFormed++;
      for (const piece of [bytes.slice(0, cut), bytes.slice(cut)]) if (client.isOpen) client.emit("data", piece);
      stage.turn();
      served += client.heard.length;
      client.heard.length = 0;
      if (i % 10 === 0) witness.says({ type: "pong", id: 0n });
      witness.heard.length = Math.min(witness.heard.length, 1_000);
    }
    t.ok(wellFormed > inputs / 2 && served > inputs / 10, `seed ${seed}: ${served} answers`);
    t.ok(witness.isOpen, `seed ${seed}: the witness is still connected`);
    client.destroy();
    // A well-behaved agent is introduced; the witness hears of it.
    witness.heard.length = 0;
    stage.now += 120_000;
    witness.says({ type: "ping", id: 9n });
    const agent = stage.open(Identity.generate().certificate, "8.8.4.4");
    agent.says(hello("agent"), { type: "connect", sessionId: 77n, target: "witness", expectedPeer: null });
    stage.turn();
    t.ok(
      agent.heard.some((message) => message.type === "connected"),
      `seed ${seed}: the agent is answered ${agent.heard.map(({ type }) => type)}`,
    );
    t.ok(
      witness.heard.some((message) => message.type === "incoming" && message.sessionId === 77n),
      `seed ${seed}`,
    );
  },
  FUZZ,
);
