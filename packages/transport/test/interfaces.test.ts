import { isIP } from "node:net";
import { test } from "@adit/harness";
import { localAddresses, MAX_LOCAL_ADDRESSES } from "../src/interfaces.ts";

const one = (address: string, internal = false) => ({ address, internal });

test("host candidates by RFC 8445 §5.1.1.1: what is left out, and what stays", (t) => {
  const interfaces = {
    lo: [one("127.0.0.1", true), one("::1", true)],
    eth0: [
      one("192.168.1.7"),
      one("2001:db8:1::7"),
      one("2001:DB8:1:0::7"), // the same in another spelling
      one("fd00::7"),
      one("fe80::7"),
      one("fe80::7%eth0"),
      one("fec0::7"), // site-local, RFC 3879
      one("::192.0.2.7"), // IPv4-compatible, RFC 4291
      one("::ffff:192.0.2.8"),
    ],
    docker0: [one("172.17.0.1")],
    "br-0123456789ab": [one("172.18.0.1")],
    vethabc123: [one("169.254.77.1")],
    virbr0: [one("192.168.122.1")],
    "br-lan": [one("10.0.0.7")], // a bridge that a person named
    usb0: [one("169.254.3.4")], // two machines on a cable have nothing else
    tun0: [one("100.64.0.7")],
    gone: undefined,
  };
  const found = localAddresses({ interfaces });
  t.same(
    found.map(({ ip }) => ip),
    ["2001:db8:1::7", "fd00::7", "192.168.1.7", "10.0.0.7", "169.254.3.4", "100.64.0.7"],
  );
  t.same(found[2], { ip: "192.168.1.7", family: 4, interface: "eth0" });
  t.same(
    localAddresses({ interfaces, family: 6 }).map(({ ip }) => ip),
    ["2001:db8:1::7", "fd00::7"],
  );
  t.same(
    localAddresses({ interfaces, family: 4, includeLoopback: true }).map(({ ip }) => ip),
    ["127.0.0.1", "192.168.1.7", "10.0.0.7", "169.254.3.4", "100.64.0.7"],
  );
});

test("an address made from the hardware address is left out where a private one stands beside it", (t) => {
  const tracked = "2001:db8:1:0:211:22ff:fe33:4455";
  const find = (interfaces: Record<string, { address: string; internal: boolean }[]>) =>
    localAddresses({ interfaces }).map(({ ip }) => ip);
  t.same(find({ eth0: [one(tracked), one("2001:db8:1::a1b2:c3d4")] }), ["2001:db8:1::a1b2:c3d4"]);
  t.same(find({ eth0: [one(tracked)] }), [tracked]);
  t.same(find({ eth0: [one(tracked), one("2001:db8:2::1")] }).length, 2, "another prefix");
  t.same(find({ eth0: [one(tracked)], eth1: [one("2001:db8:1::a1b2:c3d4")] }).length, 2, "another interface");
});

test("a machine with very many addresses offers a bounded number", (t) => {
  const interfaces = { eth0: Array.from({ length: 200 }, (_, i) => one(`10.0.1.${i}`)) };
  t.equal(localAddresses({ interfaces }).length, MAX_LOCAL_ADDRESSES);
});

test("this machine's own addresses: loopback on request only, all of them canonical", (t) => {
  t.ok(localAddresses({ includeLoopback: true }).some(({ ip }) => ip === "127.0.0.1"));
  for (const { ip, family } of localAddresses()) {
    t.equal(isIP(ip), family);
    t.notOk(ip.startsWith("127.") || ip === "::1" || ip.startsWith("fe80:"), ip);
  }
});
