import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { type NatBehavior, type NatFiltering, type NatMapping, Network } from "../src/index.ts";
import { at, type NatLab, natLab, recorder } from "./support.ts";

/** X sends to Y1:y1, Y1:y1b and Y2; returns X1':x1' as each of them saw it. */
function mappingsSeen(lab: NatLab): SocketAddress[] {
  lab.x.say("hello", lab.y1.socket.address);
  lab.settle();
  lab.x.say("hello", lab.y1b.socket.address);
  lab.settle();
  lab.x.say("hello", lab.y2.socket.address);
  lab.settle();
  return [lab.y1, lab.y1b, lab.y2].map(({ got }) => got[0]?.from ?? at("0.0.0.0:0"));
}

test("RFC 4787 §4.1 mapping: what is reused for another port and another address of the outside", (t) => {
  const table: [NatMapping, samePort: boolean, sameAddress: boolean][] = [
    ["EIM", true, true],
    ["ADM", true, false],
    ["APDM", false, false],
  ];
  for (const [mapping, otherPort, otherAddress] of table) {
    for (const ports of ["preserving", "sequential", "random"] as const) {
      const lab = natLab({ mapping, ports });
      const [first, second, third] = mappingsSeen(lab).map(({ key }) => key);
      t.equal(first === second, otherPort, `${mapping} ${ports}: to another port`);
      t.equal(first === third, otherAddress, `${mapping} ${ports}: to another address`);
      t.equal(lab.nat.mappingsOf(lab.x.socket.address).length, new Set([first, second, third]).size);
      // And again: mappings are kept while they live.
      for (const y of [lab.y1, lab.y1b, lab.y2]) y.got.length = 0;
      t.same(
        mappingsSeen(lab).map(({ key }) => key),
        [first, second, third],
      );
    }
  }
});

test("RFC 4787 §5 filtering: who may come in through the mapping that X made towards Y1:y1", (t) => {
  const table: [NatFiltering, sameEndpoint: boolean, otherPort: boolean, otherAddress: boolean][] = [
    ["EIF", true, true, true],
    ["ADF", true, true, false],
    ["APDF", true, false, false],
  ];
  for (const [filtering, ...expected] of table) {
    for (const mapping of ["EIM", "ADM", "APDM"] as const) {
      const lab = natLab({ mapping, filtering });
      lab.x.say("open", lab.y1.socket.address);
      lab.settle();
      const external = lab.y1.got[0]?.from ?? t.fail("not sent");
      const heard = [lab.y1, lab.y1b, lab.y2].map((y) => {
        y.say("in", external);
        lab.settle();
        return lab.x.texts().length === 1;
      });
      t.same(heard, expected, `${filtering} with ${mapping}`);
      t.equal(lab.network.drops.get("nat-filtered"), expected.filter((passes) => !passes).length);
    }
  }
});

test("what was never sent to has no mapping, and a mapping leads to its own host only", (t) => {
  const lab = natLab({ filtering: "EIF", ports: "random" });
  lab.y1.say("in", "198.51.100.1:5000");
  lab.settle();
  t.equal(lab.network.drops.get("nat-unmapped"), 1);
  lab.x.say("open", lab.y1.socket.address);
  lab.other.say("open", lab.y1.socket.address);
  lab.settle();
  const [xExternal, otherExternal] = lab.y1.got.map(({ from }) => from);
  lab.y2.say("for x", xExternal ?? t.fail("x"));
  lab.y2.say("for other", otherExternal ?? t.fail("other"));
  lab.settle();
  t.same([lab.x.texts(), lab.other.texts()], [["for x"], ["for other"]]);
});

test("RFC 4787 §4.2.1 ports: preserved where free and never overloaded, counted up, or drawn", (t) => {
  const seen = (lab: NatLab) => {
    lab.x.say("a", lab.y1.socket.address);
    lab.other.say("b", lab.y1.socket.address); // the same internal port
    lab.settle();
    return lab.y1.got.map(({ from }) => from.port);
  };
  t.same(seen(natLab({ ports: "preserving" })), [5000, 5001]);
  const [first = 0, second = 0] = seen(natLab({ ports: "sequential" }));
  t.equal(second, first + 1);
  const drawn = seen(natLab({ ports: "random" }));
  t.ok(drawn.every((port) => port >= 1024 && port !== 5000) && Math.abs((drawn[0] ?? 0) - (drawn[1] ?? 0)) > 1);

  const lab = natLab({ ports: "sequential", mapping: "APDM" });
  const ports = mappingsSeen(lab).map(({ port }) => port);
  t.same(
    ports.map((port) => port - (ports[0] ?? 0)),
    [0, 1, 2],
  );
});

test("RFC 4787 §6 hairpinning: two hosts behind one NAT by their external addresses, when it is on", (t) => {
  for (const hairpin of [true, false]) {
    for (const filtering of ["EIF", "APDF"] as const) {
      const lab = natLab({ hairpin, filtering });
      lab.x.say("open", lab.y1.socket.address);
      lab.other.say("open", lab.y1.socket.address);
      lab.settle();
      const [x = at("0.0.0.0:0"), other = at("0.0.0.0:0")] = lab.y1.got.map(({ from }) => from);
      lab.x.say("first", other); // opens x's filter; passes other's only where it does not filter
      lab.settle();
      lab.other.say("second", x);
      lab.settle();
      t.same(lab.x.got, hairpin ? [{ from: other, text: "second" }] : [], "external source address and port");
      t.same(lab.other.texts(), hairpin && filtering === "EIF" ? ["first"] : []);
      t.equal(lab.network.drops.get("nat-no-hairpin"), hairpin ? 0 : 2);
    }
  }
});

test("RFC 4787 §4.3 a mapping lives as long as its timer; outbound traffic refreshes it, inbound only where it may", (t) => {
  for (const inboundRefresh of [false, true]) {
    const lab = natLab({ mappingTimeoutMs: 30_000, inboundRefresh });
    const run = (until: number) => lab.network.clock.runUntil(until);
    lab.x.say("open", lab.y1.socket.address);
    run(20_000);
    lab.x.say("again", lab.y1.socket.address); // refreshed: until 50,001
    const external = lab.y1.got[0]?.from ?? t.fail("not sent");
    run(45_000);
    lab.y1.say("in", external);
    run(49_000);
    t.same(lab.x.texts(), ["in"]);
    run(55_000);
    lab.y1.say("late", external);
    run(56_000);
    t.same(lab.x.texts(), inboundRefresh ? ["late"] : []);
    run(100_000);
    lab.y1.say("too late", external);
    run(100_100);
    t.same(lab.x.texts(), []);
    t.same(lab.nat.mappingsOf(lab.x.socket.address), []);
  }
});

test("an expired mapping is made anew, elsewhere unless ports are preserved", (t) => {
  for (const [ports, same] of [
    ["preserving", true],
    ["sequential", false],
  ] as const) {
    const lab = natLab({ ports, mappingTimeoutMs: 1000 });
    lab.x.say("a", lab.y1.socket.address);
    lab.network.clock.advance(2000);
    lab.x.say("b", lab.y1.socket.address);
    lab.settle();
    const [before, after] = lab.y1.got.map(({ from }) => from.key);
    t.equal(before === after, same, ports);
  }
});

test("a filter closes with its own timer: one remote does not keep another's permission alive", (t) => {
  const lab = natLab({ mapping: "EIM", filtering: "ADF", mappingTimeoutMs: 10_000 });
  lab.x.say("a", lab.y1.socket.address);
  lab.x.say("a", lab.y2.socket.address);
  lab.network.clock.advance(8000);
  lab.x.say("b", lab.y1.socket.address);
  lab.network.clock.advance(4000);
  const external = lab.y1.got[0]?.from ?? t.fail("not sent");
  lab.y1.say("from y1", external);
  lab.y2.say("from y2", external);
  lab.settle();
  t.same(lab.x.texts(), ["from y1"]);
});

test("RFC 4787 REQ-2 pooling: paired gives an internal host one external address, arbitrary does not", (t) => {
  const ips = ["198.51.100.1", "198.51.100.2", "198.51.100.3"];
  const externalIps = (pooling: NatBehavior["pooling"]) => {
    const lab = natLab({ mapping: "APDM", pooling }, ips);
    for (let port = 2000; port < 2030; port++) lab.x.say("a", SocketAddress.of("203.0.113.2", port));
    lab.settle();
    return new Set(lab.nat.mappingsOf(lab.x.socket.address).map(({ ip }) => ip)).size;
  };
  t.equal(externalIps("paired"), 1);
  t.equal(externalIps("arbitrary"), 3);
});

test("two layers: a home NAT behind a carrier's; hosts behind the carrier meet by hairpin only", (t) => {
  for (const hairpin of [true, false]) {
    const network = new Network({ seed: 3, link: { latencyMs: 1 } });
    const carrier = network.addNat("carrier", "198.51.100.1", {
      mapping: "EIM",
      filtering: "EIF",
      ports: "random",
      hairpin,
    });
    const [home1, home2] = ["100.64.0.2", "100.64.0.3"].map((ip, i) =>
      network.addNat(`home${i}`, ip, { filtering: "EIF" }, { outside: carrier.inside }),
    );
    // Both homes use the same private addresses: realms are apart.
    const a = recorder(network, "a", "192.168.1.2", 5000, home1?.inside);
    const b = recorder(network, "b", "192.168.1.2", 5000, home2?.inside);
    const y = recorder(network, "y", "203.0.113.1", 1000);
    const settle = () => network.clock.advance(50);
    a.say("a", y.socket.address);
    b.say("b", y.socket.address);
    settle();
    const [seenA = at("0.0.0.0:0"), seenB = at("0.0.0.0:0")] = y.got.map(({ from }) => from);
    t.same([seenA.ip, seenB.ip], ["198.51.100.1", "198.51.100.1"]);
    y.say("back", seenA);
    settle();
    t.same(a.texts(), ["back"]);
    a.say("to b", seenB);
    settle();
    t.same(b.texts(), hairpin ? ["to b"] : []);
    // By the carrier-side addresses of their homes they meet without it.
    a.say("inside the carrier", "100.64.0.3:5000");
    settle();
    t.same(b.texts(), ["inside the carrier"]);
  }
});

test("a full table refuses new mappings until old ones expire", (t) => {
  const lab = natLab({ mapping: "APDM", maxMappings: 10, mappingTimeoutMs: 1000 });
  for (let port = 1; port <= 15; port++) lab.x.say("a", SocketAddress.of("203.0.113.2", port));
  lab.settle();
  t.equal(lab.network.drops.get("nat-full"), 5);
  lab.network.clock.advance(2000);
  lab.x.say("b", lab.y1.socket.address);
  lab.settle();
  t.same(lab.y1.texts(), ["b"]);
});

test("a forwarded port lets anyone in, and no mapping takes it", (t) => {
  const lab = natLab({ filtering: "APDF" });
  lab.nat.forwardPort(5000, lab.other.socket.address);
  lab.y2.say("in", "198.51.100.1:5000");
  lab.x.say("out", lab.y1.socket.address);
  lab.settle();
  t.same(lab.other.texts(), ["in"]);
  t.equal(lab.y1.got[0]?.from.port, 5001);
});

test("a reboot forgets mappings; a new external address leaves the old one to nobody", (t) => {
  const open = (lab: NatLab): SocketAddress => {
    lab.x.say("open", lab.y1.socket.address);
    lab.settle();
    return lab.y1.got.at(-1)?.from ?? at("0.0.0.0:0");
  };
  const lab = natLab({ filtering: "EIF" });
  const first = open(lab);
  lab.nat.flush();
  lab.y1.say("in", first);
  lab.settle();
  t.equal(lab.network.drops.get("nat-unmapped"), 1);
  t.equal(open(lab).key, first.key, "port preserved");
  lab.nat.renumber("198.51.100.9");
  lab.y1.say("in", first);
  lab.settle();
  t.equal(lab.network.drops.get("no-route"), 1);
  t.equal(open(lab).ip, "198.51.100.9");
  t.same(lab.x.texts(), []);
});

test("hosts in one realm talk past the NAT, and the outside cannot address the inside", (t) => {
  const lab = natLab({});
  lab.x.say("neighbour", lab.other.socket.address);
  lab.y1.say("in", lab.x.socket.address);
  lab.settle();
  t.same(lab.other.got, [{ from: lab.x.socket.address, text: "neighbour" }]);
  t.same(lab.x.texts(), []);
  t.equal(lab.network.drops.get("no-route"), 1);
});
