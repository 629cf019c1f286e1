import { test } from "@adit/harness";
import { formatCandidate, parseCandidate } from "../src/sdp.ts";
import { address, remoteHost } from "./kit.ts";

test("candidate attributes are read and written as RFC 8839 §5.1 has them", (t) => {
  const host = "candidate:1 1 udp 2130706431 203.0.113.141 8998 typ host";
  const srflx = "candidate:2 1 udp 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998";
  const v6 = "candidate:a+/9 1 udp 1 2001:db8::1 9 typ relay raddr :: rport 0";
  for (const text of [host, srflx, v6]) t.equal(formatCandidate(t.must(parseCandidate(text))), text);
  t.equal(parseCandidate(srflx)?.related, address("203.0.113.141", 8998));
  t.same(parseCandidate(formatCandidate(remoteHost(address("10.0.0.1", 5)))), remoteHost(address("10.0.0.1", 5)));
});

test("prefix, case of the transport and extensions do not matter", (t) => {
  const text =
    "a=candidate:842163049 1 UDP 1677729535 192.0.2.7 50000 typ srflx raddr 10.0.0.1 rport 1 generation 0 ufrag x";
  const read = t.must(parseCandidate(text));
  t.equal(read.address.key, "192.0.2.7:50000");
  t.equal(read.related?.key, "10.0.0.1:1");
});

test("what is malformed or of no use is null", (t) => {
  for (const text of [
    "",
    "candidate:",
    "candidate:1 2 udp 5 192.0.2.7 1 typ host",
    "candidate:1 1 tcp 5 192.0.2.7 9 typ host tcptype active",
    "candidate:1 1 udp 0 192.0.2.7 1 typ host",
    "candidate:1 1 udp 2147483648 192.0.2.7 1 typ host",
    "candidate:1 1 udp 5 192.0.2.7 65536 typ host",
    "candidate:1 1 udp 5 0b1c.local 1 typ host",
    "candidate:1 1 udp 5 192.0.2.7 1 typ magic",
    `candidate:${"x".repeat(33)} 1 udp 5 192.0.2.7 1 typ host`,
  ]) {
    t.equal(parseCandidate(text), null, text);
  }
});
