// Random operations on sockets of all implementations at once, over the real kernel, against a plain model of what UDP on one host does.
import { networkInterfaces } from "node:os";
import { type Random, randomInt, seededRandom } from "@adit/core";
import { FUZZ, fuzzInputs, fuzzSeed, type T, test } from "@adit/harness";
import { Net } from "./support/udp-model.ts";

const hasIpv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"));

/** What is done how often, of a hundred. */
const OPERATIONS: readonly (readonly [percent: number, run: (net: Net) => unknown])[] = [
  [5, (net) => net.bind()],
  [3, (net) => net.close()],
  [42, (net) => net.send()],
  [12, (net) => net.sendToNobody()],
  [8, (net) => net.sendImpossible()],
  [10, (net) => net.planInHandler()],
  [10, () => new Promise((resolve) => setImmediate(resolve))],
  [10, (net) => net.settle()],
];

function pick(random: Random): (net: Net) => unknown {
  let left = randomInt(random, 100);
  for (const [percent, operation] of OPERATIONS) {
    left -= percent;
    if (left < 0) return operation;
  }
  throw new Error("they are not a hundred");
}

async function run(t: T, seed: number, datagrams: number): Promise<void> {
  const random = seededRandom(seed);
  const net = new Net(random, hasIpv6);
  t.teardown(() => net.closeAll());
  for (let i = 0; i < 4; i++) await net.bind();
  while (net.sent < datagrams) {
    await pick(random)(net);
    if (net.faults.length > 0) break;
  }
  await net.settle();
  t.same(net.faults, [], `ADIT_FUZZ_SEED=${seed}`);
  t.ok(net.arrived > net.sent / 2, `ADIT_FUZZ_SEED=${seed}: ${net.arrived} of ${net.sent} arrived`);
}

/** Of one seed. A million, on demand, are many seeds. */
const DATAGRAMS = 5_000;

test(
  "sockets of all kinds do what UDP does, whatever is done with them",
  async (t) => {
    const [first, inputs] = [fuzzSeed(1), fuzzInputs(30_000)];
    for (let i = 0; i * DATAGRAMS < inputs; i++) await run(t, first + i, Math.min(DATAGRAMS, inputs));
  },
  FUZZ,
);
