/** Our codec against the `stun` package, written by others: each reads what the other writes, from seeded random messages. */
import { type Random, randomInt, SocketAddress, seededRandom } from "@adit/core";
import { type T, test } from "@adit/harness";
import stun, { type ForeignMessage, type ForeignRequest } from "stun";
import {
  getAddress,
  getBytes,
  getErrorCode,
  getString,
  getU32,
  getUnknownAttributes,
  getXorAddress,
  hasAttribute,
} from "../src/stun/attributes.ts";
import { StunBuilder } from "../src/stun/builder.ts";
import { shortTermKey, verifyFingerprint, verifyIntegrity } from "../src/stun/integrity.ts";
import { decodeStun, type StunClass, type StunMessage } from "../src/stun/message.ts";
import { STUN_ATTRIBUTE, STUN_METHOD } from "../src/stun/tables.ts";

/** Message types as RFC 5389 prints them, so that neither side's arithmetic is taken for granted. */
const BINDING_TYPE: Record<StunClass, number> = { request: 0x0001, indication: 0x0011, success: 0x0101, error: 0x0111 };

/** One message, in words that both sides can say. */
interface Sample {
  readonly class: StunClass;
  readonly id: Uint8Array;
  readonly parts: readonly Part[];
  readonly password: string | null;
  readonly fingerprint: boolean;
}

type Part =
  | { readonly is: "text"; readonly type: number; readonly text: string }
  | { readonly is: "xor"; readonly address: SocketAddress }
  | { readonly is: "plain"; readonly address: SocketAddress }
  | { readonly is: "priority"; readonly value: number }
  | { readonly is: "use-candidate" }
  | { readonly is: "tie-breaker"; readonly type: number; readonly bytes: Uint8Array }
  | { readonly is: "error"; readonly code: number; readonly reason: string }
  | { readonly is: "unknown"; readonly types: number[] };

const ROUNDS = 400;

test("what we write, the stun package reads and verifies", (t) => {
  eachSample(t, (sample) => {
    const theirs = stun.decode(Buffer.from(writeOurs(sample)));
    t.equal(theirs.type, BINDING_TYPE[sample.class]);
    t.same(new Uint8Array(theirs.transactionId), sample.id);
    for (const part of sample.parts) checkTheirs(t, theirs, part);
    // It checks what it would write itself, and it misreads error codes (see below): such a message it cannot check.
    if (sample.parts.some((part) => part.is === "error" && part.code % 100 !== 0)) return;
    if (sample.password !== null) {
      t.ok(stun.validateMessageIntegrity(theirs, sample.password));
      t.notOk(stun.validateMessageIntegrity(theirs, `${sample.password}x`));
    }
    if (sample.fingerprint) t.ok(stun.validateFingerprint(theirs));
  });
});

test("what the stun package writes, we read and verify", (t) => {
  eachSample(t, (sample) => {
    const ours = t.must(decodeStun(new Uint8Array(writeTheirs(sample))));
    t.equal(ours.class, sample.class);
    t.equal(ours.method, STUN_METHOD.BINDING);
    t.same(ours.transactionId.slice(), sample.id);
    for (const part of sample.parts) checkOurs(t, ours, part);
    if (sample.password !== null) {
      t.ok(verifyIntegrity(ours, shortTermKey(sample.password)));
      t.notOk(verifyIntegrity(ours, shortTermKey(`${sample.password}x`)));
    }
    t.equal(verifyFingerprint(ours), sample.fingerprint);
  });
});

test("both write the same bytes", (t) => {
  eachSample(t, (sample) => {
    t.same(writeOurs(sample).slice(), new Uint8Array(writeTheirs(sample)));
  });
});

function eachSample(t: T, check: (sample: Sample) => void): void {
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const sample = makeSample(seededRandom(seed));
    try {
      check(sample);
    } catch (error) {
      console.error(`seed ${seed}`, sample);
      throw error;
    }
  }
  t.ok(true);
}

function makeSample(random: Random): Sample {
  const classes = ["request", "success", "error", "indication"] as const;
  const messageClass = classes[randomInt(random, classes.length)] ?? "request";
  const all = candidateParts(random, messageClass);
  return {
    class: messageClass,
    id: random.bytes(12),
    parts: all.filter(() => random.float() < 0.5),
    password: random.float() < 0.7 ? text(random, 22) : null,
    fingerprint: random.float() < 0.7,
  };
}

function candidateParts(random: Random, messageClass: StunClass): Part[] {
  const port = () => randomInt(random, 65_536);
  const address = () => SocketAddress.fromBytes(random.bytes(random.float() < 0.5 ? 4 : 16), port());
  const word = (type: number): Part => ({ is: "text", type, text: text(random, 1 + randomInt(random, 40)) });
  const parts: Part[] = [
    word(STUN_ATTRIBUTE.SOFTWARE),
    word(STUN_ATTRIBUTE.USERNAME),
    word(STUN_ATTRIBUTE.REALM),
    word(STUN_ATTRIBUTE.NONCE),
    { is: "xor", address: address() },
    { is: "plain", address: address() },
    { is: "priority", value: randomInt(random, 0x7fffffff) },
    { is: "use-candidate" },
  ];
  if (messageClass === "request") {
    const type = random.float() < 0.5 ? STUN_ATTRIBUTE.ICE_CONTROLLED : STUN_ATTRIBUTE.ICE_CONTROLLING;
    parts.push({ is: "tie-breaker", type, bytes: random.bytes(8) });
  }
  if (messageClass === "error") {
    parts.push({ is: "error", code: 300 + randomInt(random, 400), reason: text(random, 10) });
    parts.push({ is: "unknown", types: [...random.bytes(1 + randomInt(random, 5))].map((byte) => 0x40 + byte) });
  }
  return parts;
}

function text(random: Random, length: number): string {
  return [...random.bytes(length)].map((byte) => String.fromCharCode(33 + (byte % 94))).join("");
}

function writeOurs(sample: Sample): Uint8Array {
  const builder = new StunBuilder(sample.class, STUN_METHOD.BINDING, sample.id);
  for (const part of sample.parts) {
    if (part.is === "text") builder.string(part.type, part.text);
    else if (part.is === "xor") builder.xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, part.address);
    else if (part.is === "plain") builder.address(STUN_ATTRIBUTE.MAPPED_ADDRESS, part.address);
    else if (part.is === "priority") builder.u32(STUN_ATTRIBUTE.PRIORITY, part.value);
    else if (part.is === "use-candidate") builder.empty(STUN_ATTRIBUTE.USE_CANDIDATE);
    else if (part.is === "tie-breaker") builder.u64(part.type, Buffer.from(part.bytes).readBigUInt64BE());
    else if (part.is === "error") builder.errorCode(part.code, part.reason);
    else builder.unknownAttributes(part.types);
  }
  const key = sample.password === null ? null : shortTermKey(sample.password);
  return builder.build({ key, fingerprint: sample.fingerprint });
}

function writeTheirs(sample: Sample): Buffer {
  const message = stun.createMessage(BINDING_TYPE[sample.class], Buffer.from(sample.id));
  for (const part of sample.parts) addTheirs(message, part);
  if (sample.password !== null) message.addMessageIntegrity(sample.password);
  if (sample.fingerprint) message.addFingerprint();
  return message.toBuffer();
}

function addTheirs(message: ForeignRequest, part: Part): void {
  if (part.is === "text") message.addAttribute(part.type, part.text);
  else if (part.is === "xor") message.addXorAddress(part.address.ip, part.address.port);
  else if (part.is === "plain") message.addAddress(part.address.ip, part.address.port);
  else if (part.is === "priority") message.addPriority(part.value);
  else if (part.is === "use-candidate") message.addUseCandidate();
  else if (part.is === "tie-breaker") message.addAttribute(part.type, Buffer.from(part.bytes));
  else if (part.is === "error") message.addError(part.code, part.reason);
  else message.addUnknownAttributes(part.types);
}

function checkTheirs(t: T, theirs: ForeignMessage, part: Part): void {
  const value = (type: number) => theirs.getAttribute(type)?.value;
  const address = (type: number) => {
    const { address, port } = value(type) as { address: string; port: number };
    return SocketAddress.of(address, port).key;
  };
  if (part.is === "text") t.equal(String(value(part.type)), part.text);
  else if (part.is === "xor") t.equal(address(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS), part.address.key);
  else if (part.is === "plain") t.equal(address(STUN_ATTRIBUTE.MAPPED_ADDRESS), part.address.key);
  else if (part.is === "use-candidate") t.ok(theirs.hasAttribute(STUN_ATTRIBUTE.USE_CANDIDATE));
  else if (part.is === "tie-breaker") t.same(new Uint8Array(value(part.type) as Buffer), part.bytes);
  else if (part.is === "error") {
    const error = value(STUN_ATTRIBUTE.ERROR_CODE) as { code: number; reason: string };
    // The package multiplies where it should add: class * (number + 100).
    t.equal(error.code, Math.floor(part.code / 100) * ((part.code % 100) + 100));
    t.equal(error.reason, part.reason);
  } else if (part.is === "unknown") t.same(value(STUN_ATTRIBUTE.UNKNOWN_ATTRIBUTES), part.types);
  else t.equal(value(STUN_ATTRIBUTE.PRIORITY), part.value);
}

function checkOurs(t: T, ours: StunMessage, part: Part): void {
  if (part.is === "text") t.equal(getString(ours, part.type), part.text);
  else if (part.is === "xor") t.equal(getXorAddress(ours, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS)?.key, part.address.key);
  else if (part.is === "plain") t.equal(getAddress(ours, STUN_ATTRIBUTE.MAPPED_ADDRESS)?.key, part.address.key);
  else if (part.is === "priority") t.equal(getU32(ours, STUN_ATTRIBUTE.PRIORITY), part.value);
  else if (part.is === "use-candidate") t.ok(hasAttribute(ours, STUN_ATTRIBUTE.USE_CANDIDATE));
  else if (part.is === "tie-breaker") t.same(getBytes(ours, part.type)?.slice(), part.bytes);
  else if (part.is === "error") t.same(getErrorCode(ours), { code: part.code, reason: part.reason });
  else t.same(getUnknownAttributes(ours), part.types);
}
