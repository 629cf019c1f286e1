import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import {
  type CandidateType,
  candidatePriority,
  canPair,
  checkPriority,
  Foundations,
  isRelayedRemote,
  type LocalCandidate,
  unusableRemote,
} from "../src/candidate.ts";
import {
  CandidateStore,
  MAX_LOCAL_CANDIDATES,
  MAX_REMOTE_CANDIDATES,
  MAX_REMOTE_PRFLX,
} from "../src/candidate-store.ts";
import { address, remoteHost } from "./kit.ts";

test("priorities follow the formula of RFC 8445 §5.1.2.1", (t) => {
  const table: [CandidateType, number, number][] = [
    ["host", 65_535, 2_130_706_431],
    ["host", 0, 2_113_929_471],
    ["prflx", 65_535, 1_862_270_975],
    ["srflx", 65_535, 1_694_498_815],
    ["relay", 65_535, 16_777_215],
    ["relay", 0, 255],
  ];
  for (const [type, preference, priority] of table) t.equal(candidatePriority(type, preference), priority, type);
});

test("foundations are equal exactly for the same type, base and server (§5.1.1.3)", (t) => {
  const f = new Foundations();
  const one = f.of("srflx", "10.0.0.1", "192.0.2.1");
  t.equal(f.of("srflx", "10.0.0.1", "192.0.2.1"), one);
  for (const other of [
    f.of("host", "10.0.0.1", null),
    f.of("srflx", "10.0.0.2", "192.0.2.1"),
    f.of("srflx", "10.0.0.1", "192.0.2.2"),
    f.of("relay", "10.0.0.1", "192.0.2.1"),
  ]) {
    t.notEqual(other, one);
    t.match(other, /^[A-Za-z0-9+/]{1,32}$/);
  }
});

test("no check goes to multicast, broadcast, unspecified addresses or port 0", (t) => {
  const table: [string, number, string | null][] = [
    ["224.0.0.1", 1, "multicast"],
    ["ff02::1", 1, "multicast"],
    ["255.255.255.255", 1, "broadcast"],
    ["0.0.0.0", 1, "unspecified"],
    ["0.1.2.3", 1, "unspecified"],
    ["::", 1, "unspecified"],
    ["64:ff9b::e000:1", 1, "multicast"],
    ["198.51.100.1", 0, "port-zero"],
    ["198.51.100.1", 1, null],
    ["127.0.0.1", 1, null],
  ];
  for (const [ip, port, reason] of table) t.equal(unusableRemote(SocketAddress.of(ip, port)), reason, `${ip}:${port}`);
});

const local = (ip: string, store = new CandidateStore()): LocalCandidate => {
  const candidate = store.addLocal({ type: "host", address: address(ip, 1000), socket: 0 });
  if (!candidate) throw new Error("refused");
  return candidate;
};

test("pairs join one family; IPv6 link-local its like; loopback only what offered loopback (§6.1.2.2)", (t) => {
  const table: [string, string, boolean][] = [
    ["10.0.0.1", "10.0.0.2", true],
    ["10.0.0.1", "2001:db8::2", false],
    ["fe80::1", "fe80::2", true],
    ["fe80::1", "2001:db8::2", false],
    ["2001:db8::1", "fe80::2", false],
    ["10.0.0.1", "127.0.0.1", false],
    ["10.0.0.1", "127.8.9.1", false],
    ["127.0.0.2", "127.0.0.3", true],
    ["2001:db8::1", "::1", false],
    ["169.254.1.1", "10.0.0.2", true],
  ];
  for (const [ours, theirs, pairs] of table) {
    t.equal(canPair(local(ours), remoteHost(address(theirs, 2000))), pairs, `${ours} ${theirs}`);
  }
});

test("a candidate that is redundant is refused (§5.1.3), and earlier ones are preferred", (t) => {
  const store = new CandidateStore();
  const host = t.must(store.addLocal({ type: "host", address: address("10.0.0.1", 1), socket: 0 }));
  t.equal(store.addLocal({ type: "srflx", address: address("10.0.0.1", 1), socket: 0 }), null, "no NAT there");
  const second = t.must(store.addLocal({ type: "host", address: address("10.0.0.2", 1), socket: 0 }));
  t.ok(host.priority > second.priority);
  const reflexive = t.must(store.addLocal({ type: "srflx", address: address("203.0.113.1", 9), socket: 0 }));
  t.equal(reflexive.base, host.address);
  t.equal(reflexive.related, host.address);
});

test("no two candidates of a type have one priority, whatever came and went (§5.1.2.1)", (t) => {
  const store = new CandidateStore();
  const types = ["host", "relay"] as const;
  const add = (i: number) => {
    for (const type of types)
      store.addLocal({ type, address: address(`10.0.${types.indexOf(type)}.${i}`, 1), socket: i });
  };
  for (let i = 0; i < 4; i++) add(i);
  store.removeSocket(1);
  store.removeSocket(0);
  for (let i = 4; i < 7; i++) add(i);
  t.equal(store.locals.length, 10);
  t.equal(new Set(store.locals.map(({ priority }) => priority)).size, 10);
});

test("a relayed candidate that is one of our host candidates is none (§5.1.1.2)", (t) => {
  const store = new CandidateStore();
  const host = local("10.0.0.1", store);
  t.equal(store.addLocal({ type: "relay", address: host.address, socket: 1000 }), null);
  t.ok(store.addLocal({ type: "relay", address: address("10.0.0.1", 7), socket: 1000 }));
});

test("the number of candidates is bounded on both sides", (t) => {
  const store = new CandidateStore();
  for (let i = 0; i < 500; i++) store.addLocal({ type: "host", address: address("10.0.0.1", 1 + i), socket: 0 });
  t.equal(store.locals.length, MAX_LOCAL_CANDIDATES);
  for (let i = 0; i < 500; i++) store.addRemote(remoteHost(address("198.51.100.1", 1 + i)));
  for (let i = 0; i < 500; i++) store.learnRemote(0, address("203.0.113.1", 1 + i), 1000);
  t.equal([...store.remotes].length, MAX_REMOTE_CANDIDATES + MAX_REMOTE_PRFLX);
});

test("a peer-reflexive candidate that is signalled makes room for another", (t) => {
  const store = new CandidateStore();
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < MAX_REMOTE_PRFLX; i++) {
      const at = address(`203.0.113.${round}`, 1 + i);
      t.ok(store.learnRemote(0, at, 1000));
      t.ok(store.addRemote(remoteHost(at)));
    }
  }
});

test("a remote candidate that makes no sense is refused", (t) => {
  const store = new CandidateStore();
  const good = remoteHost(address("198.51.100.1", 1));
  for (const bad of [
    { ...good, priority: 0 },
    { ...good, priority: 2 ** 31 },
    { ...good, priority: 1.5 },
    { ...good, priority: Number.NaN },
    { ...good, foundation: "" },
    { ...good, foundation: "x".repeat(33) },
    { ...good, address: address("198.51.100.1", 0) },
    { ...good, component: 2 as 1 },
    { ...good, transport: "tcp" as "udp" },
  ]) {
    t.equal(store.addRemote(bad), false);
  }
  t.ok(store.addRemote(good));
  t.equal(store.addRemote({ ...good, priority: 5 }), false, "known already");
});

test("PRIORITY tells a relay's address from a NAT's before signaling does", (t) => {
  const store = new CandidateStore();
  const host = local("10.0.0.1", store);
  const relay = t.must(store.addLocal({ type: "relay", address: address("203.0.113.1", 5), socket: 1000 }));
  t.equal(checkPriority(host) >>> 24, 110, "§7.1.1: the type preference of a peer-reflexive candidate");
  t.equal(checkPriority(relay) >>> 24, 110);
  const seen = (from: LocalCandidate) => t.must(new CandidateStore().learnRemote(0, from.address, checkPriority(from)));
  t.equal(isRelayedRemote(seen(host)), false);
  t.equal(isRelayedRemote(seen(relay)), true);
});
