import { fromHex, utf8 } from "@adit/core";
import { test } from "@adit/harness";
import { getBytes, getNonce, getRealm, getUsername, hasAttribute } from "../src/stun/attributes.ts";
import { StunBuilder, type StunBuildOptions } from "../src/stun/builder.ts";
import { longTermKey, longTermKeySha256, verifyIntegrity, verifyIntegritySha256 } from "../src/stun/integrity.ts";
import { LongTermAuth, readChallenge, userHash } from "../src/stun/long-term.ts";
import { decodeStun } from "../src/stun/message.ts";
import { STUN_ATTRIBUTE, STUN_METHOD } from "../src/stun/tables.ts";

const ID = new Uint8Array(12).fill(1);
const CREDENTIALS = { username: "user", password: "pass" };
const SHA256_THEN_MD5 = fromHex("0002 0000 0001 0000");

/** A 401 with these attributes. */
function challengeOf(nonce: string | null, algorithms?: Uint8Array, realm: string | null = "realm") {
  const builder = new StunBuilder("error", STUN_METHOD.ALLOCATE, ID).errorCode(401);
  if (realm !== null) builder.string(STUN_ATTRIBUTE.REALM, realm);
  if (nonce !== null) builder.string(STUN_ATTRIBUTE.NONCE, nonce);
  if (algorithms) builder.add(STUN_ATTRIBUTE.PASSWORD_ALGORITHMS, algorithms);
  const message = decodeStun(builder.build());
  return message && readChallenge(message);
}

const response = (options: StunBuildOptions) =>
  decodeStun(new StunBuilder("success", STUN_METHOD.ALLOCATE, ID).build(options));

test("a plain challenge is answered with USERNAME, REALM, NONCE and MESSAGE-INTEGRITY", (t) => {
  const auth = new LongTermAuth(t.must(challengeOf("n1")), CREDENTIALS);
  const message = t.must(decodeStun(auth.sign(new StunBuilder("request", STUN_METHOD.ALLOCATE, ID))));
  t.equal(getUsername(message), "user");
  t.equal(getRealm(message), "realm");
  t.equal(getNonce(message), "n1");
  const key = longTermKey("user", "realm", "pass");
  t.ok(verifyIntegrity(message, key));
  t.ok(auth.verify(t.must(response({ key }))));
  t.notOk(auth.verify(t.must(response({ key: longTermKey("user", "realm", "other") }))));
  t.notOk(auth.verify(t.must(response({}))));
});

test("password algorithms: the first known one is chosen, the list is echoed, integrity is SHA-256 only", (t) => {
  const auth = new LongTermAuth(t.must(challengeOf("obMatJos2AAABx", SHA256_THEN_MD5)), CREDENTIALS);
  const message = t.must(decodeStun(auth.sign(new StunBuilder("request", STUN_METHOD.ALLOCATE, ID))));
  t.same(getBytes(message, STUN_ATTRIBUTE.PASSWORD_ALGORITHMS)?.slice(), SHA256_THEN_MD5);
  t.same(getBytes(message, STUN_ATTRIBUTE.PASSWORD_ALGORITHM)?.slice(), fromHex("0002 0000"));
  t.notOk(hasAttribute(message, STUN_ATTRIBUTE.MESSAGE_INTEGRITY));
  const key = longTermKeySha256("user", "realm", "pass");
  t.ok(verifyIntegritySha256(message, key));
  t.ok(auth.verify(t.must(response({ sha256Key: key }))));
  t.notOk(auth.verify(t.must(response({ key }))), "SHA-1 would be a bid-down");
});

test("password algorithms: an unknown one is passed over, MD5 keeps its key under SHA-256 integrity", (t) => {
  const challenge = t.must(challengeOf("obMatJos2AAABx", fromHex("00ff 0003 01020300 0001 0000")));
  t.equal(challenge.algorithms?.chosen, 1);
  const auth = new LongTermAuth(challenge, CREDENTIALS);
  const message = t.must(decodeStun(auth.sign(new StunBuilder("request", STUN_METHOD.ALLOCATE, ID))));
  t.ok(verifyIntegritySha256(message, longTermKey("user", "realm", "pass")));
});

test("user name anonymity sends USERHASH and no USERNAME", (t) => {
  const auth = new LongTermAuth(t.must(challengeOf("obMatJos2AAACx")), CREDENTIALS);
  const message = t.must(decodeStun(auth.sign(new StunBuilder("request", STUN_METHOD.ALLOCATE, ID))));
  t.notOk(hasAttribute(message, STUN_ATTRIBUTE.USERNAME));
  t.same(getBytes(message, STUN_ATTRIBUTE.USERHASH)?.slice(), new Uint8Array(userHash("user", "realm")));
  t.ok(verifyIntegrity(message, longTermKey("user", "realm", "pass")));
});

test("challenges that must not be answered (RFC 8489 §9.2.5)", (t) => {
  t.equal(challengeOf(null), null, "no nonce");
  t.equal(challengeOf("n", undefined, null), null, "no realm");
  for (const cookie of ["obMatJos2AAABx", "obMatJos2gAAAx", "obMatJos2gAABx"]) {
    t.equal(challengeOf(cookie), null, "the promised algorithms were taken out");
  }
  t.equal(challengeOf("obMatJos2QAAAx")?.anonymous, true, "bit 1 from the left (§18.1)");
  t.equal(challengeOf("obMatJos2AAACx")?.anonymous, true, "and as appendix B.1 has it");
  t.equal(challengeOf("obMatJos2AAABx", fromHex("00ff 0000")), null, "none is known");
  t.equal(challengeOf("obMatJos2AAABx", new Uint8Array(0)), null, "none at all");
  t.ok(challengeOf("obMatJos2"), "a nonce cut behind the cookie promises nothing");
});

test("a realm longer than a client may make up is echoed as it came", (t) => {
  const realm = utf8("r".repeat(700));
  const challenge = t.must(
    decodeStun(
      new StunBuilder("error", STUN_METHOD.ALLOCATE, ID)
        .add(STUN_ATTRIBUTE.REALM, realm)
        .string(STUN_ATTRIBUTE.NONCE, "n")
        .build(),
    ),
  );
  const auth = new LongTermAuth(t.must(readChallenge(challenge)), CREDENTIALS);
  const message = t.must(decodeStun(auth.sign(new StunBuilder("request", STUN_METHOD.ALLOCATE, ID))));
  t.same(getBytes(message, STUN_ATTRIBUTE.REALM)?.slice(), realm);
});
