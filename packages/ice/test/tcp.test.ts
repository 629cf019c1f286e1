import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { fromUtf8, nullLogger, SocketAddress, utf8 } from "@adit/core";
import { type T, test } from "@adit/harness";
import type { Candidate } from "../src/candidate.ts";
import { createIceConnection, type IceConnection } from "../src/driver/connection.ts";
import { frame } from "../src/driver/frames.ts";
import { listenPassive, MAX_TCP_CONNECTIONS, openActive } from "../src/driver/tcp.ts";
import { StunBuilder } from "../src/stun/builder.ts";

const tcpOnly = (candidate: Candidate | null): boolean => candidate === null || candidate.transport === "tcp";

/** Two connections that tell each other only the candidates that `tells` lets through. */
async function meet(
  t: T,
  tells: (candidate: Candidate | null, from: "a" | "b") => boolean,
): Promise<readonly [IceConnection, IceConnection]> {
  const options = { bind: ["127.0.0.1"], tcp: true } as const;
  const a = await createIceConnection({ role: "controlling", ...options });
  t.teardown(() => a.close());
  const b = await createIceConnection({ role: "controlled", ...options });
  t.teardown(() => b.close());
  a.setRemoteParameters(b.local);
  b.setRemoteParameters(a.local);
  a.onCandidate = (candidate) => tells(candidate, "a") && b.addRemoteCandidate(candidate);
  b.onCandidate = (candidate) => tells(candidate, "b") && a.addRemoteCandidate(candidate);
  await Promise.all([a.connected(), b.connected()]);
  return [a, b];
}

async function exchange(t: T, a: IceConnection, b: IceConnection): Promise<void> {
  const [atA, atB] = [a[Symbol.asyncIterator](), b[Symbol.asyncIterator]()];
  for (let i = 0; i < 10; i++) {
    const text = `${i}${"x".repeat(i * 6_000)}`;
    t.ok(a.send(utf8(text)));
    t.equal(fromUtf8(t.must((await atB.next()).value)), text);
    t.ok(b.send(utf8(text)));
    t.equal(fromUtf8(t.must((await atA.next()).value)), text);
  }
}

async function until(t: T, holds: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 1_000 && !holds(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  t.ok(holds(), what);
}

test("with TCP alone two connections meet and exchange datagrams up to 54 KB, whoever listens", async (t) => {
  for (const listener of ["a", "b"] as const) {
    const [a, b] = await meet(t, (candidate, from) => {
      if (candidate?.tcpType === "passive") return from === listener;
      return tcpOnly(candidate);
    });
    t.equal(t.must(a.path).local.transport, "tcp");
    t.equal(t.must(a.path).local.tcpType, listener === "a" ? "passive" : "active");
    await until(t, () => a.path?.nominated === true && b.path?.nominated === true, "nominated on both sides");
    t.equal(t.must(a.path).remote.address.key, t.must(b.path).local.address.key);
    await exchange(t, a, b);
    await Promise.all([a.close(), b.close()]);
  }
});

test("where both work UDP is preferred", async (t) => {
  const [a, b] = await meet(t, () => true);
  await until(t, () => a.path?.nominated === true, "nominated");
  t.equal(t.must(a.path).local.transport, "udp");
  await exchange(t, a, b);
});

test("TCP candidates are there only when they are asked for, and never with policy relay", async (t) => {
  for (const options of [{}, { tcp: true, policy: "relay" }] as const) {
    const one = await createIceConnection({ role: "controlling", bind: ["127.0.0.1"], ...options });
    t.teardown(() => one.close());
    t.ok(one.stats.length === 0 && one.localCandidates.every(({ transport }) => transport === "udp"));
  }
});

/** A passive socket on its own, with what it told. */
async function listen(t: T, known: (remote: SocketAddress) => boolean) {
  const received: string[] = [];
  const closed: string[] = [];
  const passive = await listenPassive(
    "127.0.0.1",
    0,
    {
      onDatagram: (data) => received.push(Buffer.from(data).toString("hex")),
      onClosed: (remote) => closed.push(remote.key),
      isKnown: known,
    },
    nullLogger,
  );
  t.teardown(() => passive.close());
  const open = (): Promise<Socket & { ended: boolean }> =>
    new Promise((resolve) => {
      const socket = Object.assign(
        connect(passive.address.port, "127.0.0.1", () => resolve(socket)),
        { ended: false },
      );
      socket.on("error", () => {});
      socket.on("close", () => {
        socket.ended = true;
      });
      socket.resume();
      t.teardown(() => void socket.destroy());
    });
  return { passive, received, closed, open };
}

test("a stranger who speaks something else, or too long a frame, is hung up on", async (t) => {
  const { received, open } = await listen(t, () => false);
  const [http, long] = [await open(), await open()];
  http.write("GET / HTTP/1.1\r\n\r\n");
  long.write(frame(new Uint8Array(2_000)));
  await until(t, () => http.ended && long.ended, "both are closed");
  t.same(received, []);
  const check = new StunBuilder("request", 1, new Uint8Array(12)).build({ fingerprint: true });
  const polite = await open();
  polite.write(frame(check));
  await until(t, () => received.length === 1, "a check is passed on");
  polite.write(frame(utf8("data")));
  await until(t, () => polite.ended, "data of one who is not known is not");
  t.equal(received.length, 1);
});

test("who answers a connection of ours with something else is none of the peer's addresses (RFC 6544 §7.1)", async (t) => {
  const check = new StunBuilder("request", 1, new Uint8Array(12)).build({ fingerprint: true });
  for (const [first, staysOpen] of [
    [utf8("220 mail.example"), false],
    [check, true],
  ] as const) {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.write(frame(first));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const told: string[] = [];
    const active = openActive(
      "127.0.0.1",
      { onDatagram: () => told.push("datagram"), onClosed: () => told.push("closed"), isKnown: () => false },
      nullLogger,
    );
    t.teardown(async () => {
      await active.close();
      server.close();
    });
    active.send(check, SocketAddress.of("127.0.0.1", port));
    await until(t, () => told.length > 0, "something is told");
    t.same(told, [staysOpen ? "datagram" : "closed"]);
  }
});

test("strangers are bounded: the oldest gives way, and who is known stays", async (t) => {
  const known = new Set<string>();
  const { open } = await listen(t, (remote) => known.has(remote.key));
  const friend = await open();
  known.add(SocketAddress.of("127.0.0.1", t.must(friend.localPort)).key);
  const strangers: (Socket & { ended: boolean })[] = [];
  for (let i = 0; i < MAX_TCP_CONNECTIONS; i++) strangers.push(await open());
  await until(t, () => strangers[0]?.ended === true, "the oldest stranger");
  t.notOk(friend.ended);
  t.notOk(strangers.at(-1)?.ended);
});

test("closing leaves no connection and no listener, and the other side notices at once", async (t) => {
  const [a, b] = await meet(
    t,
    (candidate, from) => tcpOnly(candidate) && (from === "b" || candidate?.tcpType !== "passive"),
  );
  const { port } = t.must(a.path).remote.address;
  await b.close();
  await until(t, () => a.path === null, "no path any more");
  const refused = await new Promise<boolean>((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(false));
    socket.on("error", () => resolve(true));
    t.teardown(() => void socket.destroy());
  });
  t.ok(refused);
});
