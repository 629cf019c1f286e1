import zlib from "node:zlib";
import { concat, fromHex, parseSocketAddress, seededRandom, utf8 } from "@adit/core";
import { test } from "@adit/harness";
import {
  getAddress,
  getBytes,
  getChannelNumber,
  getErrorCode,
  getRealm,
  getString,
  getU8,
  getU32,
  getU64,
  getUnknownAttributes,
  getUsername,
  getXorAddress,
  hasAttribute,
  unknownComprehensionRequired,
} from "../src/stun/attributes.ts";
import { StunBuilder } from "../src/stun/builder.ts";
import { crc32 } from "../src/stun/crc32.ts";
import { StunError } from "../src/stun/errors.ts";
import {
  longTermKey,
  shortTermKey,
  verifyFingerprint,
  verifyIntegrity,
  verifyIntegritySha256,
} from "../src/stun/integrity.ts";
import { decodeStun, isStun, messageType, transactionKey } from "../src/stun/message.ts";
import { STUN_ATTRIBUTE, STUN_METHOD, stunErrorReason } from "../src/stun/tables.ts";
import { VECTOR_2_1, VECTOR_2_4 } from "./stun-vectors.ts";

const ID = fromHex("000102030405060708090a0b");
const KEY = shortTermKey("secret");
const binding = () => new StunBuilder("request", STUN_METHOD.BINDING, ID);

/** Corrects the header's length after bytes were added or taken. */
function relength(data: Uint8Array): Uint8Array {
  const out = data.slice();
  out[2] = (out.length - 20) >> 8;
  out[3] = (out.length - 20) & 0xff;
  return out;
}

test("the type field interleaves class and method as RFC 8489 figure 3 has it", (t) => {
  const table = [
    ["request", STUN_METHOD.BINDING, 0x0001],
    ["indication", STUN_METHOD.BINDING, 0x0011],
    ["success", STUN_METHOD.BINDING, 0x0101],
    ["error", STUN_METHOD.BINDING, 0x0111],
    ["request", STUN_METHOD.ALLOCATE, 0x0003],
    ["success", STUN_METHOD.ALLOCATE, 0x0103],
    ["error", STUN_METHOD.ALLOCATE, 0x0113],
    ["indication", STUN_METHOD.SEND, 0x0016],
    ["indication", STUN_METHOD.DATA, 0x0017],
    ["success", STUN_METHOD.CREATE_PERMISSION, 0x0108],
    ["error", STUN_METHOD.CHANNEL_BIND, 0x0119],
    ["error", 0xfff, 0x3fff],
    ["request", 0xfff, 0x3eef],
  ] as const;
  for (const [messageClass, method, type] of table) {
    t.equal(messageType(messageClass, method), type);
    const data = new StunBuilder(messageClass, method, ID).build();
    t.equal(((data[0] ?? 0) << 8) | (data[1] ?? 0), type);
    const message = t.must(decodeStun(data));
    t.equal(message.class, messageClass);
    t.equal(message.method, method);
  }
});

test("every kind of attribute comes back as it was written", (t) => {
  const v4 = parseSocketAddress("203.0.113.9:65535");
  const v6 = parseSocketAddress("[2001:db8::ff]:1");
  const data = new StunBuilder("success", STUN_METHOD.ALLOCATE, ID)
    .xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, v4)
    .xorAddress(STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS, v6)
    .address(STUN_ATTRIBUTE.MAPPED_ADDRESS, v6)
    .address(STUN_ATTRIBUTE.ALTERNATE_SERVER, v4)
    .u8(STUN_ATTRIBUTE.REQUESTED_TRANSPORT, 17)
    .add(STUN_ATTRIBUTE.EVEN_PORT, Uint8Array.of(0x80))
    .u32(STUN_ATTRIBUTE.LIFETIME, 0xfffffffe)
    .u64(STUN_ATTRIBUTE.ICE_CONTROLLING, 0xfedcba9876543210n)
    .channelNumber(0x4abc)
    .string(STUN_ATTRIBUTE.USERNAME, "grün")
    .string(STUN_ATTRIBUTE.REALM, "")
    .errorCode(438)
    .unknownAttributes([0x7fff, 0x001a])
    .empty(STUN_ATTRIBUTE.DONT_FRAGMENT)
    .add(STUN_ATTRIBUTE.DATA, utf8("hello"))
    .build();
  t.equal(data.length % 4, 0);
  const message = t.must(decodeStun(data));
  t.equal(getXorAddress(message, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS), v4);
  t.equal(getXorAddress(message, STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS), v6);
  t.equal(getAddress(message, STUN_ATTRIBUTE.MAPPED_ADDRESS), v6);
  t.equal(getAddress(message, STUN_ATTRIBUTE.ALTERNATE_SERVER), v4);
  t.equal(getU8(message, STUN_ATTRIBUTE.REQUESTED_TRANSPORT), 17);
  t.equal(getU8(message, STUN_ATTRIBUTE.EVEN_PORT), 0x80);
  t.equal(getU32(message, STUN_ATTRIBUTE.LIFETIME), 0xfffffffe);
  t.equal(getU64(message, STUN_ATTRIBUTE.ICE_CONTROLLING), 0xfedcba9876543210n);
  t.equal(getChannelNumber(message), 0x4abc);
  t.equal(getUsername(message), "grün");
  t.equal(getRealm(message), "");
  t.same(getErrorCode(message), { code: 438, reason: "Stale Nonce" });
  t.same(getUnknownAttributes(message), [0x7fff, 0x001a]);
  t.ok(hasAttribute(message, STUN_ATTRIBUTE.DONT_FRAGMENT));
  t.same(getBytes(message, STUN_ATTRIBUTE.DATA)?.slice(), utf8("hello"));
  t.equal(getBytes(message, STUN_ATTRIBUTE.NONCE), null);
});

test("integrity and fingerprint in every combination", (t) => {
  const sha256Key = shortTermKey("other");
  for (const key of [KEY, null]) {
    for (const second of [sha256Key, null]) {
      for (const fingerprint of [true, false]) {
        const data = binding().string(STUN_ATTRIBUTE.USERNAME, "abc").build({ key, sha256Key: second, fingerprint });
        const message = t.must(decodeStun(data));
        t.equal(verifyIntegrity(message, KEY), key !== null);
        t.equal(verifyIntegritySha256(message, sha256Key), second !== null);
        t.equal(verifyFingerprint(message), fingerprint);
        t.notOk(verifyIntegrity(message, sha256Key) || verifyIntegritySha256(message, KEY));
      }
    }
  }
});

test("MESSAGE-INTEGRITY-SHA256 may be truncated to 16 bytes, not less (RFC 8489 §14.6)", (t) => {
  const whole = binding().build({ sha256Key: KEY });
  const at = whole.length - 36;
  const truncated = (length: number) => {
    const data = whole.slice(0, at + 4 + length);
    data[at + 3] = length;
    return relength(data);
  };
  // The HMAC covers the length of the message, so a truncated one is another HMAC: only the form is checked here.
  for (const length of [16, 20, 24, 28, 32]) t.ok(decodeStun(truncated(length)), `${length}`);
  for (const length of [0, 4, 8, 12]) t.equal(decodeStun(truncated(length)), null, `${length}`);
});

test("what stands behind MESSAGE-INTEGRITY is ignored, except FINGERPRINT", (t) => {
  const signed = binding().string(STUN_ATTRIBUTE.USERNAME, "abc").build({ key: KEY });
  const extra = fromHex("0025 0000"); // USE-CANDIDATE, as a man in the middle would add it
  const message = t.must(decodeStun(relength(concat(signed, extra))));
  t.notOk(hasAttribute(message, STUN_ATTRIBUTE.USE_CANDIDATE));
  t.ok(verifyIntegrity(message, KEY));
  t.equal(message.attributes.length, 2);
});

test("MESSAGE-INTEGRITY behind MESSAGE-INTEGRITY-SHA256 does not count", (t) => {
  const data = binding().build({ sha256Key: KEY });
  const integrity = concat(fromHex("0008 0014"), new Uint8Array(20));
  const message = t.must(decodeStun(relength(concat(data, integrity))));
  t.equal(message.integrityOffset, -1);
});

test("FINGERPRINT must be last (RFC 8489 §14.7)", (t) => {
  const data = binding().build({ fingerprint: true });
  t.ok(decodeStun(data));
  t.equal(decodeStun(relength(concat(data, fromHex("8022 0000")))), null);
  t.equal(decodeStun(relength(concat(data, data.subarray(20)))), null);
});

test("the first of two attributes of a type counts (RFC 8489 §14)", (t) => {
  const message = t.must(decodeStun(binding().u32(STUN_ATTRIBUTE.PRIORITY, 1).u32(STUN_ATTRIBUTE.PRIORITY, 2).build()));
  t.equal(getU32(message, STUN_ATTRIBUTE.PRIORITY), 1);
});

test("isStun wants zero bits, the cookie, and a length that fits exactly and is a multiple of 4", (t) => {
  const good = binding().u32(STUN_ATTRIBUTE.PRIORITY, 1).build().slice();
  t.ok(isStun(good));
  const change = (at: number, value: number) => {
    const bad = good.slice();
    bad[at] = value;
    return bad;
  };
  for (const bad of [
    change(0, 0x40),
    change(0, 0x80),
    change(4, 0x22),
    change(7, 0),
    change(3, 4),
    change(3, 12),
    change(2, 1),
    change(3, 9),
    good.slice(0, -1),
    concat(good, Uint8Array.of(0)),
    good.slice(0, 19),
    new Uint8Array(0),
  ]) {
    t.notOk(isStun(bad));
    t.equal(decodeStun(bad), null);
  }
});

test("every truncation of a message is refused, whether the header tells its length or not", (t) => {
  for (const whole of [VECTOR_2_1, VECTOR_2_4]) {
    for (let length = 0; length < whole.length; length++) {
      t.equal(decodeStun(whole.slice(0, length)), null);
      if (length < 20) continue;
      const message = decodeStun(relength(whole.slice(0, length)));
      if (message) t.notOk(verifyFingerprint(message) || verifyIntegrity(message, KEY));
    }
  }
});

test("an attribute that overruns the message is refused", (t) => {
  const data = binding().add(STUN_ATTRIBUTE.DATA, new Uint8Array(8)).build().slice();
  data[23] = 9; // 8 bytes are there
  t.equal(decodeStun(data), null);
  data[23] = 7; // padded to 8
  t.equal(getBytes(t.must(decodeStun(data)), STUN_ATTRIBUTE.DATA)?.length, 7);
});

test("integrity and fingerprint of a wrong size are refused", (t) => {
  for (const bad of ["0008 0010", "0008 0018", "8028 0008", "001c 0024"]) {
    const header = fromHex(bad);
    const body = concat(header, new Uint8Array(header[3] ?? 0));
    t.equal(decodeStun(relength(concat(binding().build(), body))), null, bad);
  }
});

test("a message of 64 attributes is read, one of 65 is not", (t) => {
  const many = (count: number) => {
    const builder = binding();
    for (let i = 0; i < count; i++) builder.empty(STUN_ATTRIBUTE.DONT_FRAGMENT);
    return builder.build();
  };
  t.equal(decodeStun(many(64))?.attributes.length, 64);
  t.equal(decodeStun(many(65)), null);
});

test("USERNAME, REALM and NONCE are bounded on both ways (RFC 8489 §14.3, §14.9, §14.10)", (t) => {
  const x = (length: number) => "x".repeat(length);
  t.throws(() => binding().string(STUN_ATTRIBUTE.USERNAME, x(509)), { code: "bad-stun-message" });
  t.throws(() => binding().string(STUN_ATTRIBUTE.REALM, x(510)), StunError);
  const read = (type: number, length: number) =>
    t.must(
      decodeStun(
        binding()
          .add(type, utf8(x(length)))
          .build(),
      ),
    );
  t.equal(getUsername(read(STUN_ATTRIBUTE.USERNAME, 508))?.length, 508);
  t.equal(getUsername(read(STUN_ATTRIBUTE.USERNAME, 509)), null);
  t.equal(getRealm(read(STUN_ATTRIBUTE.REALM, 763))?.length, 763);
  t.equal(getRealm(read(STUN_ATTRIBUTE.REALM, 764)), null);
});

test("text that is not UTF-8 is no text", (t) => {
  const message = t.must(decodeStun(binding().add(STUN_ATTRIBUTE.SOFTWARE, Uint8Array.of(0xff, 0xfe)).build()));
  t.equal(getString(message, STUN_ATTRIBUTE.SOFTWARE), null);
});

test("malformed values give null", (t) => {
  const of = (type: number, hex: string) => t.must(decodeStun(binding().add(type, fromHex(hex)).build()));
  for (const hex of [
    "",
    "0001",
    "0003 0001 01020304",
    "0001 0001 010203",
    "0002 0001 01020304",
    "0001 0001 0102030405",
  ]) {
    t.equal(getXorAddress(of(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, hex), STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS), null);
    t.equal(getAddress(of(STUN_ATTRIBUTE.MAPPED_ADDRESS, hex), STUN_ATTRIBUTE.MAPPED_ADDRESS), null);
  }
  for (const hex of ["", "000004", "00000200", "00000700", "00000464"]) {
    t.equal(getErrorCode(of(STUN_ATTRIBUTE.ERROR_CODE, hex)), null, hex);
  }
  t.equal(getU32(of(STUN_ATTRIBUTE.PRIORITY, "010203"), STUN_ATTRIBUTE.PRIORITY), null);
  t.equal(getU64(of(STUN_ATTRIBUTE.ICE_CONTROLLED, "01020304"), STUN_ATTRIBUTE.ICE_CONTROLLED), null);
  t.equal(getUnknownAttributes(of(STUN_ATTRIBUTE.UNKNOWN_ATTRIBUTES, "010203")), null);
  t.equal(getChannelNumber(of(STUN_ATTRIBUTE.CHANNEL_NUMBER, "4000")), null);
});

test("unknown comprehension-required attributes are listed once each, optional and integrity ones are not", (t) => {
  const data = binding()
    .empty(STUN_ATTRIBUTE.USERNAME)
    .empty(0x7ffe)
    .empty(0x8abc)
    .empty(0x0030)
    .empty(0x7ffe)
    .build({ key: KEY, sha256Key: KEY, fingerprint: true });
  const message = t.must(decodeStun(data));
  t.same(unknownComprehensionRequired(message, new Set([STUN_ATTRIBUTE.USERNAME])), [0x7ffe, 0x0030]);
});

test("a message is read in the middle of a larger buffer", (t) => {
  const around = concat(new Uint8Array(7), VECTOR_2_1, new Uint8Array(9));
  const message = t.must(decodeStun(around.subarray(7, 7 + VECTOR_2_1.length)));
  t.ok(verifyIntegrity(message, shortTermKey("VOkJxbRl1RmTxUk/WvJxBt")));
  t.ok(verifyFingerprint(message));
});

test("messages grow as needed, up to what a datagram holds", (t) => {
  const payload = seededRandom(3).bytes(60_000);
  const data = binding().add(STUN_ATTRIBUTE.DATA, payload).build({ key: KEY, fingerprint: true });
  const message = t.must(decodeStun(data));
  t.ok(verifyIntegrity(message, KEY) && verifyFingerprint(message));
  t.same(getBytes(message, STUN_ATTRIBUTE.DATA)?.slice(), payload);
  t.throws(() => binding().add(STUN_ATTRIBUTE.DATA, new Uint8Array(65_520)), StunError);
});

test("bad arguments throw", (t) => {
  t.throws(() => new StunBuilder("request", 1, new Uint8Array(16)), StunError);
  t.throws(() => binding().errorCode(299), StunError);
  t.throws(() => binding().errorCode(700), StunError);
});

test("the CRC is zlib's, at every length", (t) => {
  t.equal(crc32(utf8("123456789")), 0xcbf43926);
  const data = seededRandom(5).bytes(100);
  if (typeof zlib.crc32 !== "function") return; // before Node 20.15
  for (let length = 0; length <= data.length; length++) {
    t.equal(crc32(data, length), zlib.crc32(data.subarray(0, length)));
  }
});

test("transaction keys differ where transaction IDs differ", (t) => {
  const keys = new Set<string>();
  for (let i = 0; i < 12; i++) {
    for (const value of [1, 0xd8, 0xff]) {
      const id = new Uint8Array(12);
      id[i] = value;
      keys.add(transactionKey(id));
    }
  }
  t.equal(keys.size, 36);
});

test("OpaqueString: spaces and composition do not change the key (RFC 8265 §4.2)", (t) => {
  t.same(longTermKey("u", "r", "a\u00a0b\u0065\u0301"), longTermKey("u", "r", "a b\u00e9"));
});

test("reason phrases", (t) => {
  t.equal(stunErrorReason(437), "Allocation Mismatch");
  t.equal(stunErrorReason(499), "Error");
});
