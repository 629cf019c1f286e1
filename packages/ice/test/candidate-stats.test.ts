import { utf8 } from "@adit/core";
import { test } from "@adit/harness";
import { createIceConnection } from "../src/driver/connection.ts";
import { address, remoteHost } from "./kit.ts";

test("each candidate of both sides has the sums of its pairs, and why they failed", async (t) => {
  const a = await createIceConnection({ role: "controlling", bind: ["127.0.0.1", "127.0.0.2"] });
  t.teardown(() => a.close());
  const b = await createIceConnection({ role: "controlled", bind: ["127.0.0.1"] });
  t.teardown(() => b.close());
  a.setRemoteParameters(b.local);
  b.setRemoteParameters(a.local);
  a.onCandidate = (candidate) => b.addRemoteCandidate(candidate);
  b.onCandidate = (candidate) => a.addRemoteCandidate(candidate);
  a.addRemoteCandidate(remoteHost(address("2001:db8::1", 9), 5, "x"));
  await Promise.all([a.connected(), b.connected()]);
  a.send(utf8("hello"));
  await b[Symbol.asyncIterator]().next();
  const stats = a.candidateStats;
  t.same(
    stats.map(({ side, candidate }) => `${side} ${candidate.address.ip}`),
    ["local 127.0.0.1", "local 127.0.0.2", "remote 127.0.0.1", "remote 2001:db8::1"],
  );
  const [first, second, peer, unreachable] = stats;
  t.same([peer?.state, peer?.pairs, unreachable?.state, unreachable?.pairs], ["valid", 2, "unpaired", 0]);
  t.equal(t.must(peer).sentBytes, 5);
  t.equal(t.must(first).sentBytes + t.must(second).sentBytes, 5);
  t.equal(t.must(first).requestsSent + t.must(second).requestsSent, t.must(peer).requestsSent);
  t.ok(t.must(peer).rttMs !== null && t.must(peer).responsesReceived > 0);
  t.ok(stats.filter(({ side, nominated }) => side === "local" && nominated).length <= 1);
});
