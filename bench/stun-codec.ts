/**
 * bun bench/stun-codec.ts [--ms 400]: one connectivity check (RFC 8445) encoded with integrity and fingerprint, decoded, and verified:
 * this project's codec beside the `stun` package, in one run, interleaved. Absolute figures drift with the machine; the ratios count.
 */
import { parseArgs } from "node:util";
import { seededRandom } from "../packages/core/src/index.ts";
import {
  decodeStun,
  STUN_ATTRIBUTE,
  STUN_METHOD,
  StunBuilder,
  shortTermKey,
  verifyFingerprint,
  verifyIntegrity,
} from "../packages/ice/src/index.ts";

const { values } = parseArgs({
  options: { ms: { type: "string", default: "400" }, rounds: { type: "string", default: "5" } },
});
const roundMs = Number(values.ms);
const rounds = Number(values.rounds);

const USERNAME = "remote:local";
const PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt";
const PRIORITY = 0x6e_00_01_ff;
const TIE_BREAKER = 0x932f_f9b1_5126_3b36n;
const id = seededRandom(1).bytes(12);
const key = shortTermKey(PASSWORD);

function encode(): Uint8Array {
  return new StunBuilder("request", STUN_METHOD.BINDING, id)
    .string(STUN_ATTRIBUTE.USERNAME, USERNAME)
    .u32(STUN_ATTRIBUTE.PRIORITY, PRIORITY)
    .u64(STUN_ATTRIBUTE.ICE_CONTROLLING, TIE_BREAKER)
    .build({ key, fingerprint: true });
}

interface StunPackage {
  createMessage(type: number, id?: Buffer): PeerMessage;
  decode(data: Buffer): PeerMessage;
  encode(message: PeerMessage): Buffer;
  validateFingerprint(message: PeerMessage): boolean;
  validateMessageIntegrity(message: PeerMessage, key: string): boolean;
  constants: { STUN_BINDING_REQUEST: number };
}
interface PeerMessage {
  addUsername(name: string): void;
  addPriority(value: number): void;
  addIceControlling(value: Buffer): void;
  addMessageIntegrity(key: string): void;
  addFingerprint(): void;
}
const { default: stun } = (await import("stun")) as unknown as { default: StunPackage };
const tieBreaker = Buffer.alloc(8);
tieBreaker.writeBigUInt64BE(TIE_BREAKER);

function encodePeer(): Buffer {
  const message = stun.createMessage(stun.constants.STUN_BINDING_REQUEST, Buffer.from(id));
  message.addUsername(USERNAME);
  message.addPriority(PRIORITY);
  message.addIceControlling(tieBreaker);
  message.addMessageIntegrity(PASSWORD);
  message.addFingerprint();
  return stun.encode(message);
}

const bytes = encode();
const peerBytes = encodePeer();
const ours = decodeStun(bytes);
const theirs = stun.decode(peerBytes);
// Each in its own hand: the two do not pad alike, and a bench of failures would measure nothing.
if (!ours || !verifyIntegrity(ours, key) || !verifyFingerprint(ours)) throw new Error("our check does not verify");
if (!stun.validateMessageIntegrity(theirs, PASSWORD)) throw new Error("the peer's check does not verify");

let sink = 0;
const contests: readonly [string, () => number, () => number][] = [
  ["encode, signed and fingerprinted", () => encode().length, () => encodePeer().length],
  ["decode", () => decodeStun(bytes)?.attributes.length ?? 0, () => Number(stun.decode(peerBytes) !== null)],
  [
    "verify integrity and fingerprint",
    () => Number(verifyIntegrity(ours, key)) + Number(verifyFingerprint(ours)),
    () => Number(stun.validateMessageIntegrity(theirs, PASSWORD)) + Number(stun.validateFingerprint(theirs)),
  ],
];

/** Nanoseconds per call, over `ms`. */
function measure(fn: () => number, ms: number): number {
  const begun = performance.now();
  let calls = 0;
  let elapsed = 0;
  do {
    for (let i = 0; i < 200; i++) sink += fn();
    calls += 200;
    elapsed = performance.now() - begun;
  } while (elapsed < ms);
  return (elapsed * 1e6) / calls;
}

const median = (of: number[]): number => of.sort((a, b) => a - b)[of.length >> 1] ?? Number.NaN;

console.log(
  `${"".padEnd(34)} ${"ours".padStart(10)} ${"stun".padStart(10)} ${"ratio".padStart(7)}   ns per operation, median of ${rounds}`,
);
for (const [name, our, their] of contests) {
  measure(our, roundMs / 4);
  measure(their, roundMs / 4);
  const samples: { ours: number; stun: number }[] = [];
  for (let i = 0; i < rounds; i++) samples.push({ ours: measure(our, roundMs), stun: measure(their, roundMs) });
  const a = median(samples.map((sample) => sample.ours));
  const b = median(samples.map((sample) => sample.stun));
  const ratio = median(samples.map((sample) => sample.stun / sample.ours));
  console.log(
    `${name.padEnd(34)} ${a.toFixed(0).padStart(10)} ${b.toFixed(0).padStart(10)} ${`${ratio.toFixed(1)}x`.padStart(7)}`,
  );
}
if (sink === 0) throw new Error("nothing was measured");
