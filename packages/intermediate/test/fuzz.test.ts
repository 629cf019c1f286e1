/** Hostile bytes at every door of the intermediate: nothing throws, what stands goes on, and nobody is sent much more than he sent. */
import { randomInt, seededRandom } from "@adit/core";
import { FUZZ, fuzzInputs, fuzzSeed, test } from "@adit/harness";
import { frameForStream, STUN_ATTRIBUTE, STUN_METHOD, StreamDeframer, StunBuilder } from "@adit/ice";
import { mutate, pick } from "./mutate.ts";
import { address, alice, CLIENT, outcome, PEER, RelayKit, type Sender, sendIndication, udp } from "./relay-kit.ts";
import { SignalingKit } from "./signaling-kit.ts";

/** What a refusal may have beyond its request: ERROR-CODE, REALM, NONCE and PASSWORD-ALGORITHMS. */
const REFUSAL_BYTES = 110;

const STRANGER = address("7.7.7.7:7777");

/** Messages of each kind that a TURN server understands, signed where they have to be. */
function messages(kit: RelayKit, sender: Sender): Uint8Array[] {
  const channel = (b: StunBuilder) => b.channelNumber(0x4001).xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, PEER);
  const reserve = (b: StunBuilder) =>
    udp(b).add(STUN_ATTRIBUTE.EVEN_PORT, Uint8Array.of(0x80)).u8(STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY, 1);
  return [
    new StunBuilder("request", STUN_METHOD.BINDING, kit.transactionId()).build({ fingerprint: true }),
    kit.bytes(sender, STUN_METHOD.ALLOCATE, udp),
    kit.bytes(sender, STUN_METHOD.ALLOCATE, reserve),
    kit.bytes(sender, STUN_METHOD.REFRESH, (b) => b.u32(STUN_ATTRIBUTE.LIFETIME, 600)),
    kit.bytes(sender, STUN_METHOD.CREATE_PERMISSION, (b) => b.xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, PEER)),
    kit.bytes(sender, STUN_METHOD.CHANNEL_BIND, channel),
    sendIndication(PEER, new Uint8Array(40)),
    Uint8Array.of(0x40, 0x01, 0, 4, 1, 2, 3, 4),
  ];
}

test(
  "STUN and TURN over UDP take any bytes",
  (t) => {
    const seed = fuzzSeed(1);
    const random = seededRandom(seed);
    const kit = new RelayKit({ relayIp6: "2606:4700::4", dontFragment: true });
    kit.allocate(alice());
    kit.permit(alice(), PEER);
    const [own, strange] = [messages(kit, alice()), messages(kit, alice(STRANGER))];
    const inputs = fuzzInputs(100_000);
    for (let i = 0; i < inputs; i++) {
      const from = i % 3 === 0 ? CLIENT : STRANGER;
      const valid = from === CLIENT ? own : strange;
      const data = mutate(random, pick(random, valid), pick(random, valid));
      kit.now += 1;
      const sent = kit.datagram(from, data);
      if (from === CLIENT) continue;
      const bytes = sent.filter(({ to }) => to.equals(from)).reduce((sum, { data }) => sum + data.length, 0);
      if (bytes > data.length + REFUSAL_BYTES) t.fail(`seed ${seed}, input ${i}: ${bytes} bytes for ${data.length}`);
    }
    // What was mutated may have ended or refreshed the allocation; a right request is still answered rightly.
    kit.refresh(alice(), 0);
    kit.advance(1_000_000);
    t.equal(kit.server.stats.allocations, 0, `seed ${seed}: nothing is left over`);
    t.equal(outcome(kit.allocate(alice())), "success", `seed ${seed}`);
  },
  FUZZ,
);

test(
  "STUN and TURN over a stream take any bytes, in pieces of any size",
  (t) => {
    const seed = fuzzSeed(2);
    const random = seededRandom(seed);
    const kit = new RelayKit();
    const valid = messages(kit, alice(STRANGER)).map((message) => frameForStream([message]));
    let deframer = new StreamDeframer(2048);
    let messagesSeen = 0;
    const inputs = fuzzInputs(100_000);
    for (let i = 0; i < inputs; i++) {
      const good = randomInt(random, 4) > 0;
      const bytes = good ? pick(random, valid) : mutate(random, pick(random, valid), pick(random, valid));
      const cut = randomInt(random, bytes.length + 1);
      kit.now += 1;
      for (const piece of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
        deframer.push(piece, (message) => {
          messagesSeen++;
          kit.datagram(STRANGER, message);
        });
      }
      // The listener closes such a connection; the next client has a fresh one.
      if (deframer.fault || i % 50 === 0) deframer = new StreamDeframer(2048);
    }
    t.ok(messagesSeen > inputs / 10, `seed ${seed}: ${messagesSeen} messages came through`);
    t.equal(outcome(kit.allocate(alice())), "success", `seed ${seed}`);
  },
  FUZZ,
);

test(
  "a signaling server takes any datagram, and serves on",
  async (t) => {
    const seed = fuzzSeed(3);
    const random = seededRandom(seed);
    const kit = new SignalingKit();
    const witness = kit.join("connector", { name: "witness" });
    await kit.until("the witness is registered", () => witness.client.isRegistered);
    // What a client says from its first packet on, recorded.
    const recorded: Uint8Array[] = [];
    const model = kit.join("connector", { name: "model", port: 4_242 });
    const turn = model.turn.bind(model);
    model.turn = (now) => {
      const packets = turn(now);
      recorded.push(...packets.map((packet) => packet.slice()));
      return packets;
    };
    await kit.until("the model is registered", () => model.client.isRegistered);
    t.ok(recorded.length >= 3);
    const inputs = fuzzInputs(100_000);
    for (let i = 0; i < inputs; i++) {
      const data = i % 20 === 0 ? random.bytes(1_200) : mutate(random, pick(random, recorded), pick(random, recorded));
      kit.server.entrance.handleDatagram(kit.now, address(`9.${i & 255}.9.9:${1_000 + (i & 1023)}`), data);
      if (i % 200 !== 0) continue;
      kit.server.handleTimeout(kit.now);
      kit.server.drain(kit.now);
      while (kit.server.pollTransmit());
    }
    t.ok(kit.server.entrance.handshakeCount <= 512, `seed ${seed}: ${kit.server.entrance.handshakeCount} handshakes`);
    kit.skewMs += 30_000; // those that never answer are given up
    await kit.until("they are gone", () => kit.server.entrance.handshakeCount === 0);
    const late = kit.join("connector", { name: "late", ip: "8.8.4.4" });
    await kit.until("a new client is served", () => late.client.isRegistered);
  },
  FUZZ,
);
