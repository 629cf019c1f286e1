/** A peer that shows garbage for a certificate, end to end: TLS refuses it, and says why. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "@adit/core";
import { type T, test } from "@adit/harness";
import { QuicEndpoint, type QuicEvent } from "../src/index.ts";
import { quiche } from "../src/native.ts";
import { alice, bob, clientSlot, closed, config, now, serverSlot, types } from "./pair.ts";
import { tamper } from "./tampered-handshake.ts";

const derOf = (pem: string) => Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64");
const random = seededRandom(5);

/** What stands where a certificate should, of the same length. */
const GARBAGE: readonly (readonly [name: string, (der: Buffer) => void])[] = [
  ["zeros", (der) => der.fill(0)],
  ["random bytes", (der) => der.set(random.bytes(der.length))],
  ["a sequence that claims more bytes than there are", (der) => der.set([0x30, 0x82, 0xff, 0xff])],
  ["a sequence that claims fewer", (der) => der.set([0x30, 0x82, 0x00, 0x05])],
  ["an octet string", (der) => der.set([0x04])],
  ["lengths of lengths that end nowhere", (der) => der.fill(0x88, 1)],
];

/** TLS handshake bytes between a peer of ours and one that logs its keys; `garble`: what happens to that one's certificate. */
function meet(
  role: "client" | "server",
  garble: (der: Buffer) => void,
): { events: QuicEvent[]; endpoint: QuicEndpoint; told: number } {
  const dir = mkdtempSync(join(tmpdir(), "adit-keys-"));
  try {
    const keyLog = join(dir, "keys");
    const theirs = config(role === "client" ? "server" : "client");
    theirs.native.logKeys();
    const certificate = derOf((role === "client" ? bob : alice).certificatePem);
    const endpoint = new QuicEndpoint({ random, ...(role === "server" ? { server: config("server") } : {}) });
    const [here, there] = role === "client" ? [clientSlot(0), serverSlot(0)] : [serverSlot(0), clientSlot(0)];
    let ours =
      role === "client" ? endpoint.connect(now(), { config: config("client"), local: here, remote: there }) : null;
    let garbled = 0;
    const change = (frames: Buffer): boolean => {
      const at = frames.indexOf(certificate);
      if (at < 0) return false;
      garble(frames.subarray(at, at + certificate.length));
      garbled++;
      return true;
    };
    const events: QuicEvent[] = [];
    const out = new Uint8Array(2048);
    const accept = () => quiche.Connection.accept(random.bytes(20), null, there, here, theirs.native);
    const peer =
      role === "client" ? accept() : quiche.Connection.connect(null, random.bytes(20), there, here, theirs.native);
    peer.setKeylog(keyLog);
    for (let moved = true; moved; ) {
      moved = false;
      for (let event = ours?.pollEvent(); event; event = ours?.pollEvent()) events.push(event);
      for (let sent = ours?.send(out); sent; sent = ours?.send(out)) {
        moved = true;
        peer.recv(out.slice(0, sent.length), { from: here, to: there });
      }
      for (let sent = peer.send(out); sent; sent = peer.send(out)) {
        moved = true;
        const data = out.slice(0, sent[0]);
        tamper(data, keyLog, role === "client" ? "SERVER" : "CLIENT", change);
        const route = endpoint.route(data);
        if (route.kind === "initial") ours = endpoint.accept(now(), route.header, here, there);
        if (route.kind !== "drop") ours?.recv(now(), data, here, there);
      }
    }
    if (garbled === 0) throw new Error("no certificate was seen on its way");
    return { events, endpoint, told: peer.peerError()?.errorCode ?? -1 };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function mustBeRefused(t: T, { events, told }: ReturnType<typeof meet>): void {
  t.same(types(events), ["closed"], "it was never established");
  const end = t.must(closed(events));
  t.same([end.by, end.isApp], ["local", false]);
  t.ok(end.code >= 0x100 && end.code < 0x200, `a TLS alert, not ${end.code}`);
  t.equal(told, end.code, "which the peer is told");
}

for (const [name, garble] of GARBAGE) {
  test(`a client that shows ${name} for a certificate is refused`, (t) => mustBeRefused(t, meet("server", garble)));
  test(`a server that shows ${name} for a certificate is refused`, (t) => mustBeRefused(t, meet("client", garble)));
}

test("the tampering peer with its own certificate gets in", (t) => {
  for (const role of ["client", "server"] as const) t.same(types(meet(role, () => {}).events), ["established"]);
});
