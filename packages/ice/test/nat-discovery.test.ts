/** NAT behaviour discovery against every NAT that the simulator can be: what was configured is what must be found. */
import { type Millis, SocketAddress, seededRandom } from "@adit/core";
import { type T, test } from "@adit/harness";
import { Host, type NatBehavior, Network, runMachine, type SimSocket } from "@adit/sim";
import { decodeStun, getBytes, getU32, STUN_ATTRIBUTE, STUN_METHOD, StunBuilder } from "../src/index.ts";
import { NatDiscovery, type NatDiscoveryOptions } from "../src/nat/discovery.ts";
import type { NatReport } from "../src/nat/report.ts";

const SERVER = SocketAddress.of("198.51.100.1", 3478);
const OTHER = SocketAddress.of("198.51.100.2", 3479);
const INSIDE = "192.168.1.2";
const OUTSIDE = "203.0.113.7";

/** A server by RFC 5780 §6, small enough to be seen through. `broken` ignores CHANGE-REQUEST, as some do. */
function serve(network: Network, kind: "whole" | "plain" | "broken" = "whole"): void {
  const host = new Host(network, "server");
  host.addInterface(SERVER.ip);
  if (kind !== "plain") host.addInterface(OTHER.ip);
  const sockets = new Map<string, SimSocket>();
  const ips = kind === "plain" ? [SERVER.ip] : [SERVER.ip, OTHER.ip];
  const answer = (at: SocketAddress, from: SocketAddress, data: Uint8Array): void => {
    const request = decodeStun(data);
    if (request?.class !== "request") return;
    const change = kind === "whole" ? (getU32(request, STUN_ATTRIBUTE.CHANGE_REQUEST) ?? 0) : 0;
    const ip = (change & 4) !== 0 ? flip(at.ip, SERVER.ip, OTHER.ip) : at.ip;
    const port = (change & 2) !== 0 ? flip(at.port, SERVER.port, OTHER.port) : at.port;
    const response = new StunBuilder("success", STUN_METHOD.BINDING, request.transactionId);
    response.xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, from);
    const other = SocketAddress.of(flip(at.ip, SERVER.ip, OTHER.ip), flip(at.port, SERVER.port, OTHER.port));
    if (kind !== "plain") response.address(STUN_ATTRIBUTE.OTHER_ADDRESS, other);
    const wanted = getBytes(request, STUN_ATTRIBUTE.RESPONSE_PORT);
    const to = wanted ? from.withPort(((wanted[0] as number) << 8) | (wanted[1] as number)) : from;
    sockets.get(`${ip}|${port}`)?.send(response.build(), to);
  };
  for (const ip of ips) {
    for (const port of [SERVER.port, OTHER.port]) {
      const at = SocketAddress.of(ip, port);
      sockets.set(
        `${ip}|${port}`,
        host.bind(({ from, data }) => answer(at, from, data), { ip, port }),
      );
    }
  }
}

const flip = <V>(value: V, one: V, other: V): V => (value === one ? other : one);

/** Runs a discovery to its end on virtual time. */
function discover(
  t: T,
  network: Network,
  host: Host,
  options: Partial<NatDiscoveryOptions> = {},
): { readonly report: NatReport; readonly tookMs: Millis } {
  const { clock } = network;
  const begun = clock.now();
  const ports = [40_001, 40_005, 40_002] as const;
  const discovery = new NatDiscovery(begun, {
    server: SERVER,
    sockets: [
      { socket: 0, port: ports[0] },
      { socket: 1, port: ports[1] },
      { socket: 2, port: ports[2] },
    ],
    localIps: host.ips,
    random: seededRandom(1),
    ...options,
  });
  const running = runMachine(host, discovery, { sockets: new Map(ports.map((port, i) => [i, { port }])) });
  running.wake();
  const done = clock.runUntilDone(() => discovery.report !== null, 24 * 3_600_000);
  running.stop();
  t.ok(done, "it ends");
  return { report: t.must(discovery.report), tookMs: clock.now() - begun };
}

function behind(behavior: Partial<NatBehavior>, seed = 1, loss = 0): { network: Network; host: Host } {
  const network = new Network({ seed, link: { loss } });
  serve(network);
  const nat = network.addNat("nat", OUTSIDE, behavior);
  const host = network.addHost("client", INSIDE, { realm: nat.inside });
  return { network, host };
}

for (const mapping of ["EIM", "ADM", "APDM"] as const) {
  test(`${mapping}: filtering, hairpinning and ports are what the NAT was told to do`, (t) => {
    for (const filtering of ["EIF", "ADF", "APDF"] as const) {
      for (const ports of ["preserving", "sequential", "random"] as const) {
        for (const hairpin of [true, false]) {
          const name = `${mapping} ${filtering} ${ports} ${hairpin ? "hairpin" : "no hairpin"}`;
          const { network, host } = behind({ mapping, filtering, ports, hairpin });
          const { report, tookMs } = discover(t, network, host);
          t.equal(report.nat, true, name);
          t.equal(t.must(report.mapped).ip, OUTSIDE, name);
          t.equal(report.mapping, mapping, name);
          t.equal(report.filtering, filtering, name);
          // Where each destination has a mapping of its own, filters hide it.
          const visible = mapping === "EIM" || filtering === "EIF";
          t.equal(report.hairpin, visible ? hairpin : null, name);
          // With several mappings of one port a preserving NAT can keep only the first.
          if (ports !== "preserving" || mapping === "EIM") {
            t.equal(report.portsPreserved, ports === "preserving", name);
            t.equal(report.portDelta, ports === "sequential" ? 1 : null, name);
          }
          t.ok(tookMs < 12_000, `${name}: ${tookMs} ms`);
          t.ok(report.reason.startsWith("The NAT shows"), name);
        }
      }
    }
  });
}

test("with a twentieth of all datagrams lost on each wire the answer is the same", (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const mapping = (["EIM", "ADM", "APDM"] as const)[seed % 3] as "EIM";
    const filtering = (["EIF", "ADF", "APDF"] as const)[Math.floor(seed / 3) % 3] as "EIF";
    const { network, host } = behind({ mapping, filtering }, seed, 0.05);
    const { report } = discover(t, network, host, { timing: { maxRequests: 7 } });
    t.equal(`${report.mapping} ${report.filtering}`, `${mapping} ${filtering}`, `seed ${seed}`);
  }
});

test("without a NAT there is none, and a port delta is none either", (t) => {
  const network = new Network();
  serve(network);
  const { report } = discover(t, network, network.addHost("client", "203.0.113.9"));
  t.equal(report.nat, false);
  t.equal(report.filtering, "EIF");
  t.same([report.hairpin, report.portsPreserved, report.portDelta, report.lifetime], [null, null, null, null]);
  t.match(report.reason, /no NAT.*anybody can reach/);
});

test("blocked UDP, and a server with one address, are said to be what they are", (t) => {
  const blocked = behind({});
  blocked.network.block(INSIDE, null);
  const { report: none } = discover(t, blocked.network, blocked.host);
  t.same([none.nat, none.mapped, none.mapping, none.filtering], [null, null, null, null]);
  t.match(none.reason, /blocked/);

  const network = new Network();
  serve(network, "plain");
  const nat = network.addNat("nat", OUTSIDE, {});
  const { report } = discover(t, network, network.addHost("client", INSIDE, { realm: nat.inside }));
  t.same([report.nat, report.mapping, report.filtering], [true, null, null]);
  t.match(report.reason, /no second address/);
});

test("a server that ignores CHANGE-REQUEST does not make a closed NAT look open", (t) => {
  const network = new Network();
  serve(network, "broken");
  const nat = network.addNat("nat", OUTSIDE, { filtering: "APDF" });
  const { report } = discover(t, network, network.addHost("client", INSIDE, { realm: nat.inside }));
  t.equal(report.filtering, "APDF");
});

test("the lifetime of a mapping is found within the resolution asked for", (t) => {
  for (const [mapping, filtering] of [
    ["EIM", "EIF"],
    ["APDM", "APDF"],
  ] as const) {
    for (const mappingTimeoutMs of [30_000, 47_000, 120_000, 300_000]) {
      const { network, host } = behind({ mapping, filtering, mappingTimeoutMs });
      const { report, tookMs } = discover(t, network, host, { lifetime: { maxMs: 600_000, resolutionMs: 5_000 } });
      const { atLeastMs, belowMs } = t.must(report.lifetime);
      const name = `${mapping} ${filtering} ${mappingTimeoutMs}: ${atLeastMs}..${belowMs}`;
      t.ok(atLeastMs <= mappingTimeoutMs && mappingTimeoutMs <= t.must(belowMs) + 500, name);
      t.ok(t.must(belowMs) - atLeastMs <= 5_000, name);
      if (mappingTimeoutMs < 60_000) t.ok(tookMs < 300_000, `${name}, without the longest trial: ${tookMs}`);
    }
  }
  const { network, host } = behind({ mappingTimeoutMs: 3_600_000 });
  const { report } = discover(t, network, host, { lifetime: { maxMs: 600_000, resolutionMs: 5_000 } });
  t.same(report.lifetime, { atLeastMs: 600_000, belowMs: null });
});
