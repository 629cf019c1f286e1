import { type Random, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { RelayPorts, type Reservation } from "../src/relay-ports.ts";

const IP = { family: 4, bindIp: "192.0.2.1", relayedIp: "192.0.2.1" } as const;
const HOLDER: Reservation = { token: new Uint8Array(8), family: 4, port: 0, owner: "peer:x", expiresAt: 0 };

/** Ports 40001 to 40008, of which those are held. */
function portsWith(held: readonly number[], random: Random = seededRandom(1)): RelayPorts {
  const ports = new RelayPorts(IP, { first: 40_001, last: 40_008 }, random);
  for (const port of held) ports.hold(port, HOLDER);
  return ports;
}

const ALL = [40_001, 40_002, 40_003, 40_004, 40_005, 40_006, 40_007, 40_008];
const EVEN = ALL.filter((port) => port % 2 === 0);
const ODD = ALL.filter((port) => port % 2 === 1);
const without = (all: readonly number[], ...ports: number[]): readonly number[] =>
  all.filter((port) => !ports.includes(port));

const found: readonly (readonly [string, readonly number[], number | null, number | null, number | null])[] = [
  ["none", ALL, null, null, null],
  ["the last one, an even one", without(ALL, 40_008), 40_008, 40_008, null],
  ["an odd one", without(ALL, 40_003), 40_003, null, null],
  ["an even one and the next", without(ALL, 40_004, 40_005), 40_005, 40_004, 40_004],
  ["an even one and the one before", without(ALL, 40_004, 40_003), 40_003, 40_004, null],
];

for (const [what, held, any, even, pair] of found) {
  test(`of a range in which ${what} is free`, (t) => {
    const ports = portsWith(held);
    t.equal(ports.find(40_004, "any"), any);
    t.equal(ports.find(40_001, "even"), even);
    t.equal(ports.find(40_001, "pair"), pair);
  });
}

test("what is held twice and released once is free once", (t) => {
  const ports = portsWith(ALL);
  ports.hold(40_006, HOLDER);
  ports.release(40_006);
  ports.release(40_006);
  t.equal(ports.find(null, "any"), 40_006);
  ports.hold(40_006, HOLDER);
  t.equal(ports.find(null, "any"), null);
});

test("a range that has nothing to give is not searched", (t) => {
  // A search begins at a random port.
  const bytes = (): never => t.fail("it was searched") as never;
  const random: Random = { ...seededRandom(1), bytes, float: bytes };
  t.equal(portsWith(ALL, random).find(null, "any"), null);
  t.equal(portsWith(EVEN, random).find(null, "even"), null);
  t.equal(portsWith(EVEN, random).find(null, "pair"), null);
  t.equal(portsWith(ODD, random).find(null, "pair"), null);
});
