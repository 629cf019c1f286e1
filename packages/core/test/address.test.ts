import { test } from "@adit/harness";
import { classifyIp, formatIp, parseIp, parseSocketAddress, SocketAddress } from "../src/index.ts";

test("IPv6 text is canonical per RFC 5952 §4", (t) => {
  const table: [string, string][] = [
    ["2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:DB8::A", "2001:db8::a"],
    ["::", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
  ];
  for (const [text, canonical] of table)
    t.equal(formatIp(parseIp(text) ?? t.fail(`${text} was refused`)), canonical, text);
});

test("what is not an IP address is refused", (t) => {
  for (const text of [
    "",
    "1.2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    "01.2.3.4",
    "1.2.3.4 ",
    ":",
    ":::",
    "1::2::3",
    "g::1",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "fe80::1%eth0",
    "::1.2.3",
  ]) {
    t.equal(parseIp(text), null, JSON.stringify(text));
  }
});

test("a socket address reads, prints and compares by its canonical text", (t) => {
  const address = parseSocketAddress("[2001:DB8:0::1]:4433");
  t.equal(address.key, "[2001:db8::1]:4433");
  t.equal(address.family, 6);
  t.ok(address.equals(SocketAddress.of("2001:db8::1", 4433)));
  t.ok(SocketAddress.fromBytes(address.bytes, 4433).equals(address));
  t.equal(SocketAddress.of("::ffff:127.0.0.1", 1).key, "127.0.0.1:1");
  for (const text of ["1.2.3.4", "1.2.3.4:70000", "host:1", "::1:80", "[::1]", "1.2.3.4:-1"]) {
    t.throws(() => parseSocketAddress(text), { code: "bad-address" });
  }
});

test("interning is bounded and an address stays equal to itself across an overflow", (t) => {
  const before = SocketAddress.of("192.0.2.1", 7);
  for (let i = 0; i < 70_000; i++) SocketAddress.of(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, 9);
  t.ok(before.equals(SocketAddress.of("192.0.2.1", 7)));
});

test("an address is classified in every spelling", (t) => {
  const table: [string, string][] = [
    ["127.0.0.1", "loopback"],
    ["::ffff:127.0.0.1", "loopback"],
    ["64:ff9b::7f00:1", "loopback"],
    ["2002:7f00:1::", "loopback"],
    ["::1", "loopback"],
    ["10.1.2.3", "private"],
    ["172.31.255.255", "private"],
    ["172.32.0.0", "public"],
    ["100.64.0.1", "private"],
    ["fd00::1", "private"],
    ["169.254.169.254", "link-local"],
    ["fe80::1", "link-local"],
    ["224.0.0.1", "multicast"],
    ["ff02::1", "multicast"],
    ["255.255.255.255", "broadcast"],
    ["240.0.0.1", "reserved"],
    ["0.0.0.0", "unspecified"],
    ["0.1.2.3", "unspecified"],
    ["::", "unspecified"],
    ["8.8.8.8", "public"],
    ["2606:4700::1111", "public"],
    ["not an address", "reserved"],
  ];
  for (const [ip, is] of table) t.equal(classifyIp(ip), is, ip);
});
