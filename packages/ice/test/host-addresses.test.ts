import { test } from "@adit/harness";
import { hostAddresses, interleaveFamilies, MAX_SOCKETS } from "../src/driver/host-addresses.ts";

test("IPv4 stands among IPv6, after (N4 + N6) / N4 of them (RFC 8421 §4)", (t) => {
  const make = (v4: number, v6: number) => [
    ...Array.from({ length: v4 }, (_, i) => `192.0.2.${i}`),
    ...Array.from({ length: v6 }, (_, i) => `2001:db8::${i}`),
  ];
  const order = (v4: number, v6: number) =>
    interleaveFamilies(make(v4, v6))
      .map((ip) => (ip.includes(":") ? "6" : "4"))
      .join("");
  t.equal(order(2, 6), "66664664", "the RFC's own example");
  t.equal(order(1, 1), "64");
  t.equal(order(3, 1), "6444");
  t.equal(order(0, 3), "666");
  t.equal(order(3, 0), "444");
  t.same(interleaveFamilies(["192.0.2.2", "192.0.2.1"]), ["192.0.2.2", "192.0.2.1"], "order within a family stays");
});

test("addresses that nobody else can reach are left out (RFC 8445 §5.1.1.1), and so are interfaces that are not wanted", (t) => {
  const interfaces = {
    lo: [{ address: "127.0.0.1" }, { address: "::1" }],
    eth0: [
      { address: "192.168.1.2" },
      { address: "fe80::1" },
      { address: "fe80::1%eth0" },
      { address: "fec0::1" },
      { address: "2001:db8::2" },
      { address: "192.168.1.2" },
    ],
    docker0: [{ address: "172.17.0.1" }],
  };
  t.same(
    hostAddresses(interfaces, (name) => !name.startsWith("docker")),
    ["2001:db8::2", "192.168.1.2"],
  );
  t.same(hostAddresses({ eth0: [{ address: "169.254.1.1" }] }), ["169.254.1.1"]);
  const many = { eth0: Array.from({ length: 40 }, (_, i) => ({ address: `10.0.0.${i}` })) };
  t.equal(hostAddresses(many).length, MAX_SOCKETS);
});

test("an IPv6 address made from the hardware's gives way to one that is not, on its interface and in its prefix (§5.1.1.1)", (t) => {
  const eui64 = "2001:db8::211:22ff:fe33:4455";
  const temporary = "2001:db8::a1b2:c3d4:e5f6:1";
  const list = (...ips: string[]) => ips.map((address) => ({ address }));
  t.same(hostAddresses({ eth0: list(eui64, temporary) }), [temporary]);
  t.same(hostAddresses({ eth0: list(eui64) }), [eui64], "better than none");
  t.same(hostAddresses({ eth0: list(eui64), eth1: list(temporary) }), [eui64, temporary], "another interface");
  t.same(hostAddresses({ eth0: list(eui64, "2001:db8:0:1::1") }), [eui64, "2001:db8:0:1::1"], "another prefix");
  t.same(
    hostAddresses({ eth0: list("::ffff:10.0.0.1", "::10.0.0.1", "10.0.0.1") }),
    ["10.0.0.1"],
    "no disguises of IPv4",
  );
});
