import { randomInt, seededRandom } from "@adit/core";
import { FUZZ, fuzzInputs, fuzzSeed, test } from "@adit/harness";
import {
  candidateOf,
  formatCandidate,
  formatCandidateAttribute,
  formatIceDescription,
  parseCandidate,
  parseCandidateAttribute,
  parseIceDescription,
} from "../src/sdp.ts";
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
    "candidate:1 1 dccp 5 192.0.2.7 9 typ host",
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

/** What others emit, word for word. */
const FOREIGN = {
  chromium: "candidate:3341723827 1 udp 2113937151 10.77.0.1 60464 typ host generation 0 ufrag 8xKL network-cost 999",
  "chromium, mDNS":
    "candidate:1 1 udp 2113937151 1f4712db-ea17-4bcf-a596-105139dfd8bf.local 54596 typ host generation 0 ufrag EEtu network-id 1",
  "chromium, TCP":
    "candidate:1980444921 1 tcp 1518149375 10.77.0.1 9 typ host tcptype active generation 0 ufrag 8xKL network-id 1",
  libjuice: "candidate:1 1 UDP 2114977791 10.77.0.1 34197 typ host",
  aioice: "candidate:41c49a367b69f260933ec15436c8fa3b 1 udp 2130706431 10.77.0.1 42020 typ host",
  firefox: "candidate:2 1 TCP 2105458943 192.0.2.7 9 typ host tcptype active",
  "a relay": "candidate:5 2 UDP 92217087 192.0.2.1 50000 typ relay raddr 203.0.113.7 rport 40111",
  "an address without a port": "candidate:5 1 UDP 92217087 192.0.2.1 50000 typ srflx raddr 10.0.0.1",
  "what nobody has invented yet": "candidate:5 1 dccp 92217087 192.0.2.1 50000 typ magic colour blue shape round",
};

test("every field survives, also those that nobody here knows", (t) => {
  for (const [who, text] of Object.entries(FOREIGN)) {
    const attribute = t.must(parseCandidateAttribute(text), who);
    t.equal(formatCandidateAttribute(attribute), text, who);
    t.equal(formatCandidateAttribute(t.must(parseCandidateAttribute(`a=${text}\r\n`))), text, who);
    const usable = ["chromium", "chromium, TCP", "firefox", "libjuice", "aioice", "an address without a port"].includes(
      who,
    );
    t.equal(candidateOf(attribute) !== null, usable, who);
  }
  const { extensions } = t.must(parseCandidateAttribute(FOREIGN.chromium));
  t.same(extensions, [
    ["generation", "0"],
    ["ufrag", "8xKL"],
    ["network-cost", "999"],
  ]);
});

test("an attribute with a name and no value, or a port that is none, is malformed", (t) => {
  for (const rest of [
    "typ host generation",
    "typ srflx raddr 10.0.0.1 rport x",
    "typ srflx raddr 10.0.0.1 rport 70000",
    "typ",
  ]) {
    t.equal(parseCandidateAttribute(`candidate:1 1 udp 5 192.0.2.7 1 ${rest}`), null, rest);
  }
});

test("the ICE attributes of a session description (RFC 8839 §5)", (t) => {
  const sdp = [
    "v=0",
    "a=ice-options:ice2 trickle",
    "a=ice-pacing:20",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "a=ice-ufrag:8xKL",
    "a=ice-pwd:zVxmlTuaL9E6vbd7t/7x7kXJ",
    `a=${FOREIGN.chromium}`,
    `a=${FOREIGN["chromium, mDNS"]}`,
    "a=candidate:nonsense",
    "a=end-of-candidates",
    "",
  ].join("\r\n");
  const read = parseIceDescription(sdp);
  const pwd = "zVxmlTuaL9E6vbd7t/7x7kXJ";
  t.same(read.parameters, { ufrag: "8xKL", pwd, options: ["ice2", "trickle"], pacingMs: 20 });
  t.equal(read.candidates.length, 2);
  t.same([read.ended, read.lite, read.pacingMs], [true, false, 20]);
  t.same(parseIceDescription(formatIceDescription(read)), read);
  t.equal(parseIceDescription(`a=ice-lite\na=ice-ufrag:abcd\na=ice-pwd:${pwd}\n`).parameters?.lite, true);
  const lite = parseIceDescription("a=ice-lite\na=ice-ufrag:abcd\na=ice-pwd:short\n");
  t.same([lite.parameters, lite.lite, lite.ended, lite.pacingMs], [null, true, false, null]);
});

test(
  "damaged attributes throw nothing, and what is read is written and read again as the same",
  (t) => {
    const random = seededRandom(fuzzSeed(8839));
    const inputs = fuzzInputs(100_000);
    const texts = Object.values(FOREIGN);
    const pieces = [" ", ":", "0", "65536", "typ", "host", "raddr", "\u0000", "é", "x".repeat(40)];
    let read = 0;
    for (let i = 0; i < inputs; i++) {
      const text = texts[randomInt(random, texts.length)] ?? "";
      const at = randomInt(random, text.length);
      const piece = pieces[randomInt(random, pieces.length)] ?? "";
      const damaged = text.slice(0, at) + piece + text.slice(at + randomInt(random, 6));
      const attribute = parseCandidateAttribute(damaged);
      if (!attribute) continue;
      read++;
      t.same(parseCandidateAttribute(formatCandidateAttribute(attribute)), attribute, damaged);
      candidateOf(attribute);
    }
    t.ok(read > inputs * 0.05 && read < inputs * 0.9, `${read}`);
  },
  FUZZ,
);
