import { parseSocketAddress, type SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import {
  canConnectDirectly,
  canMeetDirectly,
  composeNats,
  type Host,
  type NatBehavior,
  type NatKind,
  Network,
} from "../src/index.ts";

/** A puncher that learns more addresses than this is being led on by a NAT that never settles. */
const MAX_PEER_ADDRESSES = 40;

/**
 * The simplest hole puncher: pings each known address of the peer, answers each ping to where it came from, and learns the
 * addresses that pings come from. Connected when an answer comes from the very address that the ping went to ("the source
 * and destination transport addresses in the Binding request and response are symmetric", RFC 8445 §7.2.5.2.1).
 */
class Puncher {
  readonly peers = new Map<string, SocketAddress>();
  reflexive: SocketAddress | null = null;
  readonly host: SocketAddress;
  connected = false;
  readonly #send: (text: string, to: SocketAddress) => void;

  constructor(host: Host) {
    const socket = host.bind(({ data, from }) => this.#receive(Buffer.from(data).toString(), from), { port: 5000 });
    this.host = socket.address;
    this.#send = (text, to) => socket.send(Buffer.from(text), to);
  }

  ask(server: SocketAddress): void {
    this.#send("who-am-i", server);
  }

  punch(): void {
    for (const to of this.peers.values()) this.#send(`ping ${to.key}`, to);
  }

  #receive(text: string, from: SocketAddress): void {
    const [verb, argument = ""] = text.split(" ");
    if (verb === "you-are") {
      this.reflexive = parseSocketAddress(argument);
    } else if (verb === "pong") {
      if (argument === from.key) this.connected = true;
    } else {
      if (this.peers.size < MAX_PEER_ADDRESSES) this.peers.set(from.key, from);
      this.#send(`pong ${argument}`, from);
    }
  }
}

/** Two punchers, each behind its NATs from the outermost in (none: a public address), and a server that both ask. */
function lab(
  natsA: readonly Partial<NatBehavior>[],
  natsB: readonly Partial<NatBehavior>[],
  common?: Partial<NatBehavior>,
) {
  const network = new Network({ seed: 1, link: { latencyMs: 1 } });
  const carrier = common ? network.addNat("carrier", "198.51.100.100", common).inside : network.internet;
  const server = network
    .addHost("server", "192.0.2.1")
    .bind(({ from }) => server.send(Buffer.from(`you-are ${from.key}`), from), { port: 3478 });
  const place = (side: number, nats: readonly Partial<NatBehavior>[]): Puncher => {
    let realm = carrier;
    nats.forEach((behavior, depth) => {
      const ip = depth === 0 ? `198.51.100.${side}` : `100.64.${depth}.${side}`;
      realm = network.addNat(`nat ${side}.${depth}`, ip, behavior, { outside: realm }).inside;
    });
    const ip = nats.length === 0 ? `198.51.100.${side}` : `192.168.${side}.2`;
    return new Puncher(network.addHost(`host ${side}`, ip, { realm }));
  };
  const [a, b] = [place(1, natsA), place(2, natsB)];
  return {
    /** Whether both, or neither, got through; throws when only one did after `rounds`. */
    run(): boolean {
      for (const puncher of [a, b]) puncher.ask(server.address);
      network.clock.advance(50);
      if (!a.reflexive || !b.reflexive) throw new Error("the server did not answer");
      a.peers.set(b.reflexive.key, b.reflexive);
      b.peers.set(a.reflexive.key, a.reflexive);
      a.peers.set(b.host.key, b.host);
      b.peers.set(a.host.key, a.host);
      for (let round = 0; round < 8; round++) {
        a.punch();
        network.clock.advance(10); // not in step, so that each side is also the first one
        b.punch();
        network.clock.advance(50);
      }
      if (a.connected !== b.connected) throw new Error("only one side is connected");
      return a.connected;
    },
  };
}

const KINDS: readonly NatKind[] = (["EIM", "ADM", "APDM"] as const).flatMap((mapping) =>
  (["EIF", "ADF", "APDF"] as const).map((filtering) => ({ mapping, filtering })),
);
const nameOf = (kind: NatKind | null): string => (kind ? `${kind.mapping}/${kind.filtering}` : "public");

test("the oracle says what a hole puncher finds, for every pair of NATs and every way to choose ports", (t) => {
  const sides = [null, ...KINDS];
  let connected = 0;
  for (const a of sides) {
    for (const b of sides) {
      const expected = canConnectDirectly(a, b);
      if (expected) connected++;
      t.equal(canConnectDirectly(b, a), expected, `symmetric: ${nameOf(a)} and ${nameOf(b)}`);
      for (const ports of ["preserving", "sequential", "random"] as const) {
        const found = lab(a ? [{ ...a, ports }] : [], b ? [{ ...b, ports }] : []).run();
        t.equal(found, expected, `${nameOf(a)} and ${nameOf(b)}, ${ports} ports: found ${found}`);
      }
    }
  }
  t.ok(connected > 50 && connected < 100, `${connected} of 100 pairs`);
});

test("the pairs that people ask about", (t) => {
  const home: NatKind = { mapping: "EIM", filtering: "APDF" };
  const symmetric: NatKind = { mapping: "APDM", filtering: "APDF" };
  t.equal(canConnectDirectly(home, home), true);
  t.equal(canConnectDirectly(symmetric, null), true);
  t.equal(canConnectDirectly(symmetric, { mapping: "EIM", filtering: "ADF" }), true);
  t.equal(canConnectDirectly(symmetric, home), false);
  t.equal(canConnectDirectly(symmetric, symmetric), false);
});

test("a second NAT in front changes nothing when it maps and filters endpoint-independently", (t) => {
  const open: Partial<NatBehavior> = { mapping: "EIM", filtering: "EIF", ports: "random" };
  for (const a of KINDS) {
    for (const b of KINDS) {
      const expected = canConnectDirectly(a, b);
      t.equal(lab([open, a], [b]).run(), expected, `${nameOf(a)} behind another, and ${nameOf(b)}`);
      t.equal(lab([a, open], [open, b]).run(), expected, `${nameOf(a)} and ${nameOf(b)}, each with another`);
    }
  }
});

test("the stricter of two layers decides when both map endpoint-independently", (t) => {
  const strictness = ["EIF", "ADF", "APDF"] as const;
  for (const outer of strictness) {
    for (const inner of strictness) {
      const effective = strictness[Math.max(strictness.indexOf(outer), strictness.indexOf(inner))] ?? "APDF";
      for (const b of KINDS) {
        const expected = canConnectDirectly({ mapping: "EIM", filtering: effective }, b);
        const found = lab([{ filtering: outer, ports: "random" }, { filtering: inner }], [b]).run();
        t.equal(found, expected, `EIM/${inner} behind EIM/${outer}, and ${nameOf(b)}`);
      }
    }
  }
});

test("two layers of any kinds amount to what the oracle composes", (t) => {
  for (const outer of KINDS) {
    for (const inner of KINDS) {
      for (const b of [null, ...KINDS]) {
        const expected = canConnectDirectly(composeNats([outer, inner]), b);
        const found = lab([{ ...outer, ports: "random" }, inner], b ? [{ ...b, ports: "random" }] : []).run();
        t.equal(found, expected, `${nameOf(inner)} behind ${nameOf(outer)}, and ${nameOf(b)}`);
      }
    }
  }
  t.equal(composeNats([]), null);
});

test("behind a common NAT: reached at the host candidate where no other NAT is in front, else by hairpinning", (t) => {
  const reachable = (nats: readonly NatKind[]) => ({ nats, udp: true });
  for (const carrier of KINDS) {
    for (const hairpin of [true, false]) {
      const common = { ...carrier, hairpin, isolated: false };
      for (const a of [null, ...KINDS]) {
        for (const b of [null, ...KINDS]) {
          const [natsA, natsB] = [a, b].map((nat) => (nat ? [nat] : []));
          const found = lab(natsA ?? [], natsB ?? [], { ...carrier, hairpin, ports: "random" }).run();
          const expected = canMeetDirectly(reachable(natsA ?? []), reachable(natsB ?? []), common);
          t.equal(found, expected, `${nameOf(a)} and ${nameOf(b)} behind ${nameOf(carrier)}, hairpin ${hairpin}`);
        }
      }
    }
  }
});

test("without datagrams nothing is direct, with IPv6 on both sides everything is", (t) => {
  const symmetric: NatKind = { mapping: "APDM", filtering: "APDF" };
  const side = { nats: [symmetric], udp: true };
  t.equal(canMeetDirectly({ nats: [], udp: true }, { nats: [], udp: false }, null), false);
  t.equal(canMeetDirectly(side, side, null), false);
  t.equal(canMeetDirectly({ ...side, ipv6: true }, side, null), false);
  t.equal(canMeetDirectly({ ...side, ipv6: true }, { ...side, ipv6: true }, null), true);
  t.equal(canMeetDirectly({ ...side, ipv6: true }, { ...side, ipv6: true, udp: false }, null), false);
  const open = { nats: [], udp: true };
  t.equal(canMeetDirectly({ ...open, ipv6: true, ipv4: false }, open, null), false, "no family in common");
  t.equal(canMeetDirectly(open, { ...open, ipv6: true, ipv4: false }, null), false);
  t.equal(canMeetDirectly({ ...open, ipv6: true, ipv4: false }, { ...open, ipv6: true }, null), true);
});

test("ports that count up make up for a filter by port on the other side, not for another mapping by destination", (t) => {
  const counting = { nats: [{ mapping: "APDM", filtering: "APDF" } as const], udp: true, countsPorts: true };
  const behind = (mapping: NatKind["mapping"]) => ({ nats: [{ mapping, filtering: "APDF" } as const], udp: true });
  t.equal(canMeetDirectly(counting, behind("EIM"), null), true);
  t.equal(canMeetDirectly(behind("EIM"), counting, null), true);
  t.equal(canMeetDirectly({ ...counting, countsPorts: false }, behind("EIM"), null), false);
  t.equal(canMeetDirectly(counting, behind("APDM"), null), false);
  t.equal(canMeetDirectly(counting, counting, null), false);
});
