/** An agent that was let in and misbehaves: it harms its own session at most, and costs a bounded amount. */
import { nullLogger, SocketAddress } from "@adit/core";
import { type T, test } from "@adit/harness";
import { Identity, type QuicConnection, type QuicStream } from "@adit/quic";
import { type ControlMessage, openServiceCodec } from "@adit/signaling";
import { type PeerSession, startEndpoint } from "../src/index.ts";
import { echo, exchange, startNet } from "./support/endpoints.ts";

/** What a session hides: an attacker writes his own. */
interface Inside {
  readonly carrier: QuicConnection;
  readonly control: { send(message: ControlMessage): boolean };
  readonly ice: { readonly local: { readonly ufrag: string } };
}

interface Siege {
  readonly evil: PeerSession;
  readonly inside: Inside;
  /** Services that were asked for. */
  readonly asked: string[];
  /** Another agent's session is served as ever. */
  readonly othersAreServed: (what: string) => Promise<void>;
}

async function siege(t: T): Promise<Siege> {
  const asked: string[] = [];
  const { intermediate, agent } = await startNet(t, {
    admit: () => true,
    onService: (request) => {
      asked.push(request.name);
      void request.accept().then(echo, () => {});
    },
  });
  const other = await startEndpoint({
    role: "agent",
    identity: Identity.generate(),
    bind: { ip: "127.0.0.4", port: 0 },
    intermediate: { host: "127.0.0.1", port: intermediate.address.port },
    checkIntermediate: () => null,
    log: nullLogger,
  });
  t.teardown(() => other.close("test over"));
  const wanted = { target: "office", service: "any", waitMs: 5_000 };
  const evil = await agent.connect(wanted);
  const honest = await other.connect(wanted);
  return {
    evil,
    inside: evil as unknown as Inside,
    asked,
    othersAreServed: async (what) => t.equal(await exchange(await honest.openService("echo"), what), what),
  };
}

/** The connector gave the stream up. The test's own time limit is the bound. */
async function givenUp(stream: QuicStream): Promise<void> {
  const byte = new Uint8Array(1);
  for (;;) {
    try {
      if (stream.read(byte) !== "blocked") throw new Error("an answer came");
    } catch (error) {
      if ((error as { code?: string }).code === "stream-reset") return;
      throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

test("heads of streams that are too long, or make no sense, end their streams, and no service is asked for", async (t) => {
  const { inside, asked, othersAreServed } = await siege(t);
  const long = openServiceCodec.encodeFrame({ type: "open-service", name: "a", protocol: "tcp" });
  const heads: Uint8Array[] = [
    Uint8Array.of(0xff, 0xff, 0xff, 0xff), // 4 GiB
    Uint8Array.of(0, 1, 0, 1, ...new Uint8Array(64)), // one byte more than a frame may have
    Uint8Array.of(0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8),
    // A name of 0xffffffff bytes, and one of 41.
    Uint8Array.of(0, 0, 0, 13, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 97, 0, 0, 0, 0),
    Uint8Array.of(0, 0, 0, 53, 41, 0, 0, 0, 0, 0, 0, 0, ...new Uint8Array(41).fill(97), 0, 0, 0, 0),
    // What comes behind the name, and is none of two.
    Uint8Array.of(...long.subarray(0, long.length - 4), 7, 0, 0, 0),
  ];
  const streams = heads.flatMap((head) =>
    Array.from({ length: 40 }, () => {
      const stream = inside.carrier.openStream();
      stream.write(head);
      return givenUp(stream);
    }),
  );
  await Promise.all(streams);
  t.same(asked, []);
  await othersAreServed("after the heads");
});

test("all the streams there are, of which none says what it wants, hold up nobody else", async (t) => {
  const { inside, asked, othersAreServed } = await siege(t);
  let opened = 0;
  try {
    for (; opened < 100_000; opened++) inside.carrier.openStream().write(Uint8Array.of(0));
  } catch {
    // the limit
  }
  t.ok(opened > 100 && opened < 2_000, `${opened} streams`);
  await othersAreServed("beside silent streams");
  t.same(asked, ["echo"]);
});

test("floods of pings, candidates, restarts, ends of streams and datagrams are taken, and others are served meanwhile", async (t) => {
  const { evil, inside, othersAreServed } = await siege(t);
  const ice = (i: number) => ({ ufrag: `evil${i}`, pwd: "p".repeat(24), options: [] });
  const candidate = (i: number) => ({
    foundation: "v",
    component: 1 as const,
    transport: "udp" as const,
    priority: i,
    address: SocketAddress.of(`127.9.${(i >> 8) & 255}.${i & 255}`, 9),
    type: "host" as const,
    related: null,
  });
  const floods: readonly ((i: number) => unknown)[] = [
    (i) => inside.control.send({ type: "ping", id: BigInt(i) }),
    (i) => inside.control.send({ type: "candidate", ufrag: inside.ice.local.ufrag, candidate: candidate(i) }),
    (i) => inside.control.send({ type: "restart", ice: ice(i), candidates: [candidate(i)], answer: i % 2 === 0 }),
    (i) => inside.control.send({ type: "stream-end", streamId: BigInt(i * 4), bytes: 2n ** 60n }),
    (i) => inside.control.send({ type: "stream-end", streamId: BigInt(i * 4 + 4), bytes: 2n ** 64n - 1n - BigInt(i) }),
    (i) => inside.control.send({ type: "path-report", path: "direct", alive: false, silentMs: i }),
    () => inside.carrier.sendDatagram(new Uint8Array(800)),
  ];
  for (const flood of floods) {
    for (let i = 0; i < 3_000; i++) {
      try {
        flood(i);
      } catch {
        break; // its own queue is full, or its session was ended
      }
      if (i % 500 === 0) await othersAreServed(`flood ${floods.indexOf(flood)}, ${i}`);
    }
  }
  evil.close("enough");
  await othersAreServed("after all");
});
