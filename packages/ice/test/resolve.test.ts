import { test } from "@adit/harness";
import { parseServer, resolveAll } from "../src/driver/resolve.ts";

test("servers are named by host and port, or by URI (RFC 7064, RFC 7065)", (t) => {
  const table = [
    ["192.0.2.1:3478", "stun", "192.0.2.1", 3478, "udp"],
    ["[2001:db8::1]:99", "stun", "2001:db8::1", 99, "udp"],
    ["stun.example:3478", "stun", "stun.example", 3478, "udp"],
    ["stun:example.org", "stun", "example.org", 3478, "udp"],
    ["STUN:example.org:19302", "stun", "example.org", 19_302, "udp"],
    ["turn:99", "turn", "turn", 99, "udp"],
    ["relay.example:3478", "turn", "relay.example", 3478, "udp"],
    ["turn:example.org", "turn", "example.org", 3478, "udp"],
    ["turn:example.org?transport=udp", "turn", "example.org", 3478, "udp"],
    ["turn:example.org:8000?transport=tcp", "turn", "example.org", 8000, "tcp"],
    ["turn:[2001:db8::1]?transport=TCP", "turn", "2001:db8::1", 3478, "tcp"],
    ["turns:example.org", "turn", "example.org", 5349, "tls"],
    ["turns:example.org:443?transport=tcp", "turn", "example.org", 443, "tls"],
  ] as const;
  for (const [text, kind, host, port, transport] of table) {
    t.same(parseServer(text, kind), { host, port, transport }, text);
  }
});

test("what cannot be read, or not be used, is said", (t) => {
  for (const [text, kind, why] of [
    ["nonsense", "stun", /neither host:port/],
    ["", "turn", /neither host:port/],
    ["2001:db8::1", "stun", /neither host:port/],
    ["host:0", "stun", /port/],
    ["host:65536", "turn", /port/],
    ["stuns:example.org", "stun", /asked over UDP/],
    ["stun:example.org", "turn", /cannot serve as a TURN server/],
    ["turn:example.org", "stun", /cannot serve as a STUN server/],
    ["turn:example.org?transport=sctp", "turn", /query/],
    ["stun:example.org?transport=udp", "stun", /query/],
    ["turns:example.org?transport=udp", "turn", /DTLS/],
    ["turn://example.org", "turn", /neither host:port/],
    ["turn:user@example.org", "turn", /neither host:port/],
  ] as const) {
    t.throws(() => parseServer(text, kind), why);
  }
});

test("a name is resolved to an address of each family at most, an address to itself", async (t) => {
  t.same(
    (await resolveAll(parseServer("[2001:db8::1]:99", "stun"))).map(({ key }) => key),
    ["[2001:db8::1]:99"],
  );
  const families = (await resolveAll(parseServer("localhost:99", "stun"))).map(({ family }) => family);
  t.ok(families.length >= 1 && new Set(families).size === families.length);
  await t.rejects(resolveAll(parseServer("turn:no-such-host.invalid", "turn")), { code: "bad-server" });
});
