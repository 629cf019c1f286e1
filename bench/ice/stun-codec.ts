/**
 * bun bench/ice/stun-codec.ts [--ms 400]: one connectivity check (RFC 8445) encoded with integrity and fingerprint, decoded, and
 * verified: this project's codec beside the `stun` package and werift's, in one run, interleaved. Absolute figures drift with the
 * machine; the ratios count.
 */
import { parseArgs } from "node:util";
import { classes, Message, methods, parseMessage } from "werift-ice";
import { seededRandom } from "../../packages/core/src/index.ts";
import {
  decodeStun,
  getU32,
  getU64,
  getUsername,
  STUN_ATTRIBUTE,
  STUN_METHOD,
  StunBuilder,
  type StunMessage,
  shortTermKey,
  verifyFingerprint,
  verifyIntegrity,
} from "../../packages/ice/src/index.ts";

const { values } = parseArgs({
  options: { ms: { type: "string", default: "300" }, rounds: { type: "string", default: "5" } },
});
const roundMs = Number(values.ms);
const rounds = Number(values.rounds);

const USERNAME = "remote:local";
const PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt";
const PRIORITY = 0x6e_00_01_ff;
const TIE_BREAKER = 0x932f_f9b1_5126_3b36n;
const id = Buffer.from(seededRandom(1).bytes(12));
const key = shortTermKey(PASSWORD);
const keyBuffer = Buffer.from(key);

// --- ours

const encode = (): Uint8Array =>
  new StunBuilder("request", STUN_METHOD.BINDING, id)
    .string(STUN_ATTRIBUTE.USERNAME, USERNAME)
    .u32(STUN_ATTRIBUTE.PRIORITY, PRIORITY)
    .u64(STUN_ATTRIBUTE.ICE_CONTROLLING, TIE_BREAKER)
    .build({ key, fingerprint: true });

function read(message: StunMessage | null): number {
  if (!message) throw new Error("our own check does not decode");
  const same = getUsername(message) === USERNAME && getU32(message, STUN_ATTRIBUTE.PRIORITY) === PRIORITY;
  return Number(same && getU64(message, STUN_ATTRIBUTE.ICE_CONTROLLING) === TIE_BREAKER);
}

const verify = (message: StunMessage | null): number =>
  Number(message !== null && verifyIntegrity(message, key) && verifyFingerprint(message));

// --- the `stun` package, which has no types of its own

interface StunPackage {
  createMessage(type: number, id?: Buffer): PackageMessage;
  decode(data: Buffer): PackageMessage;
  encode(message: PackageMessage): Buffer;
  validateFingerprint(message: PackageMessage): boolean;
  validateMessageIntegrity(message: PackageMessage, key: string): boolean;
  constants: { STUN_BINDING_REQUEST: number };
}
interface PackageMessage {
  addUsername(name: string): void;
  addPriority(value: number): void;
  addIceControlling(value: Buffer): void;
  addMessageIntegrity(key: string): void;
  addFingerprint(): void;
  getAttribute(type: number): { readonly value: unknown } | undefined;
}
// @ts-expect-error: no types
const { default: stun } = (await import("stun")) as unknown as { default: StunPackage };
const tieBreaker = Buffer.alloc(8);
tieBreaker.writeBigUInt64BE(TIE_BREAKER);

function encodeStun(): Buffer {
  const message = stun.createMessage(stun.constants.STUN_BINDING_REQUEST, id);
  message.addUsername(USERNAME);
  message.addPriority(PRIORITY);
  message.addIceControlling(tieBreaker);
  message.addMessageIntegrity(PASSWORD);
  message.addFingerprint();
  return stun.encode(message);
}

function readStun(message: PackageMessage): number {
  const value = (type: number) => message.getAttribute(type)?.value;
  const same = `${value(STUN_ATTRIBUTE.USERNAME)}` === USERNAME && value(STUN_ATTRIBUTE.PRIORITY) === PRIORITY;
  return Number(same && tieBreaker.equals(value(STUN_ATTRIBUTE.ICE_CONTROLLING) as Buffer));
}

const verifyStun = (message: PackageMessage): number =>
  Number(stun.validateMessageIntegrity(message, PASSWORD) && stun.validateFingerprint(message));

// --- werift's

const encodeWerift = (): Buffer =>
  new Message(methods.BINDING, classes.REQUEST, id)
    .setAttribute("USERNAME", USERNAME)
    .setAttribute("PRIORITY", PRIORITY)
    .setAttribute("ICE-CONTROLLING", TIE_BREAKER)
    .addMessageIntegrity(keyBuffer)
    .addFingerprint().bytes;

function readWerift(message: Message | undefined): number {
  if (!message) throw new Error("werift's check does not decode");
  const same = message.getAttributeValue("USERNAME") === USERNAME && message.getAttributeValue("PRIORITY") === PRIORITY;
  return Number(same && message.getAttributeValue("ICE-CONTROLLING") === TIE_BREAKER);
}

// --- the contest

const ours = encode();
const theirs = encodeStun();
const werift = encodeWerift();
/** What each does, or null where it has no call for that alone. A result of 0 is a failure, and ends the run. */
const contests: readonly [string, () => number, (() => number) | null, (() => number) | null][] = [
  ["encode, signed and fingerprinted", () => encode().length, () => encodeStun().length, () => encodeWerift().length],
  [
    "decode",
    () => decodeStun(ours)?.attributes.length ?? 0,
    () => Number(stun.decode(theirs) !== null),
    () => Number(parseMessage(werift) !== undefined),
  ],
  // Our attributes are views made when they are asked for: a decoder that nobody asks would flatter itself.
  [
    "decode and read three attributes",
    () => read(decodeStun(ours)),
    () => readStun(stun.decode(theirs)),
    () => readWerift(parseMessage(werift)),
  ],
  [
    "decode and verify",
    () => verify(decodeStun(ours)),
    // In its own hand: the two do not pad alike.
    () => verifyStun(stun.decode(theirs)),
    () => Number(parseMessage(werift, keyBuffer) !== undefined),
  ],
];

/** Nanoseconds per call, over `ms`. */
function measure(what: () => number, ms: number): number {
  const begun = performance.now();
  let calls = 0;
  let elapsed = 0;
  do {
    for (let i = 0; i < 200; i++) if (what() === 0) throw new Error("a call failed: its time means nothing");
    calls += 200;
    elapsed = performance.now() - begun;
  } while (elapsed < ms);
  return (elapsed * 1e6) / calls;
}

const median = (of: number[]): number => of.sort((a, b) => a - b)[of.length >> 1] ?? Number.NaN;

console.log(`ns per operation, median of ${rounds}`.padEnd(36), "    ours      stun             werift");
for (const [name, ...contestants] of contests) {
  const samples: number[][] = contestants.map(() => []);
  for (let round = -1; round < rounds; round++) {
    contestants.forEach((what, i) => {
      const ns = what ? measure(what, round < 0 ? roundMs / 4 : roundMs) : Number.NaN;
      if (round >= 0) samples[i]?.push(ns);
    });
  }
  const [our = Number.NaN, ...others] = samples.map(median);
  const cells = others.map((ns) => `${ns.toFixed(0).padStart(9)} ${`(${(ns / our).toFixed(1)}x)`.padStart(8)}`);
  console.log(name.padEnd(36), our.toFixed(0).padStart(8), ...cells);
}
