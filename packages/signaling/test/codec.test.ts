import { fromHex, parseSocketAddress, seededRandom, toHex, utf8 } from "@adit/core";
import { test } from "@adit/harness";
import {
  type Codec,
  controlCodec,
  MAX_FRAME_BYTES,
  openServiceCodec,
  type SignalingMessage,
  serviceReplyCodec,
  signalingCodec,
} from "../src/index.ts";
import { forSeeds, Generator } from "./random-message.ts";

const PEER = "25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkena";
const bad = { code: "bad-message" };

const candidate = {
  foundation: "1",
  component: 1,
  transport: "udp",
  priority: 2130706431,
  address: parseSocketAddress("192.0.2.10:50000"),
  type: "host",
  related: null,
} as const;
const ice = { ufrag: "8hhY", pwd: "asd88fgpdd777uzjYhagZg", options: ["ice2"] };

test("every message survives encoding and decoding (3000 seeds)", (t) => {
  const seen = new Set<string>();
  forSeeds(3000, (seed) => {
    const generator = new Generator(seededRandom(seed));
    const roundTrip = <M>(codec: Codec<M>, message: M) => {
      const payload = codec.encode(message);
      t.same(codec.decode(payload), message);
      const frame = codec.encodeFrame(message);
      t.equal(new DataView(frame.buffer).getUint32(0), payload.length);
      t.equal(toHex(frame.subarray(4)), toHex(payload));
    };
    const message = generator.signaling();
    seen.add(message.type);
    roundTrip(signalingCodec, message);
    roundTrip(controlCodec, generator.control());
    roundTrip(openServiceCodec, generator.openService());
    roundTrip(serviceReplyCodec, generator.serviceReply());
  });
  t.equal(seen.size, 20);
});

test("a payload is read by itself, not with its neighbours in the same ArrayBuffer", (t) => {
  const payload = signalingCodec.encode({ type: "ping", id: 5n });
  const neighbourhood = new Uint8Array(100).fill(0xff);
  neighbourhood.set(payload, 40);
  t.same(signalingCodec.decode(neighbourhood.subarray(40, 40 + payload.length)), { type: "ping", id: 5n });
  t.throws(() => signalingCodec.decode(neighbourhood.subarray(40, 40 + payload.length - 1)), bad);
  t.throws(() => signalingCodec.decode(neighbourhood.subarray(40, 40 + payload.length + 1)), bad);
});

test("each prefix of a message is refused, and so is each byte too many", (t) => {
  const generator = new Generator(seededRandom(1));
  for (const type of generator.signalingTypes) {
    let payload = signalingCodec.encode(generator.signaling(type));
    while (payload.length > 2000) payload = signalingCodec.encode(generator.signaling(type));
    for (let end = 0; end < payload.length; end++) {
      t.throws(() => signalingCodec.decode(payload.subarray(0, end)), bad);
    }
    t.throws(() => signalingCodec.decode(Uint8Array.from([...payload, 0])), bad);
  }
});

test("what Rust's bincode refuses is refused here", (t) => {
  const pwd = "1600000000000000 61616161616161616161616161616161616161616161";
  const cases: readonly (readonly [string, RegExp])[] = [
    ["0e000000 0100000000000000 0600000000000000 646972656374 02 00000000", /a bool is 2/],
    ["11000000 0100000000000000 61 0000000000000000 02 00", /option variant flag: 2/],
    ["14000000", /no message with tag 20/],
    ["ffffffff", /no message with tag 4294967295/],
    ["12000000 0200000000000000 c328", /not UTF-8/],
    ["12000000 0300000000000000 6161", /a length of 3 does not fit/],
    ["12000000 0000000000000080 6161", /a length of 9223372036854775808 does not fit/],
    ["12000000 ffffffffffffffff 6161", /a length of 18446744073709551615 does not fit/],
    // A vector of 2^32 elements.
    [
      `08000000 0100000000000000 0400000000000000 61616161 ${pwd} 0000000001000000`,
      /a length of 4294967296 does not fit/,
    ],
    ["", /ends too early/],
  ];
  for (const [hex, message] of cases) {
    t.throws(() => signalingCodec.decode(fromHex(hex)), { ...bad, name: "SignalingError", message });
  }
  const good = "0e000000 0100000000000000 0600000000000000 646972656374 01 00000000";
  t.same(signalingCodec.decode(fromHex(good)), {
    type: "path-report",
    sessionId: 1n,
    path: "direct",
    alive: true,
    silentMs: 0,
  });
});

const outOfBounds: readonly (readonly [string, unknown])[] = [
  ["a name with capitals", { type: "register", requestId: 1n, name: "Office" }],
  ["an empty name", { type: "register", requestId: 1n, name: "" }],
  ["a name of 41", { type: "register", requestId: 1n, name: "a".repeat(41) }],
  ["a name that ends in a newline", { type: "register", requestId: 1n, name: "office\n" }],
  ["a request id of 2^64", { type: "register", requestId: 2n ** 64n, name: "a" }],
  ["a negative request id", { type: "register", requestId: -1n, name: "a" }],
  ["a request id that is a number", { type: "register", requestId: 1, name: "a" }],
  ["a role that is neither", { type: "hello", version: 1, agent: "x", role: "admin" }],
  ["a version of 65536", { type: "hello", version: 65_536, agent: "x", role: "agent" }],
  ["a fraction of a version", { type: "hello", version: 1.5, agent: "x", role: "agent" }],
  ["an agent with a control character", { type: "hello", version: 1, agent: "x\u001b[31m", role: "agent" }],
  ["a target of 41 that is no PeerId", { type: "connect", sessionId: 1n, target: "a".repeat(41), expectedPeer: null }],
  [
    "a PeerId with bits beyond 256",
    { type: "connect", sessionId: 1n, target: `${PEER.slice(0, 51)}b`, expectedPeer: null },
  ],
  ["a PeerId in capitals", { type: "connect", sessionId: 1n, target: "a", expectedPeer: PEER.toUpperCase() }],
  ["port 0", { type: "observed-address", observed: parseSocketAddress("192.0.2.1:0") }],
  ["a component of 2", { type: "candidate", sessionId: 1n, ufrag: "8hhY", candidate: { ...candidate, component: 2 } }],
  [
    "a foundation of 33",
    { type: "candidate", sessionId: 1n, ufrag: "8hhY", candidate: { ...candidate, foundation: "a".repeat(33) } },
  ],
  [
    "a priority of 2^32",
    { type: "candidate", sessionId: 1n, ufrag: "8hhY", candidate: { ...candidate, priority: 2 ** 32 } },
  ],
  [
    "a candidate over tcp",
    { type: "candidate", sessionId: 1n, ufrag: "8hhY", candidate: { ...candidate, transport: "tcp" } },
  ],
  [
    "a candidate of another kind",
    { type: "candidate", sessionId: 1n, ufrag: "8hhY", candidate: { ...candidate, type: "upnp" } },
  ],
  ["a ufrag of 3", { type: "candidate", sessionId: 1n, ufrag: "abc", candidate: null }],
  ["a ufrag with a colon", { type: "candidate", sessionId: 1n, ufrag: "ab:cd", candidate: null }],
  [
    "a pwd of 21",
    { type: "restart", sessionId: 1n, ice: { ...ice, pwd: "a".repeat(21) }, candidates: [], answer: false },
  ],
  [
    "nine ice-options",
    { type: "restart", sessionId: 1n, ice: { ...ice, options: Array(9).fill("x") }, candidates: [], answer: false },
  ],
  ["65 candidates", { type: "restart", sessionId: 1n, ice, candidates: Array(65).fill(candidate), answer: false }],
  ["a delay of 1001 ms", { type: "start-punching", sessionId: 1n, targetTimeMs: 1001, peerCandidates: [] }],
  ["a code that is a sentence", { type: "error", code: "Not found", message: "", sessionId: null, requestId: null }],
  ["a missing field", { type: "path-report", sessionId: 1n, path: "direct", alive: true }],
  ["a message of no kind", { type: "shutdown" }],
];

for (const [name, message] of outOfBounds) {
  test(`${name} does not leave`, (t) => {
    t.throws(() => signalingCodec.encode(message as SignalingMessage), bad);
  });
}

test("values out of bounds that do arrive are refused, and the error says which field", (t) => {
  const payload = signalingCodec.encode({ type: "register", requestId: 1n, name: "office" });
  payload[payload.length - 1] = 0x45;
  t.throws(() => signalingCodec.decode(payload), {
    ...bad,
    message: "register.name: expected a name like [a-z0-9-]{1,40}",
  });

  const punching = signalingCodec.encode({
    type: "start-punching",
    sessionId: 1n,
    targetTimeMs: 1000,
    peerCandidates: [],
  });
  new DataView(punching.buffer).setUint32(12, 1001, true);
  t.throws(() => signalingCodec.decode(punching), bad);

  const answer = signalingCodec.encode({
    type: "candidate-answer",
    sessionId: 1n,
    ice,
    candidates: Array(64).fill(candidate),
  });
  t.equal(signalingCodec.encode(signalingCodec.decode(answer)).length, answer.length);
  const one = signalingCodec.encode({ type: "candidate-answer", sessionId: 1n, ice, candidates: [candidate] });
  const none = signalingCodec.encode({ type: "candidate-answer", sessionId: 1n, ice, candidates: [] });
  const sixtyFive = Uint8Array.from([...answer, ...one.subarray(none.length)]);
  new DataView(sixtyFive.buffer).setBigUint64(none.length - 8, 65n, true);
  t.throws(() => signalingCodec.decode(sixtyFive), bad);
});

const addresses: readonly (readonly [string, string | null])[] = [
  ["192.0.2.1:80", "192.0.2.1:80"],
  ["[2001:DB8:0::1]:80", "[2001:db8::1]:80"],
  ["[::ffff:192.0.2.1]:80", "192.0.2.1:80"],
  ["192.0.2.1", null],
  ["192.0.2.1:0", null],
  ["192.0.2.1:65536", null],
  ["192.0.2.01:80", null],
  ["2001:db8::1:80", null],
  ["[fe80::1%eth0]:80", null],
  ["example.org:80", null],
  [" 192.0.2.1:80", null],
  ["", null],
  [`[${"0".repeat(60_000)}]:1`, null],
];

for (const [text, canonical] of addresses) {
  test(`the address "${text.slice(0, 40)}" is ${canonical === null ? "refused" : `read as ${canonical}`}`, (t) => {
    const bytes = utf8(text);
    const payload = new Uint8Array(12 + bytes.length);
    const view = new DataView(payload.buffer);
    view.setUint32(0, 12, true);
    view.setBigUint64(4, BigInt(bytes.length), true);
    payload.set(bytes, 12);
    if (canonical === null)
      t.throws(() => signalingCodec.decode(payload), {
        ...bad,
        message: text.length > 53 ? /too long/ : /is not IP:port|port above 0|outside 0\.\.65535/,
      });
    else t.same(signalingCodec.decode(payload), { type: "observed-address", observed: parseSocketAddress(canonical) });
  });
}

test("a sentence too long for the wire is cut between characters; all else is left as it is", (t) => {
  const reason = "穴".repeat(1000);
  const decoded = signalingCodec.decode(signalingCodec.encode({ type: "goodbye", reason }));
  t.same(decoded, { type: "goodbye", reason: "穴".repeat(341) });
  const exactly = "x".repeat(1024);
  t.same(signalingCodec.decode(signalingCodec.encode({ type: "goodbye", reason: exactly })), {
    type: "goodbye",
    reason: exactly,
  });
});

test("a sentence too long that arrives is refused", (t) => {
  const payload = new Uint8Array(12 + 1025).fill(0x61);
  const view = new DataView(payload.buffer);
  view.setUint32(0, 18, true);
  view.setBigUint64(4, 1025n, true);
  t.throws(() => signalingCodec.decode(payload), bad);
});

test("the largest message fits into a frame", (t) => {
  const long = {
    ...candidate,
    foundation: "f".repeat(32),
    address: parseSocketAddress("[1111:2222:3333:4444:5555:6666:7777:8888]:65535"),
    related: parseSocketAddress("[1111:2222:3333:4444:5555:6666:7777:8888]:65535"),
  };
  const frame = signalingCodec.encodeFrame({
    type: "candidate-offer",
    sessionId: 2n ** 64n - 1n,
    serviceId: "s".repeat(40),
    ice: { ufrag: "u".repeat(256), pwd: "p".repeat(256), options: Array(8).fill("o".repeat(32)) },
    candidates: Array(64).fill(long),
    ticket: "a".repeat(2048),
  });
  t.ok(frame.length < MAX_FRAME_BYTES / 4, `${frame.length} bytes`);
});

test("one failed encoding leaves nothing behind for the next", (t) => {
  const before = toHex(signalingCodec.encode({ type: "ping", id: 1n }));
  t.throws(() => signalingCodec.encode({ type: "register", requestId: 1n, name: "NO" }), bad);
  t.equal(toHex(signalingCodec.encode({ type: "ping", id: 1n })), before);
});
