import { systemRandom } from "@adit/core";
import { Identity, QuicConfig, QuicEndpoint } from "./src/index.ts";
const ci = Identity.generate(), si = Identity.generate();
const sc = QuicConfig.create({ role: "server", identity: si, alpn: "x", maxIdleTimeoutMs: 60000 });
const cc = QuicConfig.create({ role: "client", identity: ci, alpn: "x", maxIdleTimeoutMs: 60000 });
const se = new QuicEndpoint({ random: systemRandom, server: sc }), ce = new QuicEndpoint({ random: systemRandom });
const L = (i: number) => ({ host: "192.0.2.1", port: i + 1 }), R = (i: number) => ({ host: "192.0.2.2", port: i + 1 });
const now = () => performance.now();
const c = ce.connect(now(), { config: cc, local: L(0), remote: R(0) });
let s: any = null;
let cut = new Set<number>();
const RTT = 2; // one-way ms
type P = { at: number; dir: string; slot: number; data: Uint8Array };
let q: P[] = [];
let stats = { c2s: [0,0], s2c: [0,0] } as any;
function flush() {
  for (;;) { const b = new Uint8Array(1500); const r = c.send(b); if (!r) break; const slot = r.remote.port - 1; if (cut.has(slot)) continue; stats.c2s[slot]++; q.push({ at: now() + RTT, dir: "c2s", slot, data: b.subarray(0, r.length) }); }
  if (s) for (;;) { const b = new Uint8Array(1500); const r = s.send(b); if (!r) break; const slot = r.remote.port - 1; if (cut.has(slot)) continue; stats.s2c[slot]++; q.push({ at: now() + RTT, dir: "s2c", slot, data: b.subarray(0, r.length) }); }
}
function deliver() {
  const t = now(); const due = q.filter((p) => p.at <= t); q = q.filter((p) => p.at > t);
  for (const p of due) {
    if (cut.has(p.slot)) continue;
    if (p.dir === "c2s") {
      const r = se.route(p.data);
      if (r.kind === "initial") { s = se.accept(t, r.header, L(p.slot), R(p.slot)); s.recv(t, p.data, L(p.slot), R(p.slot)); }
      else if (r.kind === "connection") r.connection.recv(t, p.data, L(p.slot), R(p.slot));
    } else c.recv(t, p.data, L(p.slot), R(p.slot));
  }
}
let cs: any = null, ss: any = null, got = 0, sentb = 0; const buf = new Uint8Array(65536); const chunk = new Uint8Array(65536);
let limit = 20e6, t0 = 0;
let phase = 0, tphase = now();
const start = now(); let lastlog = 0;
const loop = setInterval(() => {
  const t = now(); deliver();
  for (const x of [c, s]) if (x) { const d = x.pollTimeout(t); if (d && d.at <= t) x.handleTimeout(t); for (let e = x.pollEvent(); e; e = x.pollEvent()) {
    if (x === c && e.type === "established") { cs = c.openStream(); cs.write(new Uint8Array(10)); t0 = t; }
    if (x === s && e.type === "stream") ss = e.stream;
    if (e.type === "path") { console.log(Math.round(t - start), x === c ? "C" : "S", e.event, e.remote.port - 1); if (x === c && e.event === "validated" && e.remote.port === 2) { c.migrate(L(1), R(1)); c.sendAckEliciting(); console.log("migrated direct"); phase = 2; tphase = t; } }
    if (e.type === "closed") console.log("closed", e);
  } }
  if (ss) { for (;;) { const n = ss.write(chunk); sentb += n; if (n < chunk.length) break; } }
  if (cs) while (got < (t - t0) / 1000 * limit) { const n = cs.read(buf.subarray(0, 16384)); if (typeof n !== "number") break; got += n; }
  if (phase === 0 && cs && t - t0 > 500) { phase = 1; c.probePath(L(1), R(1)); }
  if (phase === 2 && t - tphase > 1500) { phase = 3; tphase = t; cut.add(1); console.log("CUT"); }
  if (phase === 3 && t - tphase > 400) { phase = 4; c.migrate(L(0), R(0)); c.sendAckEliciting(); console.log("back on relay"); }
  flush();
  if (t - lastlog > 500) { lastlog = t; console.log(Math.round(t - start), "got", got, JSON.stringify(stats), "S", JSON.stringify(s?.pathStats().map((p: any) => [p.remote?.port ?? p.peer?.port, p.active, p.sentPackets ?? p.sent, p.lostPackets ?? p.lost, p.congestionWindowBytes ?? p.cwnd, p.rttMs ?? p.rtt])), "timeout", s?.pollTimeout(t)?.at - t); }
  if (t - start > 8000) { clearInterval(loop); process.exit(0); }
}, 1);
