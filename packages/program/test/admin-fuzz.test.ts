/** Any request, and any bytes, at the admin address: each is answered or cut off, and the next one is served. */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { connect } from "node:net";
import { type Random, randomInt, SocketAddress, seededRandom } from "@adit/core";
import { FUZZ, fuzzInputs, fuzzSeed, test } from "@adit/harness";
import { type AdminSource, respond, startAdmin } from "../src/admin.ts";

const SECRET = "what only the operator may see";
const BOUND = SocketAddress.of("192.0.2.7", 9433);
const source: AdminSource = {
  health: () => ({ ready: true }),
  status: () => ({ peerId: SECRET }),
  metrics: () => [{ name: "adit_info", help: SECRET, type: "gauge", samples: [{ value: 1 }] }],
};

const pick = <V>(random: Random, values: readonly V[]): V => values[randomInt(random, values.length)] as V;

/** Pieces of what a request may have, and of what it may not. */
const PIECES = [
  "/status",
  "/healthz",
  "/metrics",
  "/",
  "..",
  "%2e",
  "?",
  "#",
  "@",
  ":",
  "[",
  "]",
  "::1",
  "\0",
  "\r\n",
  "é",
  "/".repeat(300),
];
const HOSTS = [
  "localhost",
  "127.0.0.1",
  "[::1]",
  "192.0.2.7",
  "evil.example",
  "0x7f.1",
  "2130706433",
  "[::ffff:127.0.0.1]",
  "127.0.0.1.nip.io",
];

const text = (random: Random, pieces: readonly string[]): string =>
  Array.from({ length: randomInt(random, 4) }, () => pick(random, pieces)).join("");

test(
  "any method, path and Host are answered with a status of ours; nothing is told to a foreign Host",
  (t) => {
    const seed = fuzzSeed(5);
    const random = seededRandom(seed);
    const codes = new Map<number, number>();
    const inputs = fuzzInputs(100_000);
    for (let i = 0; i < inputs; i++) {
      const host = pick(random, [
        undefined,
        pick(random, HOSTS),
        `${pick(random, HOSTS)}${text(random, [":1", ":", "x", "]"])}`,
        text(random, PIECES),
      ]);
      const method = pick(random, ["GET", "GET", "HEAD", "POST", "DELETE", "", "get"]);
      const request = {
        method,
        url: `${pick(random, PIECES)}${text(random, PIECES)}`,
        headers: { host },
        socket: { localAddress: "127.0.0.1" },
      };
      let [code, body] = [0, ""];
      const response = {
        setHeader: () => {},
        writeHead: (status: number) => {
          code = status;
        },
        end: (said: string) => {
          body = said;
        },
      };
      respond(source, BOUND, request as unknown as IncomingMessage, response as unknown as ServerResponse);
      codes.set(code, (codes.get(code) ?? 0) + 1);
      if (body.includes(SECRET) && /evil|nip\.io/.test(host ?? "evil"))
        t.fail(`seed ${seed}, input ${i}: told to ${host}`);
    }
    t.same([...codes.keys()].sort(), [200, 403, 404, 405], `seed ${seed}`);
  },
  FUZZ,
);

test("noise from 200 connections leaves an admin address that answers", async (t) => {
  const seed = fuzzSeed(6);
  const random = seededRandom(seed);
  const admin = await startAdmin(SocketAddress.of("127.0.0.1", 0), source);
  t.teardown(() => admin.close());
  const { ip: host, port } = admin.address;
  const valid = new TextEncoder().encode(`GET /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc`);
  for (let i = 0; i < 200; i++) {
    const bytes = valid.slice(0, randomInt(random, valid.length + 1));
    for (let flips = randomInt(random, 6); flips > 0 && bytes.length > 0; flips--) {
      bytes[randomInt(random, bytes.length)] = randomInt(random, 256);
    }
    const socket = connect(port, host).on("error", () => {});
    socket.resume();
    await once(socket, "connect");
    socket.end(i % 4 === 0 ? random.bytes(100) : bytes);
    if (i % 3 === 0) socket.destroy();
    else await once(socket, "close");
  }
  const answer = await fetch(`http://${admin.address}/status`);
  t.same([answer.status, await answer.json()], [200, { peerId: SECRET }], `seed ${seed}`);
});
