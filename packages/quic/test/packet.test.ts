import { fromHex, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { ConnectionIdTable } from "../src/connection-ids.ts";
import { type MalformedReason, mayBeFirstInitial, parsePacketHeader } from "../src/packet.ts";

/** RFC 9001 §A.2: the protected header of the sample client Initial, to the end of the source connection ID length. */
const INITIAL = "c000000001088394c8f03e5157080000449e7b9aec34";

test("the client Initial of RFC 9001 §A.2 is read", (t) => {
  const data = new Uint8Array(1200);
  data.set(fromHex(INITIAL));
  const header = parsePacketHeader(data);
  if (typeof header === "string" || header.form !== "long") return t.fail(String(header));
  t.equal(header.type, "initial");
  t.same(new Uint8Array(header.destinationId), fromHex("8394c8f03e515708"));
  t.equal(header.sourceId.length, 0);
  t.ok(mayBeFirstInitial(header, 1200));
  t.notOk(mayBeFirstInitial(header, 1199), "RFC 9000 §14.1");
});

test("what is no QUIC version 1 packet is named", (t) => {
  const table: [string, MalformedReason][] = [
    ["", "too-short"],
    [`40${"00".repeat(19)}`, "too-short"],
    [`00${"00".repeat(20)}`, "fixed-bit"],
    [`8000000001${"00".repeat(20)}`, "fixed-bit"],
    [`c000000000${"00".repeat(20)}`, "version-negotiation"],
    [`c06b3343cf${"00".repeat(20)}`, "unsupported-version"], // QUIC version 2
    [`c00000000115${"00".repeat(60)}`, "bad-connection-id"], // 21 bytes
    [`c00000000114${"00".repeat(20)}`, "bad-connection-id"], // cut before the source's length
    [`c0000000010015${"00".repeat(60)}`, "bad-connection-id"],
    [`c0000000010014${"00".repeat(19)}`, "bad-connection-id"],
  ];
  for (const [hex, reason] of table) t.equal<unknown>(parsePacketHeader(fromHex(hex)), reason, hex);
});

test("every kind of long header and the short one are told apart, wherever the bytes lie", (t) => {
  for (const [first, type] of [
    [0xc0, "initial"],
    [0xd0, "0rtt"],
    [0xe0, "handshake"],
    [0xf0, "retry"],
  ] as const) {
    const data = fromHex(`ffff${first.toString(16)}000000010400010203020a0b${"00".repeat(20)}`).subarray(2);
    const header = parsePacketHeader(data);
    if (typeof header === "string" || header.form !== "long") return t.fail(String(header));
    t.same([header.type, [...header.destinationId], [...header.sourceId]], [type, [0, 1, 2, 3], [10, 11]]);
    t.notOk(mayBeFirstInitial(header, 1200), "its connection ID is too short (RFC 9000 §7.2)");
  }
  t.same(parsePacketHeader(fromHex(`40${"00".repeat(20)}`)), { form: "short" });
});

test("random bytes never throw", (t) => {
  const random = seededRandom(11);
  for (let i = 0; i < 20_000; i++) {
    const data = random.bytes(Math.floor(random.float() * 60));
    const header = parsePacketHeader(data);
    t.ok(typeof header === "string" || header.form === "short" || header.destinationId.length <= 20, `seed 11, ${i}`);
  }
});

test("connection IDs lead to their owner until they are retired", (t) => {
  const table = new ConnectionIdTable<string>(seededRandom(1));
  const ids = Array.from({ length: 1000 }, (_, i) => {
    const id = table.draw();
    table.add(id, `owner ${i}`);
    return id;
  });
  const packet = new Uint8Array(50);
  ids.forEach((id, i) => {
    packet.set(id, 1);
    t.equal(table.find(packet, 1), `owner ${i}`);
    t.equal(table.find(packet.subarray(0, 20), 1), null, "cut short");
    packet[20] = (packet[20] as number) ^ 1;
    t.equal(table.find(packet, 1), null, "the last byte counts");
  });
  const forged = t.must(ids[5]).slice();
  forged[19] = (forged[19] as number) ^ 1;
  table.retire(forged);
  t.equal(table.size, 1000);
  for (const id of ids) table.retire(id);
  t.equal(table.size, 0);
});

test("a connection ID that begins like another is not drawn", (t) => {
  let draws = 0;
  const same = { bytes: (length: number) => new Uint8Array(length).fill(draws++ < 3 ? 1 : 2), float: () => 0 };
  const table = new ConnectionIdTable<string>(same);
  table.add(table.draw(), "first");
  t.equal(table.draw()[0], 2);
});
