import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { ipPrefix } from "@adit/program";
import { type Prefix, type RelayDenial, RelayPolicy, type TurnOwner } from "../src/relay-policy.ts";

const FOREIGN: TurnOwner = { kind: "foreign", key: "user:x" };
const PEER: TurnOwner = { kind: "peer", key: "peer:p", peerId: "p" };
const RELAY_IP = "198.41.0.4";
const LIVE = 50_001;

interface Lists {
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
}

const prefixes = (texts: readonly string[] = []): Prefix[] =>
  texts.map((text) => {
    const prefix = ipPrefix.parse(text);
    if (!prefix) throw new Error(`${text} is no prefix`);
    return prefix;
  });

function policy(
  o: { allowPrivate?: boolean; relayedIp?: string; services?: string[]; sessionIps?: string[] } & Lists = {},
) {
  const relayedIp = o.relayedIp ?? RELAY_IP;
  return new RelayPolicy({
    allowPrivate: o.allowPrivate ?? false,
    allow: prefixes(o.allow),
    deny: prefixes(o.deny),
    relayedIps: [relayedIp],
    ownIps: ["10.1.2.3", "198.41.0.5", "2606:4700::53"],
    services: (o.services ?? ["198.41.0.4:3478"]).map((text) => {
      const colon = text.lastIndexOf(":");
      return SocketAddress.of(text.slice(0, colon), Number(text.slice(colon + 1)));
    }),
    isLive: ({ ip, port }) => ip === relayedIp && port === LIVE,
    isSessionPeer: (peerId, ip) => peerId === "p" && (o.sessionIps ?? []).includes(ip),
  });
}

/** What becomes of an address: by default, and with --allow-private-relay. */
const classes: readonly (readonly [string, RelayDenial | null, RelayDenial | null])[] = [
  ["8.8.8.8", null, null],
  ["2001:4860:4860::8888", null, null],
  ["0.0.0.0", "unspecified", "unspecified"],
  ["0.1.2.3", "unspecified", "unspecified"],
  ["::", "unspecified", "unspecified"],
  ["127.0.0.1", "loopback", null],
  ["127.9.9.9", "loopback", null],
  ["::1", "loopback", null],
  ["10.0.0.1", "private", null],
  ["172.16.0.1", "private", null],
  ["172.31.255.255", "private", null],
  ["172.32.0.1", null, null],
  ["192.168.0.1", "private", null],
  ["100.64.0.1", "private", null],
  ["fd00::1", "private", null],
  ["169.254.169.254", "metadata", "metadata"],
  ["169.254.1.1", "link-local", "link-local"],
  ["fe80::1", "link-local", "link-local"],
  // Where clouds keep secrets, some of it among private and public addresses.
  ["100.100.100.200", "metadata", "metadata"],
  ["168.63.129.16", "metadata", "metadata"],
  ["fd00:ec2::254", "metadata", "metadata"],
  ["64:ff9b::168.63.129.16", "metadata", "metadata"],
  ["224.0.0.251", "multicast", "multicast"],
  ["ff02::fb", "multicast", "multicast"],
  ["255.255.255.255", "broadcast", "broadcast"],
  ["240.0.0.1", "reserved", "reserved"],
  ["192.0.2.1", "reserved", "reserved"],
  ["198.18.0.1", "reserved", "reserved"],
  ["2001:db8::1", "reserved", "reserved"],
  // The same through the disguises of RFC 4291 §2.5.5.2, RFC 6052 and RFC 3056.
  ["::ffff:127.0.0.1", "loopback", null],
  ["::ffff:169.254.169.254", "metadata", "metadata"],
  ["64:ff9b::10.0.0.1", "private", null],
  ["64:ff9b::169.254.169.254", "metadata", "metadata"],
  ["64:ff9b::8.8.8.8", null, null],
  ["2002:7f00:1::1", "loopback", null],
  ["2002:a9fe:a9fe::", "metadata", "metadata"],
  // A site's own NAT64 (RFC 8215), Teredo, what RFC 4291 §2.5.5.1 and RFC 7915 write IPv4 addresses as: nowhere.
  ["64:ff9b:1::10.0.0.1", "reserved", "reserved"],
  ["64:ff9b:1::169.254.169.254", "metadata", "metadata"],
  ["64:ff9b:1:a9fe:a9:fe00::", "metadata", "metadata"],
  ["64:ff9b:1:7:a9:fea9:fe00:0", "metadata", "metadata"],
  ["64:ff9b:1:a9:fe:a9fe::", "metadata", "metadata"],
  ["2001:0:c629:4:0:1:f5ff:fffe", "reserved", "reserved"],
  ["::127.0.0.1", "reserved", "reserved"],
  ["::169.254.169.254", "metadata", "metadata"],
  ["::ffff:0:10.0.0.1", "reserved", "reserved"],
  ["::ffff:0:169.254.169.254", "metadata", "metadata"],
  // ISATAP, below anybody's prefix: a router of the site's unpacks it.
  ["2a00:1450::5efe:10.0.0.1", "private", null],
  ["2a00:1450::200:5efe:127.0.0.1", "loopback", null],
  ["2a00:1450::5efe:169.254.169.254", "metadata", "metadata"],
  ["2a00:1450::200:5efe:198.41.0.5", "own-address", "own-address"],
  ["2a00:1450::5efe:8.8.8.8", null, null],
  ["192.88.99.1", "reserved", "reserved"],
  ["100::1", "reserved", "reserved"],
  ["3fff::1", "reserved", "reserved"],
  ["2001:200::1", null, null],
  // This host, by whatever way.
  ["198.41.0.5", "own-address", "own-address"],
  ["2606:4700::53", "own-address", "own-address"],
  ["64:ff9b::198.41.0.5", "own-address", "own-address"],
  ["2002:c629:5::1", "own-address", "own-address"],
];

for (const [ip, byDefault, lifted] of classes) {
  test(`${ip} is ${byDefault ?? "allowed"} for a foreign client, and ${lifted ?? "allowed"} with --allow-private-relay`, (t) => {
    for (const [allowPrivate, expected] of [
      [false, byDefault],
      [true, lifted],
    ] as const) {
      const table = policy({ allowPrivate });
      const normal = SocketAddress.of(ip, 7000);
      t.equal(table.denyPermission(FOREIGN, normal.ip), expected);
      t.equal(table.denyPeer(FOREIGN, normal), expected);
    }
  });
}

test("our relayed IP: a permission for it may be had, packets go to live allocations only", (t) => {
  for (const owner of [FOREIGN, PEER]) {
    const table = policy();
    t.equal(table.denyPermission(owner, RELAY_IP), null);
    t.equal(table.denyPeer(owner, SocketAddress.of(RELAY_IP, LIVE)), null);
    t.equal(table.denyPeer(owner, SocketAddress.of(RELAY_IP, LIVE + 1)), "own-address");
    t.equal(table.denyPeer(owner, SocketAddress.of(RELAY_IP, 3478)), "own-address");
  }
  const disguised = SocketAddress.of("64:ff9b::198.41.0.4", LIVE);
  t.equal(policy().denyPeer(FOREIGN, disguised), "own-address", "a detour to ourselves is no live allocation");
});

test("a relay on loopback reaches its own allocations without --allow-private-relay, and nothing else there", (t) => {
  const table = policy({ relayedIp: "127.0.0.1", services: ["127.0.0.1:3478"] });
  t.equal(table.denyPeer(PEER, SocketAddress.of("127.0.0.1", LIVE)), null);
  t.equal(table.denyPeer(PEER, SocketAddress.of("127.0.0.1", 9433)), "loopback");
  t.equal(table.denyPeer(PEER, SocketAddress.of("127.0.0.2", LIVE)), "loopback");
});

test("our own services stay out of reach even where private addresses are not", (t) => {
  const concrete = policy({
    allowPrivate: true,
    relayedIp: "127.0.0.1",
    services: ["127.0.0.1:3478", "127.0.0.1:9433"],
  });
  t.equal(concrete.denyPeer(FOREIGN, SocketAddress.of("127.0.0.1", 3478)), "own-address");
  t.equal(concrete.denyPeer(FOREIGN, SocketAddress.of("127.0.0.1", 9433)), "own-address");
  t.equal(concrete.denyPeer(FOREIGN, SocketAddress.of("127.0.0.1", 9434)), null);
  t.equal(concrete.denyPeer(FOREIGN, SocketAddress.of("127.0.0.2", 3478)), null, "somebody else's");
  const wildcard = policy({ allowPrivate: true, relayedIp: "10.1.2.3", services: ["0.0.0.0:3478"] });
  t.equal(wildcard.denyPeer(FOREIGN, SocketAddress.of("10.1.2.3", 3478)), "own-address");
  t.equal(wildcard.denyPeer(FOREIGN, SocketAddress.of("127.0.0.9", 3478)), "own-address", "a wildcard socket hears it");
  t.equal(wildcard.denyPeer(FOREIGN, SocketAddress.of("10.1.2.4", 3478)), null);
});

test("a peer reaches the observed addresses of its session peers only, and those by the same rules", (t) => {
  const table = policy({ sessionIps: ["9.9.9.9", "192.168.0.7", "169.254.169.254"] });
  t.equal(table.denyPermission(PEER, "9.9.9.9"), null);
  t.equal(table.denyPermission(PEER, "8.8.8.8"), "not-a-session-peer");
  t.equal(table.denyPeer(PEER, SocketAddress.of("9.9.9.9", 1)), null);
  t.equal(table.denyPeer(PEER, SocketAddress.of("9.9.9.10", 1)), "not-a-session-peer");
  t.equal(table.denyPermission(PEER, "192.168.0.7"), "private", "a session does not lift the rules for addresses");
  t.equal(table.denyPermission({ kind: "peer", key: "peer:q", peerId: "q" }, "9.9.9.9"), "not-a-session-peer");
  const lifted = policy({ allowPrivate: true, sessionIps: ["192.168.0.7", "169.254.169.254"] });
  t.equal(lifted.denyPermission(PEER, "192.168.0.7"), null);
  t.equal(lifted.denyPermission(PEER, "169.254.169.254"), "metadata");
});

test("an address that this host was given later is its own from then on, and no flow to it goes on", (t) => {
  const table = policy();
  const later = SocketAddress.of("8.8.4.4", 22);
  t.equal(table.denyPeer(FOREIGN, later), null);
  const { version } = table;
  table.setOwnIps(["10.1.2.3", "198.41.0.5", "2606:4700::53"]);
  t.equal(table.version, version, "the same addresses are no news");
  table.setOwnIps(["10.1.2.3", "198.41.0.5", "8.8.4.4"]);
  t.ok(table.version > version);
  t.equal(table.denyPeer(FOREIGN, later), "own-address");
  t.equal(table.denyPeer(FOREIGN, SocketAddress.of("2606:4700::53", 22)), null, "and one that it lost is not");
  t.equal(table.denyPeer(FOREIGN, SocketAddress.of(RELAY_IP, 22)), "own-address", "the relayed one stays");
});

test("port 0 is nobody", (t) => {
  t.equal(policy().denyPeer(FOREIGN, SocketAddress.of("8.8.8.8", 0)), "no-port");
});

const lists: readonly (readonly [string, Lists, readonly (readonly [string, RelayDenial | null])[]])[] = [
  [
    "what is denied is denied in every spelling",
    { deny: ["9.9.0.0/16", "2606:4700::/32"] },
    [
      ["9.9.9.9", "denied-list"],
      ["::ffff:9.9.9.9", "denied-list"],
      ["64:ff9b::9.9.9.9", "denied-list"],
      ["2002:909:909::1", "denied-list"],
      ["9.10.0.0", null],
      ["2606:4700:1::1", "denied-list"],
      ["2606:4701::1", null],
    ],
  ],
  [
    "a prefix may be written as IPv4-mapped, and a detour may be closed as a whole",
    { deny: ["::ffff:9.9.0.0/112", "64:ff9b::/96"] },
    [
      ["9.9.9.9", "denied-list"],
      ["64:ff9b::8.8.8.8", "denied-list"],
      ["8.8.8.8", null],
    ],
  ],
  [
    "the longer prefix counts",
    { deny: ["0.0.0.0/0", "192.168.7.0/24"], allow: ["192.168.0.0/16", "192.168.7.9"] },
    [
      ["8.8.8.8", "denied-list"],
      ["192.168.1.1", null],
      ["192.168.7.1", "denied-list"],
      ["192.168.7.9", null],
      ["2001:4860:4860::8888", null],
    ],
  ],
  ["of equally long ones the denial", { deny: ["9.9.9.9"], allow: ["9.9.9.9/32"] }, [["9.9.9.9", "denied-list"]]],
  [
    "a way in that is open does not open what lies behind it",
    { allow: ["64:ff9b::/96", "64:ff9b:1::/48", "2002::/16"] },
    [
      ["64:ff9b::10.0.0.1", "private"],
      ["64:ff9b::127.0.0.1", "loopback"],
      ["64:ff9b::198.41.0.5", "own-address"],
      ["2002:a00:1::1", "private"],
      ["64:ff9b:1::10.0.0.1", "private"],
      ["64:ff9b:1:a00:0:100::", "private"],
      ["64:ff9b:1::169.254.169.254", "metadata"],
      ["64:ff9b:1::8.8.8.8", null],
    ],
  ],
  [
    "unless that is named as well",
    { allow: ["64:ff9b:1::/48", "10.0.0.0/8"], deny: ["10.7.0.0/16"] },
    [
      ["64:ff9b::10.0.0.1", null],
      ["64:ff9b:1::10.0.0.1", null],
      ["64:ff9b:1::10.7.0.1", "denied-list"],
      ["64:ff9b:2::10.0.0.1", "reserved"],
    ],
  ],
  [
    "no list lifts what is never good",
    { allow: ["0.0.0.0/0", "::/0", "169.254.169.254", "100.64.0.0/10"] },
    [
      ["64:ff9b:1::100.100.100.200", "metadata"],
      ["64:ff9b::169.254.169.254", "metadata"],
      ["127.0.0.1", null],
      ["169.254.1.1", null],
      ["169.254.169.254", "metadata"],
      ["100.100.100.200", "metadata"],
      ["0.0.0.1", "unspecified"],
      ["224.0.0.1", "multicast"],
      ["ff02::1", "multicast"],
      ["255.255.255.255", "broadcast"],
    ],
  ],
];

for (const [name, given, rows] of lists) {
  test(`--relay-allow and --relay-deny: ${name}`, (t) => {
    const table = policy(given);
    for (const [ip, expected] of rows) {
      const peer = SocketAddress.of(ip, 7000);
      t.equal(table.denyPermission(FOREIGN, peer.ip), expected, ip);
      t.equal(table.denyPeer(FOREIGN, peer), expected, ip);
    }
  });
}

test("a list opens addresses to foreign clients, not to peers without a session there; nor our own services", (t) => {
  const table = policy({ allow: ["10.0.0.0/8", "198.41.0.4"] });
  t.equal(table.denyPermission(PEER, "10.0.0.1"), "not-a-session-peer");
  t.equal(table.denyPeer(FOREIGN, SocketAddress.of(RELAY_IP, 3478)), "own-address");
});
