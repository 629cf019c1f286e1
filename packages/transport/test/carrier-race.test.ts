import { type Millis, SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import type { Carrier, CarrierEvent } from "../src/carrier/carrier.ts";
import { CarrierRace, HEAD_START_MS, REFUSED_AGAIN_MS, type Way, waysOver, waysTo } from "../src/carrier/race.ts";

/** Says what the test lets it say. */
class FakeCarrier implements Carrier {
  readonly heldBytes = 0;
  readonly kind = "quic";
  readonly remote = SocketAddress.of("192.0.2.1", 4433);
  readonly isGone = false;
  readonly events: CarrierEvent[] = [];
  pollEvent(): CarrierEvent | null {
    return this.events.shift() ?? null;
  }
  read(): "blocked" {
    return "blocked";
  }
  write(): number {
    return 0;
  }
  finish(): void {}
  abort(): void {}
  handleTimeout(): void {}
  pollTimeout(): null {
    return null;
  }
}

function world(last: Way | null = null, impossible: readonly string[] = []) {
  const opened: { readonly way: string; readonly at: Millis; readonly carrier: FakeCarrier }[] = [];
  let now = 0;
  const race = new CarrierRace(0, waysTo(4433, last), (way) => {
    const name = way.kind === "quic" ? "quic" : `tls ${way.port}`;
    if (impossible.includes(name)) throw new Error(`${name} cannot be tried`);
    const carrier = new FakeCarrier();
    opened.push({ way: name, at: now, carrier });
    return carrier;
  });
  return {
    race,
    opened,
    started: () => opened.map(({ way, at }) => `${way} at ${at}`),
    at: (to: Millis) => {
      now = to;
      race.handleTimeout(to);
      return race.poll(to);
    },
    say: (way: string, event: CarrierEvent) => opened.find((one) => one.way === way)?.carrier.events.push(event),
  };
}

test("QUIC has a head start; then TLS starts beside it, on its port and at last on 443", (t) => {
  const { at, started } = world();
  t.same(started(), ["quic at 0"]);
  t.equal(at(HEAD_START_MS - 1), null);
  t.same(started(), ["quic at 0"]);
  at(HEAD_START_MS);
  at(2 * HEAD_START_MS);
  t.same(started(), ["quic at 0", `tls 4433 at ${HEAD_START_MS}`, `tls 443 at ${2 * HEAD_START_MS}`]);
});

test("the first that is established wins, whichever it is; the others are left to be ended", (t) => {
  const { race, at, say, opened } = world();
  at(HEAD_START_MS);
  say("tls 4433", { type: "established", peerId: "them" });
  const result = at(HEAD_START_MS + 50);
  if (result?.type !== "won") return t.ok(false, "nobody won");
  t.same(result.way, { kind: "tls", port: 4433 });
  t.equal(result.peerId, "them");
  t.same(race.carriers, [opened[0]?.carrier]);
});

test("a way that is refused lets the next one start at once", (t) => {
  const { at, say, started } = world();
  say("quic", { type: "closed", reason: "no" });
  t.equal(at(5), null);
  say("tls 4433", { type: "closed", reason: "connection refused" });
  t.equal(at(6), null);
  t.same(started(), ["quic at 0", "tls 4433 at 5", "tls 443 at 6"]);
  say("tls 443", { type: "closed", reason: "what answers there is no intermediate" });
  t.same(at(7), {
    type: "lost",
    reason: "QUIC: no; TLS on port 4433: connection refused; TLS on port 443: what answers there is no intermediate",
  });
});

test("where UDP is blocked QUIC stays silent: a refused TLS is tried again meanwhile, for the intermediate may be back", (t) => {
  const { at, say, started } = world({ kind: "tls", port: 443 });
  say("tls 443", { type: "closed", reason: "connection refused" });
  at(10);
  say("tls 4433", { type: "closed", reason: "connection refused" });
  t.equal(at(20), null);
  at(10 + REFUSED_AGAIN_MS);
  at(20 + REFUSED_AGAIN_MS);
  t.same(started(), [
    "quic at 0",
    "tls 443 at 0",
    "tls 4433 at 10",
    `tls 443 at ${10 + REFUSED_AGAIN_MS}`,
    `tls 4433 at ${20 + REFUSED_AGAIN_MS}`,
  ]);
});

test("what worked last is not waited for, and QUIC is tried all the same", (t) => {
  const { started, at } = world({ kind: "tls", port: 443 });
  t.same(started(), ["quic at 0", "tls 443 at 0"]);
  at(HEAD_START_MS);
  t.same(started(), ["quic at 0", "tls 443 at 0", `tls 4433 at ${HEAD_START_MS}`]);
});

test("an intermediate on port 443 has no second TLS port", (t) => {
  t.same(waysTo(443, null), [[{ kind: "quic" }], [{ kind: "tls", port: 443 }]]);
});

test("ways that cannot be tried hold nobody up, and say why", (t) => {
  const { at, started } = world(null, ["quic", "tls 443"]);
  t.same(started(), ["tls 4433 at 0"]);
  at(HEAD_START_MS);
  t.same(started(), ["tls 4433 at 0"]);
});

test("each address begins a step behind the one before it, and all are tried over every way", (t) => {
  const quic = { kind: "quic" };
  const tls = { kind: "tls", port: 443 };
  t.same(waysOver(["192.0.2.1", "2001:db8::1"], waysTo(443, null)), [
    [{ ...quic, ip: "192.0.2.1" }],
    [
      { ...tls, ip: "192.0.2.1" },
      { ...quic, ip: "2001:db8::1" },
    ],
    [{ ...tls, ip: "2001:db8::1" }],
  ]);
  t.same(waysOver(["192.0.2.1"], waysTo(443, null)), [[{ ...quic, ip: "192.0.2.1" }], [{ ...tls, ip: "192.0.2.1" }]]);
});

test("addresses that are dead hold nobody up: the third one's answer wins", (t) => {
  const carriers = new Map<string, FakeCarrier>();
  const race = new CarrierRace(0, waysOver(["192.0.2.1", "192.0.2.2", "192.0.2.3"], waysTo(4433, null)), (way) => {
    const carrier = new FakeCarrier();
    if (way.kind === "quic") carriers.set(way.ip, carrier);
    return carrier;
  });
  for (const step of [1, 2]) t.equal(race.poll(step * HEAD_START_MS), null);
  t.must(carriers.get("192.0.2.3")).events.push({ type: "established", peerId: "them" });
  const result = race.poll(2 * HEAD_START_MS + 20);
  t.same(result?.type === "won" && result.way, { kind: "quic", ip: "192.0.2.3" });
});
