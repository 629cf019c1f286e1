// Sockets of their own for peers that send much, over the real kernel: all comes, in order, from who sent it, and nothing is left of them.
import { readdirSync, readFileSync } from "node:fs";
import { parseSocketAddress, SocketAddress } from "@adit/core";
import { type T, test } from "@adit/harness";
import { bindUdp } from "../src/udp/bind.ts";
import { bindBun } from "../src/udp/bun-udp.ts";
import type { UdpSocket } from "../src/udp/udp.ts";
import { numbered, numberOf, open, range, until } from "./support/udp.ts";

const skip = process.platform === "linux" ? false : "lanes are Linux's";
const check = (name: string, fn: (t: T) => Promise<void>) => test(name, fn, { skip });
/** Opened by the first burst; closed by a third of a second without one. */
const RULES = { busy: 50, windowMs: 10_000, idleMs: 300, few: 10 };
const BURST = 60;
const descriptors = () => readdirSync("/proc/self/fd").length;

/** Connected sockets beside that one, as the kernel lists them. */
function lanesOf({ address }: UdpSocket): number {
  const port = `:${address.port.toString(16).toUpperCase().padStart(4, "0")}`;
  const lines = readFileSync(`/proc/self/net/udp${address.family === 6 ? "6" : ""}`, "utf8").split("\n");
  const ends = lines.map((line) => line.trim().split(/\s+/).slice(1, 3));
  return ends.filter(([local, remote]) => local?.endsWith(port) && !remote?.endsWith(":0000")).length;
}

async function receiver(t: T, ip = "127.0.0.1", rules = RULES) {
  const seen: string[] = [];
  const sizes: number[] = [];
  const errors: string[] = [];
  let ends = 0;
  const take = (batch: readonly { data: Uint8Array; from: SocketAddress }[]) => {
    for (const { data, from } of batch) {
      seen.push(`${from.key} ${numberOf({ data })} ${data.length} ${Bun.hash(data)}`);
      data.fill(0); // as a decryption in place does
    }
  };
  const handlers = {
    onBatch: (batch: Parameters<typeof take>[0]) => {
      take(batch);
      ends = seen.length;
    },
    onPart: (part: Parameters<typeof take>[0]) => {
      sizes.push(part.length);
      take(part);
    },
    onIcmpError: (code: string) => void errors.push(code),
    onDrain: () => {},
  };
  const socket = await bindBun({ address: SocketAddress.of(ip, 0), handlers }, rules);
  t.teardown(() => socket.close());
  const to = ip === "0.0.0.0" ? SocketAddress.of("127.0.0.1", socket.address.port) : socket.address;
  return { socket, to, seen, sizes, errors, ends: () => ends };
}

const sender = async (t: T, ip = "127.0.0.1"): Promise<UdpSocket> => (await open(t, "bun", `${ip}:0`)).socket;

/** A burst of full datagrams, whose numbers begin there; what the receiver has to see of it. */
function burst(from: UdpSocket, to: SocketAddress, first: number, size = 1200): string[] {
  const sent = range(BURST).map((i) => numbered(first + i, i === BURST - 1 ? 77 : size));
  from.send(sent.map((data) => ({ data, to })));
  return sent.map((data) => `${from.address.key} ${numberOf({ data })} ${data.length} ${Bun.hash(data)}`);
}

for (const ip of ["127.0.0.1", "[::1]", "0.0.0.0"]) {
  check(`${ip}: a busy peer's datagrams come in runs, whole and in order, and others' beside them`, async (t) => {
    const bound = ip === "[::1]" ? "::1" : ip;
    const { socket, to, seen, sizes, ends } = await receiver(t, bound);
    const local = ip === "0.0.0.0" ? "127.0.0.1" : ip;
    const [busy, other] = [await sender(t, local), await sender(t, local)];
    const expected = burst(busy, to, 0);
    await until(() => seen.length === expected.length, "the first burst has come");
    await until(() => lanesOf(socket) === 1, "a lane is open");
    for (let round = 1; round <= 5; round++) {
      expected.push(...burst(busy, to, round * 100, 1000 + round));
      other.send([{ data: numbered(round, 9), to }]);
      expected.push(`${other.address.key} ${round} 9 ${Bun.hash(numbered(round, 9))}`);
      await until(() => seen.length === expected.length, `round ${round} has come`);
    }
    expected.push(...burst(busy, to, 900));
    await until(() => seen.length === expected.length && ends() === expected.length, "a batch has ended a burst");
    const of = (who: UdpSocket, lines: readonly string[]) => lines.filter((line) => line.startsWith(who.address.key));
    t.same(of(busy, seen), of(busy, expected));
    t.same(of(other, seen), of(other, expected));
    t.ok(sizes.includes(BURST), `a burst was handed up as one: ${sizes.join()}`);
    t.equal(socket.stats().received, expected.length);
    await until(() => lanesOf(socket) === 0, "the lane is closed when nothing comes");
    expected.push(...burst(busy, to, 1000));
    await until(() => seen.length === expected.length, "what comes after it comes as before");
    t.same(of(busy, seen), of(busy, expected));
  });
}

check("what came before a lane was open is handed up before what comes by it", async (t) => {
  const seen: number[] = [];
  const busy = await sender(t);
  let bursts = 1;
  const onPart = (part: readonly { data: Uint8Array }[]) => {
    seen.push(...part.map(numberOf));
    // More of it, while what opens the lane is being handed up; and again when it is open.
    if (bursts < 8) burst(busy, socket.address, 100 * bursts++);
  };
  const handlers = { onPart, onBatch: onPart, onDrain: () => {} };
  const socket = await bindBun({ address: parseSocketAddress("127.0.0.1:0"), handlers }, RULES);
  t.teardown(() => socket.close());
  burst(busy, socket.address, 0);
  await until(() => seen.length === 8 * BURST, "all have come");
  t.same(
    seen,
    range(8).flatMap((i) => range(BURST).map((j) => 100 * i + j)),
  );
});

check("several busy peers have a lane each; closing the socket closes all, at once", async (t) => {
  const before = descriptors();
  const { socket, to, seen } = await receiver(t, "127.0.0.1", { ...RULES, idleMs: 60_000 });
  const peers = await Promise.all(range(10).map(() => sender(t)));
  for (const [i, peer] of peers.entries()) {
    burst(peer, to, 1000 * i);
    await until(() => seen.length === (i + 1) * BURST, `the burst of ${i} has come`);
  }
  await until(() => lanesOf(socket) === 8, "eight lanes are open, and no more");
  for (const [i, peer] of peers.entries()) burst(peer, to, 1000 * i + 100);
  await until(() => seen.length === 2 * peers.length * BURST, "everything has come by lanes and beside them");
  for (const peer of peers) burst(peer, to, 7);
  socket.close();
  const after = seen.length;
  for (const peer of peers) peer.close();
  await until(() => descriptors() <= before, `${descriptors()} descriptors are ${before} again`);
  t.equal(seen.length, after, "nothing is handed up after it");
  const again = await bindUdp({ address: socket.address, handlers: { onBatch: () => {}, onDrain: () => {} } });
  again.close();
});

check("nobody else can bind where a lane is, also who would share the address", async (t) => {
  const { socket, to, seen } = await receiver(t, "127.0.0.1", { ...RULES, idleMs: 60_000 });
  burst(await sender(t), to, 0);
  await until(() => seen.length === BURST && lanesOf(socket) === 1, "a lane is open");
  // libuSockets' LIBUS_LISTEN_REUSE_PORT and LIBUS_LISTEN_REUSE_ADDR
  for (const flags of [4, 16]) {
    const other = { hostname: to.ip, port: to.port, flags };
    await t.rejects(async () => await Bun.udpSocket(other), /EADDRINUSE/);
    const first = await Bun.udpSocket({ ...other, port: 0 });
    // Who asks for it and meets one who asked too gets it.
    const shared = await Bun.udpSocket({ ...other, port: first.port });
    for (const one of [first, shared]) one.close();
  }
});

check("a socket that is closed by who gets a burst leaves no lane behind", async (t) => {
  const busy = await sender(t);
  for (const closeAt of [1, 2, 3, 4]) {
    let parts = 0;
    const onPart = () => {
      if (++parts === closeAt) socket.close();
    };
    const handlers = { onPart, onBatch: onPart, onDrain: () => {} };
    const socket = await bindBun({ address: parseSocketAddress("127.0.0.1:0"), handlers }, RULES);
    while (parts < closeAt) {
      burst(busy, socket.address, 0);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await until(() => lanesOf(socket) === 0, `closed at ${closeAt}: nothing is left`);
  }
});

check("ICMP's word about a peer that has a lane is told, and the lane goes on", async (t) => {
  const { socket, to, seen, errors } = await receiver(t, "127.0.0.1", { ...RULES, idleMs: 60_000 });
  const first = await sender(t);
  burst(first, to, 0);
  await until(() => seen.length === BURST && lanesOf(socket) === 1, "a lane is open");
  const { address } = first;
  first.close();
  socket.send([{ data: new Uint8Array(5), to: address }]);
  await until(() => errors.length > 0, "it was told that nobody is there");
  t.same(errors, ["ECONNREFUSED"]);
  t.same(socket.stats().receiveErrors, { ECONNREFUSED: 1 });
  const next = await bindUdp({ address, handlers: { onBatch: () => {}, onDrain: () => {} } });
  t.teardown(() => next.close());
  burst(next, to, 100);
  await until(() => seen.length === 2 * BURST, "what comes from there again is handed up");
});
