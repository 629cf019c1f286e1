import { SocketAddress, seededRandom, utf8 } from "@adit/core";
import { type T, test } from "@adit/harness";
import type { PortMapOutput, PortMapProtocol } from "../src/portmap/types.ts";
import { Bench, GATEWAY, type RouterSetting } from "./portmap-router.ts";

const MINUTE = 60_000;

const only = (protocol: PortMapProtocol): Partial<RouterSetting> => ({
  pcp: protocol === "pcp",
  natPmp: protocol === "nat-pmp",
  upnp: protocol === "upnp",
});

const external = (bench: Bench): string | null => bench.mapper.lease?.external.key ?? null;

for (const protocol of ["pcp", "nat-pmp", "upnp"] as const) {
  test(`port mapping by ${protocol} alone: made, renewed at half life, removed`, (t) => {
    const bench = new Bench(only(protocol));
    bench.runUntil(1_000);
    t.equal(external(bench), "11.0.0.10:40000");
    t.equal(bench.mapper.lease?.protocol, protocol);
    t.ok(bench.mapper.lease?.isPublic);
    bench.runUntil(60 * MINUTE);
    t.equal(bench.router.standing(bench.now).length, 1, "stands after six lifetimes");
    t.equal(bench.events.length, 1, "and nobody was told anything new");
    const renewals = bench.router.log.filter((line) => /map 40000|AddAnyPortMapping/.test(line)).length - 1;
    t.ok(renewals >= 9 && renewals <= 12, `${renewals} renewals in six lifetimes`);
    bench.do((mapper, now) => mapper.close(now));
    bench.runUntil(bench.now + 1_000);
    t.ok(bench.mapper.isGone);
    t.same(bench.router.standing(bench.now), []);
    t.equal(bench.mapper.pollTimeout(), null, "nothing is left to be done");
  });
}

test("of several protocols the best is used, though a worse one answers first", (t) => {
  const bench = new Bench();
  bench.runUntil(5_000);
  t.equal(bench.mapper.lease?.protocol, "pcp");
  t.same(
    bench.router.standing(bench.now).map(({ by }) => by),
    ["pcp"],
    "one mapping, not one each",
  );
  const { protocols } = bench.mapper;
  t.same(
    protocols.map(({ protocol, status }) => `${protocol} ${status.kind}`),
    ["pcp mapped", "nat-pmp present", "upnp present"],
  );
});

test("a protocol that refuses leaves the mapping to the next", (t) => {
  const bench = new Bench({ pcp: false, refuses: 2 });
  bench.runUntil(10_000);
  t.equal(bench.mapper.lease, null);
  const words = bench.mapper.protocols.map(({ protocol, status }) => `${protocol} ${status.kind}`);
  t.same(words, ["pcp absent", "nat-pmp refused", "upnp refused"]);
  bench.router.setting.refuses = null;
  bench.runUntil(11 * MINUTE);
  t.equal(bench.mapper.lease?.protocol, "nat-pmp", "asked again later");
});

test("a router that speaks only NAT-PMP says so to PCP, and PCP is not waited for", (t) => {
  const bench = new Bench({ pcp: false, upnp: false });
  bench.runUntil(100);
  t.equal(bench.mapper.lease?.protocol, "nat-pmp");
});

test("a router that speaks nothing is asked again every ten minutes, and is left alone otherwise", (t) => {
  const bench = new Bench({ pcp: false, natPmp: false, upnp: false });
  bench.runUntil(60 * MINUTE);
  t.equal(bench.mapper.lease, null);
  const datagrams = bench.sent.length;
  t.ok(datagrams < 7 * 24, `${datagrams} datagrams in an hour`);
  t.equal(bench.events.length, 0);
});

for (const protocol of ["pcp", "nat-pmp"] as const) {
  test(`${protocol}: a restarted router's announcement makes the mapping anew at once`, (t) => {
    const bench = new Bench(only(protocol));
    bench.runUntil(60_000);
    bench.router.restart(bench.now);
    bench.do((mapper, now) => mapper.handleAnnouncement(now, SocketAddress.of("192.168.1.77", 5351)));
    bench.runUntil(bench.now + 1_000);
    t.equal(bench.router.standing(bench.now).length, 0, "a stranger's word counts for nothing");
    bench.do((mapper, now) => mapper.handleAnnouncement(now, SocketAddress.of(GATEWAY, 5351)));
    bench.runUntil(bench.now + 1_000);
    t.equal(bench.router.standing(bench.now).length, 1);
    t.equal(external(bench), "11.0.0.10:40000");
    t.same(
      bench.events.map(({ type }) => type),
      ["mapped", "router-restarted"],
    );
  });

  test(`${protocol}: an announcement of a router that did not restart changes nothing, nor do a thousand`, (t) => {
    const bench = new Bench(only(protocol));
    bench.runUntil(60_000);
    const before = bench.sent.length;
    for (let i = 0; i < 1_000; i++) {
      bench.do((mapper, now) => mapper.handleAnnouncement(now, SocketAddress.of(GATEWAY, 5351)));
      bench.runUntil(bench.now + 10);
    }
    const asked = bench.sent.length - before;
    // NAT-PMP asks for the address, then for the mapping.
    t.ok(asked <= (protocol === "pcp" ? 6 : 12), `${asked} questions in ten seconds`);
    t.equal(bench.events.length, 1);
  });

  test(`${protocol}: a restart that nobody announced is noticed at the next renewal`, (t) => {
    const bench = new Bench(only(protocol));
    bench.runUntil(60_000);
    bench.router.restart(bench.now);
    bench.runUntil(10 * MINUTE);
    t.equal(bench.router.standing(bench.now).length, 1);
  });
}

test("a new external address is told", (t) => {
  for (const protocol of ["pcp", "nat-pmp", "upnp"] as const) {
    const bench = new Bench(only(protocol));
    bench.runUntil(60_000);
    bench.router.setting.externalIp = "11.0.0.99";
    bench.do((mapper, now) => mapper.refresh(now));
    bench.runUntil(10 * MINUTE);
    t.equal(external(bench), "11.0.0.99:40000", protocol);
    t.same(
      bench.events.map((event) => ("lease" in event ? `${event.type} ${event.lease.external}` : event.type)),
      ["mapped 11.0.0.10:40000", "mapped 11.0.0.99:40000"],
    );
  }
});

test("a router that falls silent: the mapping counts until its lease ends, then it is lost", (t) => {
  for (const protocol of ["pcp", "nat-pmp", "upnp"] as const) {
    const bench = new Bench(only(protocol));
    bench.runUntil(1_000);
    bench.router.setting.up = false;
    bench.runUntil(9 * MINUTE);
    t.equal(external(bench), "11.0.0.10:40000", `${protocol} still stands`);
    bench.runUntil(11 * MINUTE);
    t.equal(bench.mapper.lease, null, `${protocol} has ended`);
    t.equal(bench.events.at(-1)?.type, "lost");
    bench.router.setting.up = true;
    bench.router.restart(bench.now);
    bench.do((mapper, now) => mapper.refresh(now));
    bench.runUntil(bench.now + 21 * MINUTE);
    t.equal(external(bench), "11.0.0.10:40000", `${protocol} is back`);
  }
});

test("one lost answer to a renewal costs nothing", (t) => {
  for (const protocol of ["pcp", "nat-pmp", "upnp"] as const) {
    const bench = new Bench(only(protocol));
    bench.runUntil(4.9 * MINUTE);
    bench.router.setting.up = false;
    bench.runUntil(6.4 * MINUTE);
    bench.router.setting.up = true;
    bench.runUntil(30 * MINUTE);
    t.equal(bench.router.standing(bench.now).length, 1, protocol);
    t.equal(bench.events.length, 1, protocol);
  }
});

test("pcp: renewals that nobody answers are four seconds apart at least (RFC 6887 §11.2.1)", (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const bench = new Bench(only("pcp"), { random: seededRandom(seed) });
    bench.runUntil(1_000);
    bench.router.setting.up = false;
    const before = bench.sent.length;
    bench.runUntil(10 * MINUTE);
    const isMap = (output: PortMapOutput) => output.kind === "datagram" && output.data[0] === 2 && output.data[1] === 1;
    const at = bench.sent.slice(before).flatMap((one) => (isMap(one.output) ? [one.at] : []));
    const gaps = at.slice(1).map((one, i) => one - (at[i] ?? 0));
    t.ok(gaps.length >= 4, `${gaps.length} renewals`);
    t.ok(Math.min(...gaps) >= 4_000, `seed ${seed}: ${gaps.join(" ")}`);
  }
});

test("private and carrier addresses are mappings behind another NAT", (t) => {
  for (const externalIp of ["10.1.2.3", "100.64.3.4", "0.0.0.0", "127.0.0.1", "224.0.0.1", "203.0.113.1"]) {
    for (const protocol of ["pcp", "nat-pmp", "upnp"] as const) {
      const bench = new Bench({ ...only(protocol), externalIp });
      bench.runUntil(2_000);
      t.equal(bench.mapper.lease?.isPublic, false, `${protocol} ${externalIp}`);
    }
  }
});

test("what a router grants is bounded", (t) => {
  const day = 86_400_000;
  for (const [grantSeconds, lifetimeMs] of [
    [1, 30_000],
    [4_294_967_295, day],
  ] as const) {
    const bench = new Bench({ ...only("pcp"), grantSeconds });
    bench.runUntil(1_000);
    t.equal(bench.mapper.lease?.lifetimeMs, lifetimeMs);
  }
});

test("UPnP quirks: only permanent leases, taken ports, version 1", (t) => {
  const permanent = new Bench({ ...only("upnp"), onlyPermanent: true });
  permanent.runUntil(1_000);
  t.equal(permanent.mapper.lease?.lifetimeMs, null);
  permanent.do((mapper, now) => mapper.close(now));
  permanent.runUntil(2_000);
  t.same(permanent.router.standing(2_000), [], "and removed");

  const taken = new Bench({ ...only("upnp"), taken: [40_000] });
  taken.runUntil(1_000);
  t.notEqual(taken.mapper.lease?.external.port, 40_000);
  t.equal(taken.router.standing(1_000)[0]?.internal, 40_000);

  const old = new Bench({ ...only("upnp"), upnpVersion: 1 });
  old.runUntil(1_000);
  t.equal(external(old), "11.0.0.10:40000");
  t.ok(!old.router.log.includes("AddAnyPortMapping"));

  const refusing = new Bench({ ...only("upnp"), taken: Array.from({ length: 65_536 }, (_, port) => port) });
  refusing.runUntil(1_000);
  t.equal(refusing.mapper.lease, null);
  t.ok(refusing.router.log.length < 12, "a few ports are tried, not all");
});

test("only the router itself is asked: a description or a control URL elsewhere is none", (t) => {
  for (const evil of [
    "http://192.168.1.9:80/",
    "http://127.0.0.1/",
    "http://router.example/",
    "https://192.168.1.1/",
    "ftp://192.168.1.1/",
    "http://u:p@192.168.1.1/",
  ]) {
    for (const place of ["location", "controlUrl"] as const) {
      const bench = new Bench({ ...only("upnp"), [place]: evil });
      bench.runUntil(10_000);
      t.equal(bench.mapper.lease, null, `${place} ${evil}`);
      const asked = bench.sent.flatMap(({ output }) => (output.kind === "http" ? [output.request.url.host] : []));
      t.ok(
        asked.every((host) => host === `${GATEWAY}:5000`),
        asked.join(" "),
      );
    }
  }
});

test("answers from others than the router's own port count for nothing", (t) => {
  const bench = new Bench({ up: false });
  const { router } = bench;
  router.setting.up = true;
  const answer = router.datagram(0, SocketAddress.of(GATEWAY, 5351), Uint8Array.of(0, 0));
  for (const from of ["192.168.1.9:5351", `${GATEWAY}:5352`]) {
    const [ip = "", port] = from.split(":");
    bench.deliver(SocketAddress.of(ip, Number(port)), t.must(answer).data);
  }
  t.same(
    bench.mapper.protocols.map(({ status }) => status.kind),
    ["probing", "probing", "probing"],
  );
});

test("a PCP answer with another nonce is nobody's", (t) => {
  const one = new Bench(only("pcp"));
  const other = new Bench(only("pcp"), {}, seededRandom(2));
  const request = t.must(one.sent.map(({ output }) => output).find((output) => output.kind === "datagram"));
  one.runUntil(3);
  const map = t.must(
    one.sent.map(({ output }) => output).find((output) => output.kind === "datagram" && output.data.length === 60),
  );
  other.router.setting.up = false;
  other.runUntil(3);
  if (map.kind !== "datagram" || request.kind !== "datagram") throw new Error("datagrams were expected");
  const answer = t.must(one.router.datagram(3, SocketAddress.of(GATEWAY, 5351), map.data));
  other.deliver(SocketAddress.of(GATEWAY, 5351), answer.data);
  t.equal(other.mapper.lease, null);
});

test("a lying or broken gateway changes nothing and stops nothing: noise from its address, at every stage", (t) => {
  const seed = 7;
  const random = seededRandom(seed);
  const froms = [5351, 1900, 5350, 80].map((port) => SocketAddress.of(GATEWAY, port));
  for (let round = 0; round < 60; round++) {
    const bench = new Bench(only((["pcp", "nat-pmp", "upnp"] as const)[round % 3] as PortMapProtocol));
    for (let step = 0; step < 100; step++) {
      bench.deliver(froms[step % froms.length] as SocketAddress, noise(random));
      bench.runUntil(bench.now + random.float() * 200);
    }
    bench.runUntil(bench.now + 30 * MINUTE);
    holds(t, bench, `seed ${seed} round ${round}`);
  }
});

/** Whatever happened: no more outputs than a few a second, and what is said to stand is well formed. */
function holds(t: T, bench: Bench, words: string): void {
  t.ok(bench.sent.length < 1_000, `${words}: ${bench.sent.length} outputs`);
  const { lease } = bench.mapper;
  if (lease) t.ok(lease.external.port > 0 && lease.internalPort === 40_000, words);
  bench.do((mapper, now) => mapper.close(now));
  bench.runUntil(bench.now + 20_000);
  t.ok(bench.mapper.isGone, words);
}

/** Half of it looks like answers. */
function noise(random: ReturnType<typeof seededRandom>): Uint8Array {
  const data = random.bytes(Math.floor(random.float() * 80));
  const kind = random.float();
  if (kind < 0.25 && data.length > 4) data.set([2, 0x80 | (kind < 0.12 ? 1 : 0), 0, kind < 0.2 ? 0 : 1]);
  else if (kind < 0.5 && data.length > 4) data.set([0, kind < 0.4 ? 128 : 129, 0, kind < 0.45 ? 0 : 1]);
  else if (kind < 0.6)
    return utf8(`HTTP/1.1 200 OK\r\nLOCATION: http://${GATEWAY}:${Math.floor(random.float() * 70_000)}/x\r\n\r\n`);
  return data;
}
