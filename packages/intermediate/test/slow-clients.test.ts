/** Clients that read or speak slowly: what they make the server keep is bounded for all together, and the greediest address pays. */
import { SocketAddress, seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { Identity } from "@adit/quic";
import { type SignalingMessage, signalingCodec } from "@adit/signaling";
import { SlowClients } from "../src/slow-clients.ts";
import { type FakeTls, hello, TlsStage } from "./tls-kit.ts";

const from = (ip: string): SocketAddress => SocketAddress.of(ip, 4000);

test("past the bound the address that holds most loses who has held something for longest", (t) => {
  const slow = new SlowClients<string>(1_000);
  slow.note("modest", from("8.8.8.8"), 400);
  slow.note("first", from("9.9.9.9"), 200);
  slow.note("second", from("9.9.9.9"), 300);
  t.same(slow.takeExcess(), []);
  slow.note("third", from("9.9.9.9"), 150);
  t.equal(slow.bytes, 1_050);
  t.same(slow.takeExcess(), ["first"]);
  t.equal(slow.bytes, 850);
  // Who caught up is last in the row when it falls behind again.
  slow.note("second", from("9.9.9.9"), 0);
  slow.note("second", from("9.9.9.9"), 500);
  t.same(slow.takeExcess(), ["third"]);
  t.equal(slow.bytes, 900);
});

test("an IPv6 /64 is one address; several are cut at once, down to the bound and no further", (t) => {
  const slow = new SlowClients<number>(1_000);
  for (let i = 0; i < 10; i++) slow.note(i, from(`2001:db8::${i + 1}`), 150);
  slow.note(99, from("2001:db8:0:1::1"), 450);
  t.same(slow.takeExcess(), [0, 1, 2, 3, 4, 5, 6]);
  t.equal(slow.bytes, 900);
});

const MAX_HELD_BYTES = 1 << 20;

/** Has the server answer, and does not read it. */
function askAndNotRead(stage: TlsStage, client: FakeTls, answers: number): void {
  client.reads = false;
  const nobody: SignalingMessage = { type: "connect", sessionId: 1n, target: "n".repeat(40), expectedPeer: null };
  const frame = signalingCodec.encodeFrame(nobody);
  for (let i = 0; i < answers && client.isOpen; i++) {
    client.emit("data", frame);
    stage.turn();
  }
}

test("agents that ask and do not read are cut when all hold too much: the greediest address, and nobody else", (t) => {
  const stage = new TlsStage(seededRandom(1), { maxHeldBytes: MAX_HELD_BYTES });
  const join = (ip: string): FakeTls => {
    const client = stage.open(Identity.generate().certificate, ip).says(hello("agent"));
    stage.turn();
    return client;
  };
  const modest = join("8.8.8.8");
  askAndNotRead(stage, modest, 500);
  const before = stage.server.heldBytes;
  t.ok(before > 100_000, `${before} bytes wait for it`);
  const greedy = Array.from({ length: 12 }, () => join("9.9.9.9"));
  for (const client of greedy) client.closesAtOnce = false;
  for (const client of greedy) {
    askAndNotRead(stage, client, 1_500);
    t.ok(stage.server.heldBytes <= MAX_HELD_BYTES, `${stage.server.heldBytes} bytes`);
  }
  const cut = greedy.filter(({ isOpen }) => !isOpen);
  t.ok(cut.length > 0 && cut.length < greedy.length, `${cut.length} were cut`);
  t.same(greedy.slice(0, cut.length), cut, "those that had held something for longest");
  t.equal(stage.server.drops.get("slow-client"), cut.length);
  t.ok(modest.isOpen);
  // Who reads again is told all of it, and holds nothing.
  modest.reads = true;
  modest.emit("drain");
  stage.turn();
  t.equal(modest.heard.filter(({ type }) => type === "error").length, 500);
  for (const client of greedy) {
    client.destroy();
    client.emit("close");
  }
  stage.turn();
  t.equal(stage.server.heldBytes, 0);
  t.equal(stage.server.clientCount, 1);
});

test("messages that are begun and not finished count as well, and end after 30 s", (t) => {
  const stage = new TlsStage(seededRandom(2), { maxHeldBytes: MAX_HELD_BYTES });
  const half = Uint8Array.from([0, 0, 0xff, 0xff, ...new Uint8Array(60_000)]);
  const dribblers = Array.from({ length: 32 }, () => {
    const client = stage.open(Identity.generate().certificate, "9.9.9.9").says(hello("agent"));
    client.emit("data", half);
    stage.turn();
    return client;
  });
  t.ok(stage.server.heldBytes <= MAX_HELD_BYTES);
  const standing = dribblers.filter(({ isOpen }) => isOpen);
  t.ok(standing.length > 10 && standing.length < dribblers.length, `${standing.length} stand`);
  stage.transmit();
  // A byte now and then keeps nobody.
  for (let i = 0; i < 31; i++) {
    stage.now += 1_000;
    for (const client of standing) if (client.isOpen) client.emit("data", new Uint8Array(1));
    stage.turn();
    stage.transmit();
  }
  stage.now += 2_000; // the last words
  stage.turn();
  t.same(standing.filter(({ isOpen }) => isOpen).length, 0);
  t.equal(stage.server.heldBytes, 0);
  const told = standing[0]?.heard.at(-1);
  t.ok(
    told?.type === "error" && told.code === "timeout",
    JSON.stringify(told, (_, v) => (typeof v === "bigint" ? `${v}` : v)),
  );
});
