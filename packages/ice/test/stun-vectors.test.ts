import { createHmac } from "node:crypto";
import { fromHex, parseSocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import {
  getBytes,
  getNonce,
  getRealm,
  getString,
  getU32,
  getU64,
  getUsername,
  getXorAddress,
} from "../src/stun/attributes.ts";
import { StunBuilder } from "../src/stun/builder.ts";
import {
  longTermKey,
  longTermKeySha256,
  shortTermKey,
  verifyFingerprint,
  verifyIntegrity,
  verifyIntegritySha256,
} from "../src/stun/integrity.ts";
import { userHash } from "../src/stun/long-term.ts";
import { decodeStun } from "../src/stun/message.ts";
import { STUN_ATTRIBUTE, STUN_METHOD } from "../src/stun/tables.ts";
import {
  LONG_TERM_PASSWORD,
  LONG_TERM_REALM,
  LONG_TERM_USER,
  SHORT_TERM_PASSWORD,
  VECTOR_2_1,
  VECTOR_2_2,
  VECTOR_2_3,
  VECTOR_2_4,
  VECTOR_B_1,
} from "./stun-vectors.ts";

const key = shortTermKey(SHORT_TERM_PASSWORD);

test("RFC 5769 §2.1: sample request", (t) => {
  const message = t.must(decodeStun(VECTOR_2_1));
  t.equal(message.class, "request");
  t.equal(message.method, STUN_METHOD.BINDING);
  t.same([...message.transactionId], [...fromHex("b7e7a701bc34d686fa87dfae")]);
  t.equal(getString(message, STUN_ATTRIBUTE.SOFTWARE), "STUN test client");
  t.equal(getU32(message, STUN_ATTRIBUTE.PRIORITY), 0x6e0001ff);
  t.equal(getU64(message, STUN_ATTRIBUTE.ICE_CONTROLLED), 0x932ff9b151263b36n);
  t.equal(getUsername(message), "evtj:h6vY");
  t.ok(verifyIntegrity(message, key), "MESSAGE-INTEGRITY over padding that is not zero");
  t.ok(verifyFingerprint(message));
  t.notOk(verifyIntegrity(message, shortTermKey("VOkJxbRl1RmTxUk/WvJxBu")));
});

test("RFC 5769 §2.2: sample IPv4 response", (t) => {
  const message = t.must(decodeStun(VECTOR_2_2));
  t.equal(message.class, "success");
  t.equal(message.method, STUN_METHOD.BINDING);
  t.equal(getString(message, STUN_ATTRIBUTE.SOFTWARE), "test vector");
  t.equal(getXorAddress(message, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS)?.key, "192.0.2.1:32853");
  t.ok(verifyIntegrity(message, key));
  t.ok(verifyFingerprint(message));
});

test("RFC 5769 §2.3: sample IPv6 response", (t) => {
  const message = t.must(decodeStun(VECTOR_2_3));
  t.equal(message.class, "success");
  t.equal(getString(message, STUN_ATTRIBUTE.SOFTWARE), "test vector");
  const mapped = getXorAddress(message, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS);
  t.equal(mapped?.key, "[2001:db8:1234:5678:11:2233:4455:6677]:32853");
  t.ok(verifyIntegrity(message, key));
  t.ok(verifyFingerprint(message));
});

test("RFC 5769 §2.4: sample request with long-term authentication, read and written", (t) => {
  const message = t.must(decodeStun(VECTOR_2_4));
  const nonce = "f//499k954d6OL34oL9FSTvy64sA";
  t.equal(getUsername(message), LONG_TERM_USER);
  t.equal(getNonce(message), nonce);
  t.equal(getRealm(message), LONG_TERM_REALM);
  const longTerm = longTermKey(LONG_TERM_USER, LONG_TERM_REALM, LONG_TERM_PASSWORD);
  t.ok(verifyIntegrity(message, longTerm));
  t.notOk(verifyFingerprint(message), "there is none");
  const ours = new StunBuilder("request", STUN_METHOD.BINDING, message.transactionId)
    .string(STUN_ATTRIBUTE.USERNAME, LONG_TERM_USER)
    .string(STUN_ATTRIBUTE.NONCE, nonce)
    .string(STUN_ATTRIBUTE.REALM, LONG_TERM_REALM)
    .build({ key: longTerm });
  t.same(ours, VECTOR_2_4);
});

test("RFC 5769 §2.1-2.3: every bit that integrity and fingerprint cover counts", (t) => {
  for (const vector of [VECTOR_2_1, VECTOR_2_2, VECTOR_2_3]) {
    for (let bit = 0; bit < vector.length * 8; bit++) {
      const bad = vector.slice();
      bad[bit >> 3] = (bad[bit >> 3] as number) ^ (1 << (bit & 7));
      const message = decodeStun(bad);
      if (!message) continue;
      t.notOk(verifyFingerprint(message), `bit ${bit}`);
      // Behind MESSAGE-INTEGRITY stands FINGERPRINT, 8 bytes, which integrity does not cover.
      if (bit < (vector.length - 8) * 8) t.notOk(verifyIntegrity(message, key), `bit ${bit}`);
    }
  }
});

test("RFC 5769 §2.1 written by us: the same bytes but for the padding, which we make zero", (t) => {
  const theirs = t.must(decodeStun(VECTOR_2_1));
  const ours = new StunBuilder("request", STUN_METHOD.BINDING, theirs.transactionId)
    .string(STUN_ATTRIBUTE.SOFTWARE, "STUN test client")
    .u32(STUN_ATTRIBUTE.PRIORITY, 0x6e0001ff)
    .u64(STUN_ATTRIBUTE.ICE_CONTROLLED, 0x932ff9b151263b36n)
    .string(STUN_ATTRIBUTE.USERNAME, "evtj:h6vY")
    .build({ key, fingerprint: true });
  const end = VECTOR_2_1.length - 32; // where MESSAGE-INTEGRITY begins
  t.equal(ours.length, VECTOR_2_1.length);
  t.same(ours.slice(0, end - 3), VECTOR_2_1.slice(0, end - 3));
  t.same([...ours.slice(end - 3, end)], [0, 0, 0]);
  const message = t.must(decodeStun(ours));
  t.ok(verifyIntegrity(message, key) && verifyFingerprint(message));
});

test("RFC 5769 §2.2 and §2.3 written by us: the XORed addresses are the same bytes", (t) => {
  for (const [vector, address] of [
    [VECTOR_2_2, "192.0.2.1:32853"],
    [VECTOR_2_3, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"],
  ] as const) {
    const theirs = t.must(decodeStun(vector));
    const built = new StunBuilder("success", STUN_METHOD.BINDING, theirs.transactionId)
      .xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, parseSocketAddress(address))
      .build();
    const ours = t.must(decodeStun(built));
    t.same(getBytes(ours, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS), getBytes(theirs, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS));
  }
});

test("RFC 8489 B.1: USERHASH and MESSAGE-INTEGRITY-SHA256, read and written", (t) => {
  // As printed, the header's length (0x9c) counts the header too, so no receiver can take the message. The HMAC was made over
  // that length, with the SHA-256 password algorithm's key.
  t.equal(VECTOR_B_1.length, 0x9c);
  t.equal(decodeStun(VECTOR_B_1), null);
  const hmacKey = longTermKeySha256(LONG_TERM_USER, LONG_TERM_REALM, LONG_TERM_PASSWORD);
  const hmac = createHmac("sha256", hmacKey).update(VECTOR_B_1.slice(0, -36)).digest();
  t.same(new Uint8Array(hmac), VECTOR_B_1.slice(-32));

  const corrected = VECTOR_B_1.slice();
  corrected[3] = VECTOR_B_1.length - 20;
  const theirs = t.must(decodeStun(corrected));
  const hash = new Uint8Array(userHash(LONG_TERM_USER, LONG_TERM_REALM));
  t.same(getBytes(theirs, STUN_ATTRIBUTE.USERHASH), hash);
  t.equal(getNonce(theirs), "obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA");
  const ours = new StunBuilder("request", STUN_METHOD.BINDING, theirs.transactionId)
    .add(STUN_ATTRIBUTE.USERHASH, hash)
    .string(STUN_ATTRIBUTE.NONCE, "obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA")
    .string(STUN_ATTRIBUTE.REALM, LONG_TERM_REALM)
    .build({ sha256Key: hmacKey });
  t.same(ours.slice(0, -32), corrected.slice(0, -32));
  t.ok(verifyIntegritySha256(t.must(decodeStun(ours)), hmacKey));
  t.notOk(verifyIntegritySha256(theirs, hmacKey), "with the length right, the printed HMAC is wrong");
});

test("RFC 8489 §9.2.2: the key of user:realm:pass", (t) => {
  t.same(new Uint8Array(longTermKey("user", "realm", "pass")), fromHex("8493fbc53ba582fb4c044c456bdc40eb"));
});
