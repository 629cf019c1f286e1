import { test } from "@adit/harness";
import { TailProbe, useHandshakeRoundTrip } from "../src/tail-probe.ts";
import { now, Pair, pour, Sink } from "./pair.ts";

/** When it would send PINGs until `endMs`, with nothing heard. */
function probesUntil(probe: TailProbe, endMs: number): number[] {
  const at: number[] = [];
  for (let deadline = probe.deadline; deadline !== null && deadline <= endMs; deadline = probe.deadline) {
    if (!probe.isDue(deadline)) break;
    at.push(deadline);
  }
  return at;
}

function sent(rttMs: number | null, bytes: number): TailProbe {
  const probe = new TailProbe();
  probe.rttMs = rttMs;
  probe.handleSent(1000, bytes);
  return probe;
}

test("three PINGs follow a silence of one and a half round trips, and again after twice as long each time, four times in all", (t) => {
  const probe = sent(40, 100);
  t.notOk(probe.isDue(1069));
  t.same(probesUntil(probe, 1e6), [1070, 1071, 1072, 1140, 1141, 1142, 1280, 1281, 1282, 1560, 1561, 1562]);
  probe.handleSent(5000, 100);
  t.equal(probe.deadline, 5070, "what is sent next is looked after again");
});

for (const [what, probe] of [
  ["whose round trip nobody knows", sent(null, 100)],
  ["that only acknowledges", sent(40, 50)],
] as const) {
  test(`nothing follows a packet ${what}`, (t) => t.equal(probe.deadline, null));
}

test("nothing follows what was answered; what was heard sooner than that is no answer", (t) => {
  const probe = sent(40, 100);
  probe.handleReceived(1010);
  t.equal(probe.deadline, 1070);
  probe.handleReceived(1040);
  t.equal(probe.deadline, null);
});

test("of three PINGs that have begun to leave the others follow, though the first one is answered; then nothing does", (t) => {
  const probe = sent(1, 100);
  t.ok(probe.isDue(1012));
  probe.handleReceived(1012.5);
  t.same(probesUntil(probe, 1e6), [1012.5, 1013.5]);
});

/** Answers that come late drive the native library's round trip up, as losses do. */
async function driveUp(pair: Pair): Promise<void> {
  for (let i = 0; i < 3; i++) {
    const held: Uint8Array[] = [];
    pair.network = (packet) => {
      if (!packet.up) held.push(packet.data);
      return packet.up ? [packet] : [];
    };
    pair.client.sendAckEliciting();
    const end = now() + 400;
    await pair.until(() => now() > end, "400 ms");
    pair.network = (packet) => [packet];
    for (const data of held) pair.deliver({ up: false, slot: 0, data });
  }
}

for (const knows of [true, false]) {
  test(`a request is lost: who ${knows ? "knows" : "does not know"} the round trip ${knows ? "does not wait" : "waits"} for the native library's timeout`, async (t) => {
    const pair = new Pair().handshake();
    pair.onServerStream = (stream) => {
      new Sink(stream);
      pour(stream, new Uint8Array(1000));
    };
    await driveUp(pair);
    const nativeRttMs = pair.client.pathStats()[0]?.rttMs ?? 0;
    t.ok(nativeRttMs > 100, `${nativeRttMs} ms`);
    if (knows) pair.client.roundTripMs = 10;
    let lost = 0;
    pair.network = (packet) => (packet.up && packet.data.length >= 64 && lost++ === 0 ? [] : [packet]);
    const askedAt = now();
    const answer = new Sink(pair.client.openStream());
    pour(answer.stream, new Uint8Array(100));
    await pair.until(() => answer.ended, "the answer", 30_000);
    const waitedMs = now() - askedAt;
    // RFC 9002 §6.2.1: "PTO = smoothed_rtt + max(4*rttvar, kGranularity) + max_ack_delay"
    t.equal(waitedMs < nativeRttMs, knows, `${waitedMs} ms at ${nativeRttMs} ms`);
  });
}

test("what is lost is missed after the round trip of the handshake, where nobody knows another", async (t) => {
  const pair = new Pair().handshake();
  useHandshakeRoundTrip(pair.client);
  let sink: Sink | null = null;
  pair.onServerStream = (stream) => {
    sink = new Sink(stream);
  };
  await driveUp(pair);
  let probes = 0;
  let lost = 0;
  pair.network = (packet) => {
    if (!packet.up) return [packet];
    if (packet.data.length < 64) probes++;
    else if (lost++ === 0) return [];
    return [packet];
  };
  pair.client.openStream().write(new Uint8Array(100));
  await pair.until(() => sink?.length === 100, "what was said", 30_000);
  t.ok(probes > 0, "without a PING");
});
