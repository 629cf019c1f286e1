import { seededRandom } from "@adit/core";
import { type T, test } from "@adit/harness";
import { type QuicConnection, QuicEndpoint, type QuicEvent } from "../src/index.ts";
import { type NativeConnection, quiche } from "../src/native.ts";
import { MAX_HANDSHAKE_BYTES, MAX_RETIRED_IDS } from "../src/peer-limits.ts";
import { clientSlot, closed, config, now, Pair, pattern, pour, Sink, serverSlot } from "./pair.ts";

/** A client that does with quiche what it likes, and a server of ours. */
class Attack {
  readonly random = seededRandom(11);
  readonly endpoint: QuicEndpoint;
  readonly client: NativeConnection;
  server: QuicConnection | null = null;
  readonly events: QuicEvent[] = [];
  /** Packets that the server sent since the last look. */
  sent = 0;
  readonly #out = new Uint8Array(2048);

  constructor(options: Parameters<typeof config>[1] = {}) {
    this.endpoint = new QuicEndpoint({ random: this.random, server: config("server", options) });
    const { native } = config("client");
    this.client = quiche.Connection.connect(null, this.random.bytes(20), clientSlot(0), serverSlot(0), native);
  }

  deliver(data: Uint8Array, slot: number): void {
    const [local, remote] = [serverSlot(0), clientSlot(slot)];
    const route = this.endpoint.route(data);
    if (route.kind === "initial") this.server = this.endpoint.accept(now(), route.header, local, remote);
    if (route.kind !== "drop") this.server?.recv(now(), data, local, remote);
  }

  /** What the client wants to send arrives, in one batch; then the server's turn. */
  exchange(): void {
    for (let moved = true; moved; ) {
      moved = false;
      for (let sent = this.client.send(this.#out); sent; sent = this.client.send(this.#out)) {
        moved = true;
        this.deliver(this.#out.slice(0, sent[0]), sent[1].from.port - clientSlot(0).port);
      }
      for (let event = this.server?.pollEvent(); event; event = this.server?.pollEvent()) this.events.push(event);
      for (let sent = this.server?.send(this.#out); sent; sent = this.server?.send(this.#out)) {
        moved = true;
        this.sent++;
        this.client.recv(this.#out.slice(0, sent.length), { from: sent.local, to: sent.remote });
      }
    }
  }

  handshake(t: T): this {
    this.exchange();
    t.equal(this.server?.state, "established");
    return this;
  }

  issueIds(): void {
    while (this.client.sourceCidsLeft() > 0) this.client.newSourceCid(this.random.bytes(20), 1n, false);
  }
}

/** The connection is gone at once, without a word, and nothing of it is left. */
function mustBeGone(t: T, attack: Attack, reason: RegExp): void {
  t.equal(attack.server?.state, "closed");
  t.match(closed(attack.events)?.reason ?? "", reason);
  t.equal(attack.endpoint.connectionCount, 0);
  t.equal(attack.endpoint.connectionIdCount, 0);
}

test("a peer that takes away the connection ID in use is given up before a packet leaves (CVE-2025-7054)", (t) => {
  const attack = new Attack().handshake(t);
  attack.issueIds();
  attack.exchange();
  t.equal(attack.server?.state, "established");
  attack.sent = 0;
  attack.client.newSourceCid(attack.random.bytes(20), 2n, true); // Retire Prior To
  attack.exchange();
  mustBeGone(t, attack, /took away the connection ID in use/);
  t.equal(attack.sent, 0);
});

test("so is one that does it in the packets with which it moves to another path", (t) => {
  const attack = new Attack().handshake(t);
  attack.issueIds();
  attack.exchange();
  attack.sent = 0;
  attack.client.newSourceCid(attack.random.bytes(20), 2n, true);
  const out = new Uint8Array(2048);
  const first = t.must(attack.client.send(out));
  attack.deliver(out.slice(0, first[0]), 0);
  attack.client.migrate(clientSlot(1), serverSlot(0));
  attack.client.sendAckEliciting();
  attack.exchange();
  mustBeGone(t, attack, /took away the connection ID in use/);
  t.equal(attack.sent, 0);
});

test(`a peer may retire ${MAX_RETIRED_IDS} connection IDs and no more`, (t) => {
  const attack = new Attack().handshake(t);
  attack.issueIds();
  attack.exchange();
  for (let sequence = 1; attack.server?.state === "established"; sequence++) {
    if (sequence > MAX_RETIRED_IDS + 1) t.fail(`${sequence} IDs were replaced`);
    attack.client.retireDestinationCid(sequence);
    attack.exchange();
  }
  mustBeGone(t, attack, /retired more than 64 connection IDs/);
});

test("a peer that comes from ever new addresses gets eight paths, and no event for each packet (CVE-2026-12707)", (t) => {
  const attack = new Attack().handshake(t);
  attack.issueIds();
  attack.exchange();
  const out = new Uint8Array(2048);
  for (let slot = 1; slot <= 250; slot++) {
    attack.client.sendAckEliciting();
    const [length] = t.must(attack.client.send(out));
    attack.deliver(out.slice(0, length), slot);
    for (let event = attack.server?.pollEvent(); event; event = attack.server?.pollEvent()) attack.events.push(event);
  }
  t.equal(attack.server?.pathStats().length, 8);
  t.equal(attack.events.filter(({ type }) => type === "path").length, 7, "one for each path but the first");
});

test("a peer that does not come to the end of its handshake is given up after 64 KiB", (t) => {
  const attack = new Attack();
  const out = new Uint8Array(2048);
  const first = t.must(attack.client.send(out));
  const initial = out.slice(0, first[0]);
  let bytes = 0;
  while (attack.server?.state !== "closed") {
    if (bytes > 2 * MAX_HANDSHAKE_BYTES) t.fail(`${bytes} bytes were taken`);
    attack.deliver(initial.slice(), 0);
    bytes += initial.length;
  }
  t.ok(bytes > MAX_HANDSHAKE_BYTES);
  while (attack.server?.pollEvent());
  t.equal(attack.endpoint.connectionCount, 0);
});

test("a peer whose packets carry nothing is given up where that is bounded", (t) => {
  const attack = new Attack({ overheadLimit: { bytes: 20_000, bytesPerSecond: 0 } }).handshake(t);
  let packets = 0;
  while (attack.server?.state === "established") {
    if (++packets > 5_000) t.fail("5,000 PINGs were taken");
    attack.client.sendAckEliciting();
    attack.exchange();
  }
  mustBeGone(t, attack, /too much that carries nothing/);
});

test("with the same bound 2 MB go either way", async (t) => {
  const limit = { overheadLimit: { bytes: 20_000, bytesPerSecond: 0 } };
  const pair = new Pair({ client: limit, server: limit }).handshake();
  const data = pattern(2_000_000);
  let down: Sink | null = null;
  pair.onServerStream = (stream) => {
    down = new Sink(stream);
    pour(stream, data);
  };
  const stream = pair.client.openStream();
  const up = new Sink(stream);
  pour(stream, data);
  await pair.until(() => up.ended && down?.ended === true, "both directions");
  t.same(up.bytes, data);
  t.same((down as Sink | null)?.bytes, data);
});
