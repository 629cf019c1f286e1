// One contract, every implementation that works in this runtime.
import { createSocket } from "node:dgram";
import { networkInterfaces } from "node:os";
import { parseSocketAddress, SocketAddress } from "@adit/core";
import { type T, test } from "@adit/harness";
import { bindUdp, udpRuntimes } from "../src/udp/bind.ts";
import { UdpBindError } from "../src/udp/errors.ts";
import { MAX_RECEIVE_BATCH, type Outgoing, type UdpRuntime } from "../src/udp/udp.ts";
import { numbered, numberOf, open, range, until } from "./support/udp.ts";

const hasIpv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"));
const noIpv6 = hasIpv6 ? false : "no IPv6 loopback here";

for (const runtime of udpRuntimes) contract(runtime);

function contract(runtime: UdpRuntime): void {
  const check = (name: string, fn: (t: T) => Promise<void>, skip: string | false = false) =>
    test(`${runtime}: ${name}`, fn, { skip });

  check("batches of 1 to 512 datagrams arrive whole, in order, with their source", async (t) => {
    const [a, b] = [await open(t, runtime), await open(t, runtime)];
    for (const length of [1, 2, 7, 64, 512]) {
      b.got.length = 0;
      const batch = range(length).map((i) => ({ data: numbered(i, 20), to: b.address }));
      t.equal(a.socket.send(batch), length);
      await until(() => b.got.length === length, `${length} arrived`);
      t.same(b.got.map(numberOf), range(length));
      t.ok(b.got.every(({ from }) => from.equals(a.address)));
    }
    t.equal(a.socket.stats().sent, 586);
    t.equal(b.socket.stats().received, 586);
  });

  check("what the kernel had together is handed up together, never more than the bound", async (t) => {
    const [a, b] = [await open(t, runtime), await open(t, runtime)];
    a.send(...range(100).map((i) => [numbered(i), b.address] as const));
    await until(() => b.got.length === 100, "100 arrived");
    t.ok(b.batches.length <= 10, `100 datagrams came in ${b.batches.length} batches`);
    t.ok(b.batches.every((length) => length <= MAX_RECEIVE_BATCH));
  });

  check(
    "the receive buffer holds a burst of 150 full-size datagrams, which the system's default does not",
    async (t) => {
      const [a, b] = [await open(t, runtime), await open(t, runtime)];
      const batch = range(150).map((i) => ({ data: numbered(i, 1472), to: b.address }));
      a.socket.send(batch);
      await until(() => b.got.length === 150, "all arrived");
      t.same(b.got.map(numberOf), range(150));
    },
  );

  check("datagrams of 0 to 65507 bytes arrive intact", async (t) => {
    const [a, b] = [await open(t, runtime), await open(t, runtime)];
    const sizes = [0, 1, 20, 1200, 1472, 1473, 9000, 65_507, 0];
    const sent = sizes.map((size) => Uint8Array.from({ length: size }, (_, i) => (i * 7 + size) & 255));
    a.send(...sent.map((data) => [data, b.address] as const));
    await until(() => b.got.length === sizes.length, "all sizes arrived");
    for (const [i, { data }] of b.got.entries()) {
      t.equal(Buffer.compare(data, sent[i] ?? t.fail("too many")), 0, `${sizes[i]} bytes`);
    }
  });

  check("one batch serves many destinations", async (t) => {
    const a = await open(t, runtime);
    const others = [await open(t, runtime), await open(t, runtime, "127.0.0.2:0"), await open(t, runtime)] as const;
    a.send(...range(90).map((i) => [numbered(i), (others[i % 3] ?? t.fail("three")).address] as const));
    for (const [k, other] of others.entries()) {
      await until(() => other.got.length === 30, `30 arrived at ${k}`);
      t.same(
        other.got.map(numberOf),
        range(30).map((i) => i * 3 + k),
      );
    }
  });

  check("bytes may be reused after send, and received bytes stay as they are", async (t) => {
    const [a, b] = [await open(t, runtime), await open(t, runtime)];
    const scratch = new Uint8Array(1000);
    for (let i = 0; i < 50; i++) {
      scratch.fill(i);
      a.send([scratch, b.address]);
    }
    await until(() => b.got.length === 50, "50 arrived");
    t.ok(b.got.every(({ data }, i) => data.every((byte) => byte === i)));
  });

  check("a batch may be sent from an index on", async (t) => {
    const [a, b] = [await open(t, runtime), await open(t, runtime)];
    const batch = range(10).map((i) => ({ data: numbered(i), to: b.address }));
    t.equal(a.socket.send(batch, 7), 3);
    t.equal(a.socket.send(batch, 10), 0);
    await until(() => b.got.length === 3, "3 arrived");
    t.same(b.got.map(numberOf), [7, 8, 9]);
  });

  check("destinations that the system refuses cost their own datagram only, and are counted", async (t) => {
    const [a, b] = [await open(t, runtime), await open(t, runtime)];
    const bad: [Uint8Array, string][] = [
      [new Uint8Array(65_508), b.address.key],
      [numbered(0), "255.255.255.255:9"],
      [numbered(0), "127.0.0.1:0"],
      [numbered(0), "[::1]:9"],
    ];
    const batch: Outgoing[] = [];
    for (let i = 0; i < 40; i++) {
      const [data, to] = bad[i % bad.length] ?? t.fail("bad");
      batch.push({ data: numbered(i), to: b.address }, { data, to: parseSocketAddress(to) });
      if (i % 3 === 0) batch.push({ data, to: parseSocketAddress(to) }); // two in a row
    }
    t.equal(a.socket.send(batch), batch.length);
    await until(() => b.got.length >= 40, "the good ones arrived");
    t.same(b.got.map(numberOf), range(40));
    const { sent, sendErrors } = a.socket.stats();
    t.equal(sent, 40);
    t.same(Object.keys(sendErrors).sort(), ["EACCES", "EAFNOSUPPORT", "EINVAL", "EMSGSIZE"]);
    t.equal(
      Object.values(sendErrors).reduce((sum, count) => sum + count),
      batch.length - 40,
    );
  });

  check("ICMP port unreachable loses nothing but its own datagram", async (t) => {
    const [a, b] = [await open(t, runtime), await open(t, runtime)];
    const gone = await open(t, runtime);
    gone.socket.close();
    for (let round = 0; round < 5; round++) {
      a.send(...range(20).map((i) => [numbered(round * 10 + (i >> 1)), i % 2 ? b.address : gone.address] as const));
      await new Promise((resolve) => setTimeout(resolve, 2)); // so that errors are also met outside of send
    }
    await until(() => b.got.length >= 50, "the good ones arrived");
    t.same(
      b.got.map(numberOf).sort((x, y) => x - y),
      range(50),
    );
    b.send([numbered(1), a.address]);
    await until(() => a.got.length === 1, "the sender still receives");
  });

  check("a flood of 20,000 datagrams is dealt with, in order, and the socket works afterwards", async (t) => {
    const [a, b] = [await open(t, runtime), await open(t, runtime)];
    const flood = range(20_000).map((i) => ({ data: numbered(i, 1200), to: b.address }));
    for (let dealt = 0; dealt < flood.length; ) {
      const before = a.drains();
      dealt += a.socket.send(flood, dealt);
      if (dealt < flood.length) await until(() => a.drains() > before, "the socket drained");
    }
    await until(() => a.socket.stats().sent === 20_000, "all were sent");
    // What comes while the receiver's buffer is full is lost; how long that is, is the machine's.
    let next = 20_000;
    await until(() => {
      a.send([numbered(next++), b.address]);
      return numberOf(b.got.at(-1) ?? { data: numbered(0) }) >= 20_000;
    }, "a later one arrived");
    const numbers = b.got.map(numberOf);
    t.ok(
      numbers.every((number, i) => i === 0 || number > (numbers[i - 1] as number)),
      "in order",
    );
    t.ok(b.batches.every((length) => length <= MAX_RECEIVE_BATCH));
  });

  check(
    "no handler is called after close, even with datagrams waiting; closing twice and sending after it are harmless",
    async (t) => {
      const [a, b] = [await open(t, runtime), await open(t, runtime)];
      a.send(...range(50).map((i) => [numbered(i), b.address] as const));
      b.socket.close();
      b.socket.close();
      t.equal(b.send([numbered(1), a.address], [numbered(2), a.address]), 2);
      a.send([numbered(3), a.address]);
      await until(() => a.got.length === 1, "the other socket goes on");
      t.equal(b.got.length, 0);
      t.equal(numberOf(a.got[0] ?? t.fail("none")), 3);
    },
  );

  check("who binds has the socket before the first batch comes", async (t) => {
    const a = await open(t, runtime);
    for (let round = 0; round < 5; round++) {
      const port = (await reservePort(t, runtime)).port;
      const order: string[] = [];
      const handlers = { onBatch: () => void order.push("batch"), onDrain: () => {} };
      const noise = setInterval(() => a.send([numbered(0), SocketAddress.of("127.0.0.1", port)]), 0);
      const socket = await bindUdp({ address: SocketAddress.of("127.0.0.1", port), runtime, handlers });
      order.push("bound");
      await until(() => order.includes("batch"), "a batch came");
      clearInterval(noise);
      socket.close();
      t.equal(order[0], "bound");
    }
  });

  check("closing from inside the handler, while sending, ends it", async (t) => {
    const a = await open(t, runtime);
    let batches = 0;
    const echo = await bindUdp({
      address: parseSocketAddress("127.0.0.1:0"),
      runtime,
      handlers: {
        onBatch: (batch) => {
          batches++;
          echo.send(batch.map(({ data }) => ({ data, to: a.address })));
          echo.close();
        },
        onDrain: () => t.fail("drain after close"),
      },
    });
    a.send(...range(10).map((i) => [numbered(i), echo.address] as const));
    await until(() => a.got.length > 0, "the echo arrived");
    a.send(...range(10).map((i) => [numbered(i), echo.address] as const));
    a.send([numbered(99), a.address]);
    await until(() => a.got.some((one) => numberOf(one) === 99), "the sender goes on");
    t.equal(batches, 1);
  });

  check("an address in use is said to be, and how to choose another", async (t) => {
    const a = await open(t, runtime);
    for (const taken of [a.address.key, `0.0.0.0:${a.address.port}`]) {
      const error = await open(t, runtime, taken).then(() => t.fail("it was bound"), asBindError);
      t.equal(error.code, "address-in-use");
      t.match(error.message, new RegExp(`${taken.replaceAll(".", "\\.")}.*choose another port`));
    }
  });

  check("an address of another machine is said to be", async (t) => {
    const error = await open(t, runtime, "192.0.2.1:0").then(() => t.fail("it was bound"), asBindError);
    t.equal(error.code, "address-not-available");
    t.match(error.message, /192\.0\.2\.1 is not an address of this machine.*0\.0\.0\.0/);
  });

  check(
    "IPv6 works, and its wildcard leaves IPv4 alone",
    async (t) => {
      const a = await open(t, runtime, "[::1]:0");
      const [b, v4] = await bothFamilies(t, runtime); // fails if the IPv6 one took IPv4 too
      a.send(...range(5).map((i) => [numbered(i), SocketAddress.of("::1", b.address.port)] as const));
      v4.send([numbered(7), SocketAddress.of("127.0.0.1", v4.address.port)]);
      await until(() => b.got.length === 5 && v4.got.length === 1, "all arrived");
      t.ok(b.got.every(({ from }) => from.equals(a.address)));
      t.equal(v4.got[0]?.from.ip, "127.0.0.1");
    },
    noIpv6,
  );

  check("datagrams from a plain node:dgram socket are understood", async (t) => {
    const b = await open(t, runtime);
    const plain = createSocket("udp4");
    t.teardown(() => plain.close());
    await new Promise<void>((resolve) => plain.bind(0, "127.0.0.1", resolve));
    plain.send("hello", b.address.port, "127.0.0.1");
    await until(() => b.got.length === 1, "it arrived");
    t.equal(b.got[0]?.from.key, `127.0.0.1:${plain.address().port}`);
    t.equal(Buffer.from(b.got[0]?.data ?? t.fail("none")).toString(), "hello");
  });
}

/** A port of both families: the first one that nobody else has for IPv4. */
async function bothFamilies(t: T, runtime: UdpRuntime) {
  for (let tries = 0; ; tries++) {
    const v6 = await open(t, runtime, "[::]:0");
    try {
      return [v6, await open(t, runtime, `0.0.0.0:${v6.address.port}`)] as const;
    } catch (error) {
      if (tries === 5) throw error;
    }
  }
}

/** An address that was free a moment ago. */
async function reservePort(t: T, runtime: UdpRuntime): Promise<SocketAddress> {
  const { socket, address } = await open(t, runtime);
  socket.close();
  return address;
}

function asBindError(error: unknown): UdpBindError {
  if (error instanceof UdpBindError) return error;
  throw error;
}
