/** Hostile bytes: whatever comes, a parser answers with a message or a SignalingError, and a state machine never throws. */
import { parseSocketAddress, type Random, randomInt, seededRandom } from "@adit/core";
import { FUZZ, fuzzInputs, test } from "@adit/harness";
import {
  type Codec,
  controlCodec,
  FrameReader,
  openServiceCodec,
  SignalingClient,
  SignalingError,
  SignalingServerConnection,
  serviceReplyCodec,
  signalingCodec,
} from "../src/index.ts";
import { forSeeds, Generator } from "./random-message.ts";

/** Each of the seven tests below. */
const SEEDS = fuzzInputs(15_000);

/** Seeds that lie together share so many valid messages: to make one up and to write it down takes longer than all that is tried with it. */
const SHARED_BY = 100;
const SHARED = 10;

/** The valid ones for each seed. A seed alone (ADIT_FUZZ_SEED) gets the same. */
function shared(make: (generator: Generator) => Uint8Array): (seed: number) => readonly Uint8Array[] {
  let [block, valid]: [number, readonly Uint8Array[]] = [-1, []];
  return (seed) => {
    const of = Math.floor(seed / SHARED_BY);
    if (of === block) return valid;
    const generator = new Generator(seededRandom(of));
    [block, valid] = [of, Array.from({ length: SHARED }, () => make(generator))];
    return valid;
  };
}

const pick = (random: Random, from: readonly Uint8Array[]): Uint8Array =>
  from[randomInt(random, from.length)] as Uint8Array;

/** One of: noise, noise behind a valid tag, truncated, bits flipped, a length that lies, two halves glued together. */
function mutate(random: Random, valid: Uint8Array, other: Uint8Array): Uint8Array {
  const out = valid.slice();
  const at = (length: number) => randomInt(random, Math.max(1, length));
  switch (randomInt(random, 6)) {
    case 0:
      return random.bytes(randomInt(random, 300));
    case 1: {
      const noise = random.bytes(4 + randomInt(random, 300));
      new DataView(noise.buffer).setUint32(0, randomInt(random, 24), true);
      return noise;
    }
    case 2:
      return out.subarray(0, at(out.length));
    case 3:
      for (let i = 0; i <= randomInt(random, 4); i++) {
        const index = at(out.length);
        out[index] = (out[index] as number) ^ (1 << randomInt(random, 8));
      }
      return out;
    case 4: {
      const length = random.bytes(8).fill(randomInt(random, 2) === 0 ? 0xff : 0, 1 + randomInt(random, 7));
      if (out.length >= 8) out.set(length, at(out.length - 7));
      return out;
    }
    default:
      return Uint8Array.from([...out.subarray(0, at(out.length)), ...other.subarray(at(other.length))]);
  }
}

function fuzz<M>(name: string, codec: Codec<M>, make: (generator: Generator) => M): void {
  test(
    `${name}: ${SEEDS} seeds of hostile payloads`,
    (t) => {
      let decoded = 0;
      let refused = 0;
      const valid = shared((generator) => codec.encode(make(generator)));
      forSeeds(SEEDS, (seed) => {
        const random = seededRandom(seed);
        const payload = mutate(random, pick(random, valid(seed)), pick(random, valid(seed)));
        let message: M;
        try {
          message = codec.decode(payload);
        } catch (error) {
          if (!(error instanceof SignalingError) || error.code !== "bad-message") throw error;
          refused++;
          return;
        }
        decoded++;
        t.same(codec.decode(codec.encode(message)), message);
      });
      t.ok(decoded > SEEDS / 100 && refused > SEEDS / 10, `${decoded} decoded, ${refused} refused`);
    },
    FUZZ,
  );
}

/** Most random messages carry dozens of candidates; the small ones reach as deep and are faster. */
const small = (generator: Generator) => {
  const message = generator.signaling();
  if ("candidates" in message) return { ...message, candidates: message.candidates.slice(0, 2) };
  if ("peerCandidates" in message) return { ...message, peerCandidates: message.peerCandidates.slice(0, 2) };
  return message;
};
const smallControl = (generator: Generator) => {
  const message = generator.control();
  return "candidates" in message ? { ...message, candidates: message.candidates.slice(0, 2) } : message;
};

fuzz("signaling", signalingCodec, small);
fuzz("control", controlCodec, smallControl);
fuzz("open-service", openServiceCodec, (generator) => generator.openService());
fuzz("service-reply", serviceReplyCodec, (generator) => generator.serviceReply());

test(
  `frames: ${SEEDS} seeds of noise and lying lengths, memory bounded`,
  (t) => {
    forSeeds(SEEDS, (seed) => {
      const random = seededRandom(seed);
      const reader = new FrameReader();
      let fed = 0;
      let taken = 0;
      try {
        for (let i = 0; i < 5; i++) {
          const data = random.bytes(randomInt(random, 100));
          if (data.length >= 4 && random.float() < 0.7) data.fill(0, 0, 3);
          fed += data.length;
          for (const payload of reader.frames(data)) taken += 4 + payload.length;
          t.equal(reader.bufferedBytes, fed - taken);
        }
      } catch (error) {
        if (!(error instanceof SignalingError)) throw error;
        t.equal(reader.bufferedBytes, 0);
      }
    });
  },
  FUZZ,
);

const validFrames = () => shared((generator) => signalingCodec.encodeFrame(small(generator)));

/** A stream of frames, some of them hostile, chopped anywhere. */
function hostileStream(random: Random, first: Uint8Array, valid: readonly Uint8Array[]): Uint8Array[] {
  const parts = [first];
  for (let i = randomInt(random, 4); i >= 0; i--) {
    const frame = pick(random, valid);
    parts.push(random.float() < 0.5 ? frame : mutate(random, frame, first));
  }
  return parts.flatMap((part) => {
    const cut = randomInt(random, part.length + 1);
    return [part.subarray(0, cut), part.subarray(cut)];
  });
}

test(
  `server connection: ${SEEDS} seeds of hostile clients end in an answer, never in an exception`,
  (t) => {
    const closes = new Map<string, number>();
    const frames = validFrames();
    forSeeds(SEEDS, (seed) => {
      const random = seededRandom(seed);
      const connection = new SignalingServerConnection({
        now: 0,
        peerId: "25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkena",
        observed: parseSocketAddress("203.0.113.7:40111"),
        welcome: { peerId: "7ri43dtcdcq2hdnep3iaemhqlaebn3itxizqhlc55oirkseqqasq", turn: null },
        random,
      });
      const hello = signalingCodec.encodeFrame({ type: "hello", version: 1, agent: "x", role: "agent" });
      for (const piece of hostileStream(random, hello, frames(seed))) connection.handleData(1, piece);
      // Left alone, each of them is closed in the end: it never hangs.
      for (let i = 0; i < 10 && !connection.isClosed; i++)
        connection.handleTimeout(t.must(connection.pollTimeout()).at);
      t.ok(connection.isClosed);
      t.equal(connection.pollTimeout(), null);
      let last: { code: string } | null = null;
      for (let event = connection.pollEvent(); event; event = connection.pollEvent()) {
        t.equal(last, null, "an event after close");
        if (event.type === "close") last = event;
      }
      const { code } = t.must(last as { code: string } | null);
      closes.set(code, (closes.get(code) ?? 0) + 1);
      const reader = new FrameReader();
      let type = "";
      for (let bytes = connection.pollBytes(); bytes; bytes = connection.pollBytes()) {
        for (const payload of reader.frames(bytes)) type = signalingCodec.decode(payload).type;
      }
      if (code !== "goodbye" && code !== "ended") t.equal(type, "error");
    });
    for (const code of ["bad-message", "unexpected-message", "timeout"]) t.ok((closes.get(code) ?? 0) > 100, code);
  },
  FUZZ,
);

test(
  `client: ${SEEDS} seeds of hostile intermediates; it reconnects or stops`,
  (t) => {
    const frames = validFrames();
    forSeeds(SEEDS, (seed) => {
      const random = seededRandom(seed);
      const client = new SignalingClient({ role: "connector", name: "office", random });
      client.handleTimeout(0);
      client.handleConnected(1);
      const welcome = signalingCodec.encodeFrame({
        type: "welcome",
        version: 1,
        peerId: "7ri43dtcdcq2hdnep3iaemhqlaebn3itxizqhlc55oirkseqqasq",
        observed: parseSocketAddress("203.0.113.7:40111"),
        turn: null,
      });
      for (const piece of hostileStream(random, welcome, frames(seed))) client.handleData(2, piece);
      let connects = 0;
      for (let i = 0; i < 20 && connects < 2 && !client.isStopped; i++) {
        client.handleTimeout(t.must(client.pollTimeout()).at);
        for (let command = client.pollCommand(); command; command = client.pollCommand()) {
          if (command.type === "connect") connects++;
        }
      }
      t.ok(client.isStopped || connects === 2);
    });
  },
  FUZZ,
);
