/** Seeded nonsense through every parser: nothing throws, and nothing verifies that should not. */
import { equalBytes, type Random, randomInt, SocketAddress, seededRandom } from "@adit/core";
import { FUZZ, fuzzInputs, fuzzSeed, type T, test } from "@adit/harness";
import {
  getAddress,
  getBytes,
  getChannelNumber,
  getErrorCode,
  getNonce,
  getRealm,
  getString,
  getU8,
  getU32,
  getU64,
  getUnknownAttributes,
  getUsername,
  getXorAddress,
  unknownComprehensionRequired,
} from "../src/stun/attributes.ts";
import { StunBuilder } from "../src/stun/builder.ts";
import {
  longTermKey,
  shortTermKey,
  verifyFingerprint,
  verifyIntegrity,
  verifyIntegritySha256,
} from "../src/stun/integrity.ts";
import { readChallenge } from "../src/stun/long-term.ts";
import { decodeStun, isStun, transactionKey } from "../src/stun/message.ts";
import { STUN_ATTRIBUTE, STUN_METHOD } from "../src/stun/tables.ts";
import { channelNumberOf, channelPayload, isChannelData, parseChannelData } from "../src/turn/channel-data.ts";
import { TurnClient } from "../src/turn/client.ts";
import {
  LONG_TERM_PASSWORD,
  LONG_TERM_REALM,
  LONG_TERM_USER,
  SHORT_TERM_PASSWORD,
  VECTOR_2_1,
  VECTOR_2_2,
  VECTOR_2_3,
  VECTOR_2_4,
} from "./stun-vectors.ts";

const KEY = shortTermKey(SHORT_TERM_PASSWORD);
const SHA256_KEY = shortTermKey("another");
const TYPES = Object.values(STUN_ATTRIBUTE);

/** Valid messages that have everything in them, to be damaged. */
const VALID: readonly Uint8Array[] = [VECTOR_2_1, VECTOR_2_2, VECTOR_2_3, VECTOR_2_4, everything(), challenge()];

function everything(): Uint8Array {
  return new StunBuilder("request", STUN_METHOD.ALLOCATE, new Uint8Array(12).fill(7))
    .string(STUN_ATTRIBUTE.USERNAME, "user")
    .xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, SocketAddress.of("2001:db8::1", 4000))
    .address(STUN_ATTRIBUTE.ALTERNATE_SERVER, SocketAddress.of("192.0.2.1", 3478))
    .errorCode(420)
    .unknownAttributes([1, 2, 3])
    .u64(STUN_ATTRIBUTE.ICE_CONTROLLING, 1n)
    .channelNumber(0x4000)
    .add(STUN_ATTRIBUTE.DATA, new Uint8Array(33))
    .build({ key: KEY, sha256Key: SHA256_KEY, fingerprint: true });
}

function challenge(): Uint8Array {
  return new StunBuilder("error", STUN_METHOD.ALLOCATE, new Uint8Array(12).fill(9))
    .errorCode(401)
    .string(STUN_ATTRIBUTE.REALM, "adit")
    .string(STUN_ATTRIBUTE.NONCE, "obMatJos2AAABnonce")
    .add(STUN_ATTRIBUTE.PASSWORD_ALGORITHMS, new Uint8Array([0, 2, 0, 0, 0, 1, 0, 0]))
    .build({ fingerprint: true });
}

const pick = <V>(random: Random, values: readonly V[]): V => values[randomInt(random, values.length)] as V;

/** Ways to make a bad datagram. */
const KINDS: Record<string, (random: Random) => Uint8Array> = {
  "random bytes": (random) => random.bytes(randomInt(random, 200)),
  "random bytes behind a good header": (random) => {
    const body = random.bytes(4 * randomInt(random, 40));
    return withHeader(random, body);
  },
  "random attributes of known types": (random) => {
    const parts: number[] = [];
    for (let i = randomInt(random, 12); i >= 0; i--) {
      const type = pick(random, TYPES);
      const length = randomInt(random, 3) === 0 ? pick(random, [4, 8, 16, 20, 32]) : randomInt(random, 40);
      parts.push(type >> 8, type & 0xff, 0, length, ...random.bytes((length + 3) & ~3));
    }
    return withHeader(random, Uint8Array.from(parts));
  },
  truncated: (random) => {
    const whole = pick(random, VALID);
    return whole.slice(0, randomInt(random, whole.length));
  },
  "truncated, the header telling the new length": (random) => {
    const whole = pick(random, VALID);
    return withLength(whole.slice(0, 20 + 4 * randomInt(random, (whole.length - 20) / 4)));
  },
  "bits flipped": (random) => {
    const bad = pick(random, VALID).slice();
    for (let i = randomInt(random, 4); i >= 0; i--) {
      const at = randomInt(random, bad.length);
      bad[at] = (bad[at] as number) ^ (1 << randomInt(random, 8));
    }
    return bad;
  },
  "a length that lies": (random) => {
    const bad = pick(random, VALID).slice();
    const at = pick(random, [2, ...attributeOffsets(bad).map((offset) => offset + 2)]);
    const lie = pick(random, [0, 1, 3, 5, 19, 21, 0x7fff, 0xffff, randomInt(random, 0x10000)]);
    bad[at] = lie >> 8;
    bad[at + 1] = lie & 0xff;
    return bad;
  },
  "attributes behind the end": (random) => {
    const extra = random.bytes(4 + 4 * randomInt(random, 4));
    extra[0] = 0;
    extra[1] = pick(random, TYPES) & 0xff;
    extra[2] = 0;
    extra[3] = extra.length - 4;
    return withLength(Uint8Array.from([...pick(random, VALID), ...extra]));
  },
};

const PER_KIND = Math.ceil(fuzzInputs(100_000) / Object.keys(KINDS).length);

for (const [kind, make] of Object.entries(KINDS)) {
  const body = (t: T): void => {
    const first = fuzzSeed(0);
    for (let seed = first; seed < first + PER_KIND; seed++) {
      const data = make(seededRandom(seed));
      try {
        exercise(t, data);
      } catch (error) {
        console.error(`seed ${seed}`, Buffer.from(data).toString("hex"));
        throw error;
      }
    }
  };
  test(`${kind}: ${PER_KIND} datagrams throw nothing and verify only what is genuine`, body, FUZZ);
}

test("a TURN client drops all of it", (t) => {
  const random = seededRandom(1);
  const client = new TurnClient({
    server: SocketAddress.of("192.0.2.1", 3478),
    socket: 0,
    relaySocket: 1000,
    username: "u",
    password: "p",
    random,
  });
  client.start(0);
  while (client.pollTransmit());
  let given = 0;
  for (const make of Object.values(KINDS)) {
    for (let seed = 0; seed < 1_000; seed++) {
      t.equal(client.handleDatagram(1, make(seededRandom(seed))), null);
      given++;
    }
  }
  t.equal(client.dropped.total(), given);
  t.equal(client.state, "allocating");
  t.equal(client.pollEvent(), null);
});

/** Everything that reads a datagram, on one. */
function exercise(t: T, data: Uint8Array): void {
  if (isChannelData(data)) {
    const payload = channelPayload(data);
    t.ok(payload.length <= data.length - 4);
    t.same(parseChannelData(data), { channel: channelNumberOf(data), payload });
  } else {
    t.equal(parseChannelData(data), null);
  }
  const message = decodeStun(data);
  if (!message) return;
  t.ok(isStun(data));
  for (const { value } of message.attributes) t.ok(value.byteOffset + value.length <= data.byteOffset + data.length);
  for (const type of TYPES) {
    getBytes(message, type);
    getXorAddress(message, type);
    getAddress(message, type);
    getString(message, type);
    getU8(message, type);
    getU32(message, type);
    getU64(message, type);
  }
  getChannelNumber(message);
  getErrorCode(message);
  getUnknownAttributes(message);
  getRealm(message);
  getNonce(message);
  const username = getUsername(message);
  t.ok(username === null || username.length <= 508);
  unknownComprehensionRequired(message, new Set());
  readChallenge(message);
  t.equal(transactionKey(message.transactionId).length, 6);

  const genuine = VALID.find((valid) => sharesIntegrity(valid, data));
  if (verifyIntegrity(message, KEY)) t.ok(genuine, "integrity over other bytes than were signed");
  if (verifyIntegrity(message, longTermKey(LONG_TERM_USER, LONG_TERM_REALM, LONG_TERM_PASSWORD))) t.ok(genuine);
  if (verifyIntegritySha256(message, SHA256_KEY)) t.ok(genuine);
  if (verifyFingerprint(message)) t.ok(VALID.some((valid) => equalBytes(valid, data)));
}

/**
 * Whether `data` begins with all that `valid`'s first integrity attribute covers, and that attribute: the length field apart,
 * which says where the message ends and not where the integrity does.
 */
function sharesIntegrity(valid: Uint8Array, data: Uint8Array): boolean {
  const message = decodeStun(valid);
  if (!message || message.integrityOffset < 0) return false;
  const end = message.integrityOffset + 24;
  return (
    equalBytes(valid.subarray(0, 2), data.subarray(0, 2)) && equalBytes(valid.subarray(4, end), data.subarray(4, end))
  );
}

function attributeOffsets(data: Uint8Array): number[] {
  const offsets: number[] = [];
  for (let at = 20; at + 4 <= data.length; ) {
    offsets.push(at);
    at += 4 + ((((data[at + 2] as number) << 8) + (data[at + 3] as number) + 3) & ~3);
  }
  return offsets;
}

function withHeader(random: Random, body: Uint8Array): Uint8Array {
  const type = [randomInt(random, 0x40), randomInt(random, 0x100)];
  return withLength(Uint8Array.from([...type, 0, 0, 0x21, 0x12, 0xa4, 0x42, ...random.bytes(12), ...body]));
}

function withLength(data: Uint8Array): Uint8Array {
  data[2] = (data.length - 20) >> 8;
  data[3] = (data.length - 20) & 0xff;
  return data;
}
