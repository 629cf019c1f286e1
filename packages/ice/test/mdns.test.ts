import { createSocket, type Socket } from "node:dgram";
import { nullLogger, randomInt, SocketAddress, seededRandom, systemRandom } from "@adit/core";
import { type T, test } from "@adit/harness";
import { canPair } from "../src/candidate.ts";
import { CandidateStore } from "../src/candidate-store.ts";
import { createIceConnection } from "../src/driver/connection.ts";
import { decodeResponse, encodeQueries, isMdnsName } from "../src/mdns/message.ts";
import { MAX_MDNS_QUERIES, MAX_MDNS_WAITERS, MdnsResolver } from "../src/mdns/resolver.ts";
import { address, remoteHost } from "./kit.ts";

const NAME = "1f4712db-ea17-4bcf-a596-105139dfd8bf.local";
const nameOf = (i: number): string => `1f4712db-ea17-4bcf-a596-${String(i).padStart(12, "0")}.local`;

const bytesOf = (name: string): number[] => [
  ...name.split(".").flatMap((label) => [label.length, ...Buffer.from(label)]),
  0,
];

/** A response with a record for each IPv4 address; the name stands once, then as a pointer to it. */
function response(id: number, name: string, ips: readonly string[]): Uint8Array {
  const records = ips.flatMap((ip, i) => [
    ...(i === 0 ? bytesOf(name) : [0xc0, 12]),
    ...[0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4],
    ...ip.split(".").map(Number),
  ]);
  return Uint8Array.from([id >> 8, id & 0xff, 0x84, 0, 0, 0, 0, ips.length, 0, 0, 0, 0, ...records]);
}

/** Answers queries on 127.0.0.1, in place of the group. */
async function responder(
  t: T,
  answer: (id: number, name: string, count: number, from: { readonly port: number }) => Uint8Array | null,
) {
  const socket: Socket = createSocket("udp4");
  t.teardown(() => socket.close());
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const asked: string[] = [];
  socket.on("message", (query, from) => {
    const labels: string[] = [];
    for (let at = 12; query[at]; at += 1 + (query[at] ?? 0)) {
      labels.push(query.subarray(at + 1, at + 1 + (query[at] ?? 0)).toString());
    }
    if (query.at(-3) !== 1) return; // it has no AAAA record
    asked.push(labels.join("."));
    const data = answer(query.readUInt16BE(0), labels.join("."), asked.length, from);
    if (data) socket.send(data, from.port, from.address);
  });
  return { asked, group: SocketAddress.of("127.0.0.1", socket.address().port) };
}

function make(t: T, group: SocketAddress): MdnsResolver {
  const localIps = () => ["127.0.0.1", "::1"];
  const resolver = new MdnsResolver({ localIps, random: systemRandom, log: nullLogger, group });
  t.teardown(() => resolver.close());
  return resolver;
}

test("only the names that agents make are resolved: a version 4 UUID and .local (draft §3.1.1, §3.2.2)", (t) => {
  t.ok(isMdnsName(NAME) && isMdnsName(NAME.toUpperCase()));
  for (const other of [
    "printer.local",
    "1f4712db-ea17-4bcf-a596-105139dfd8bf",
    "1f4712db-ea17-4bcf-a596-105139dfd8bf.local.",
    "1f4712db-ea17-4bcf-a596-105139dfd8bf.example.local",
    "x.1f4712db-ea17-4bcf-a596-105139dfd8bf.local",
    "1f4712db-ea17-1bcf-a596-105139dfd8bf.local",
    "192.0.2.1",
  ]) {
    t.notOk(isMdnsName(other), other);
  }
});

test("both kinds of address are asked for, a message each (RFC 1035 §4.1)", (t) => {
  const header = [0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
  const expected = [1, 28].map((type) => [...header, ...bytesOf(NAME), 0, type, 0, 1]);
  t.same(
    encodeQueries(0x1234, NAME).map((query) => [...query]),
    expected,
  );
});

test("a response: addresses by name, compression, other records passed over", (t) => {
  const two = t.must(decodeResponse(response(7, NAME.toUpperCase(), ["10.0.0.1", "10.0.0.2"])));
  t.same([...two.addresses], [[NAME, ["10.0.0.1", "10.0.0.2"]]]);
  const name = bytesOf(NAME);
  const six = [...name, 0, 28, 0x80, 1, 0, 0, 0, 9, 0, 16, 0x20, 1, 0x0d, 0xb8, ...new Array(11).fill(0), 5];
  const text = [0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 9, 0, 2, 1, 65];
  const mixed = Uint8Array.from([0, 9, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 1, ...six, ...text]);
  t.same([...t.must(decodeResponse(mixed)).addresses], [[NAME, ["2001:db8::5"]]]);
  t.ok(
    encodeQueries(1, NAME).every((query) => decodeResponse(query) === null),
    "a query is no response",
  );
  const refused = response(1, NAME, ["10.0.0.1"]);
  refused[3] = 3;
  t.equal(decodeResponse(refused), null, "nor is an error");
});

test("a name that points at itself ends", (t) => {
  const record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4];
  t.equal(decodeResponse(Uint8Array.from([0, 1, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, ...record])), null);
});

test("100,000 damaged responses throw nothing", (t) => {
  const random = seededRandom(5);
  const good = response(7, NAME, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
  let read = 0;
  for (let i = 0; i < 100_000; i++) {
    const length = i % 3 === 0 ? randomInt(random, good.length + 1) : good.length;
    const data = i % 10 === 0 ? random.bytes(randomInt(random, 120)) : good.slice(0, length);
    for (let flips = randomInt(random, 4); flips > 0 && data.length > 0; flips--) {
      data[randomInt(random, data.length)] = randomInt(random, 256);
    }
    if (decodeResponse(data)) read++;
  }
  t.ok(read > 10_000, `${read} were read all the same`);
});

test("a name is resolved, in any case, and asked for once by however many", async (t) => {
  const { asked, group } = await responder(t, (id, name) => response(id, name, ["10.0.0.7"]));
  const resolver = make(t, group);
  const found = await Promise.all([resolver.resolve(NAME), resolver.resolve(NAME.toUpperCase())]);
  t.same(found, ["10.0.0.7", "10.0.0.7"]);
  t.same([...new Set(asked)], [NAME]);
  t.equal(await resolver.resolve("printer.local"), null);
  t.same([...new Set(asked)], [NAME], "other names are not even asked for");
});

test("more than one address is none (draft §3.2.2)", async (t) => {
  const { group } = await responder(t, (id, name) => response(id, name, ["10.0.0.7", "10.0.0.8"]));
  t.equal(await make(t, group).resolve(NAME), null);
});

test("answers to another query, or from another port, are none; it is asked again after 1 s", async (t) => {
  const stranger = createSocket("udp4");
  t.teardown(() => stranger.close());
  const { asked, group } = await responder(t, (id, name, count, from) => {
    if (count > 1) return response(id, name, ["10.0.0.3"]);
    stranger.send(response(id, name, ["10.0.0.1"]), from.port, "127.0.0.1");
    return response(id ^ 1, name, ["10.0.0.2"]);
  });
  t.equal(await make(t, group).resolve(NAME), "10.0.0.3");
  t.equal(asked.length, 2);
});

test("queries are bounded, and closing gives them up and leaves no socket", async (t) => {
  const { asked, group } = await responder(t, () => null);
  const resolver = make(t, group);
  const waiting = Array.from({ length: MAX_MDNS_QUERIES }, (_, i) => resolver.resolve(nameOf(i)));
  t.equal(await resolver.resolve(nameOf(99)), null, "one too many");
  for (let i = 1; i < MAX_MDNS_WAITERS; i++) waiting.push(resolver.resolve(nameOf(0)));
  t.equal(await resolver.resolve(nameOf(0)), null, "and one who waits too many");
  for (let i = 0; i < 500 && asked.length < MAX_MDNS_QUERIES; i++)
    await new Promise((resolve) => setTimeout(resolve, 10));
  resolver.close();
  t.ok((await Promise.all(waiting)).every((ip) => ip === null));
  t.equal(await resolver.resolve(NAME), null, "nor afterwards");
});

test("an address that a name hid is not told to a relay (draft §3.3.2)", (t) => {
  const store = new CandidateStore();
  const host = t.must(store.addLocal({ type: "host", address: address("10.0.0.1", 1), socket: 0 }));
  const relay = t.must(store.addLocal({ type: "relay", address: address("192.0.2.1", 1), socket: 1000 }));
  const hidden = { ...remoteHost(address("10.0.0.2", 2)), mdnsName: NAME };
  t.same([canPair(host, hidden), canPair(relay, hidden)], [true, false]);
});

test("candidates as text: addresses at once, names when they are resolved, nonsense not at all", async (t) => {
  const connection = await createIceConnection({ role: "controlling", bind: ["127.0.0.1"] });
  t.teardown(() => connection.close());
  t.equal(await connection.addRemoteCandidateText("candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host"), true);
  t.equal(await connection.addRemoteCandidateText("candidate:1 1 udp 2130706431 printer.local 5000 typ host"), false);
  t.equal(await connection.addRemoteCandidateText("nonsense"), false);
  const unresolved = connection.addRemoteCandidateText(`candidate:1 1 udp 2130706431 ${NAME} 5000 typ host`);
  await connection.close();
  t.equal(await unresolved, false, "closing does not wait for an answer");
});
