import { test } from "@adit/harness";
import { Datagrams, peerStatus, peerStatusInWords } from "../src/index.ts";
import { status } from "./endpoint-status.ts";

const listener = { protocol: "tcp", service: "web", address: "127.0.0.2:9000" } as const;
const udp = {
  flows: 1,
  sentDatagrams: 20,
  receivedDatagrams: 18,
  sentBytes: 2000,
  receivedBytes: 1800,
  maxPayloadBytes: 1293,
  dropped: { "too-large": 2, unreachable: 1 },
};

const over = (text: string): unknown => JSON.parse(text);

test("as JSON it has the documented names, addresses as text", (t) => {
  const json = over(JSON.stringify(peerStatus(status, [listener], udp)));
  t.same(json, {
    peerId: "me",
    intermediate: { address: "127.0.0.1:4433", connected: true, rttMs: 0.4 },
    intermediates: [
      { address: "127.0.0.1:4433", connected: true, rttMs: 0.4, transport: "quic", relay: null },
      { address: "127.0.0.9:4433", connected: false, rttMs: null, transport: null, relay: null },
    ],
    udpReach: "open",
    observedAddress: "203.0.113.7:40111",
    portMapping: { ...status.portMapping, external: "11.0.0.10:40111" },
    listeners: [listener],
    udp,
    sessions: [{ ...status.sessions[0], local: "127.0.0.2:51111", remote: "127.0.0.3:52222" }],
  });
});

test("in words it names the path, the addresses and why", (t) => {
  const words = peerStatusInWords(over(JSON.stringify(peerStatus(status, [listener], udp))));
  for (const part of [
    "127.0.0.1:4433, connected, 0.4 ms",
    "127.0.0.9:4433, not connected",
    "203.0.113.7:40111",
    "tcp 127.0.0.2:9000 for web",
    "1 flow, 20 datagrams sent, 18 received",
    "dropped: 2 too large for the path (at most 1293 bytes), 1 unreachable",
    "11.0.0.10:40111 at the router 192.168.1.1 by PCP",
    "office: direct, 0.3 ms (direct pair nominated)",
    "127.0.0.2:51111 (host) <-> 127.0.0.3:52222 (host), datagrams of up to 1472 bytes",
  ]) {
    t.ok(words.includes(part), `${part} in\n${words}`);
  }
});

test("in words a session without a path says so", (t) => {
  const stranded = { ...status.sessions[0], local: null, remote: null, localType: null, remoteType: null };
  const words = peerStatusInWords({
    ...(over(JSON.stringify(peerStatus(status, [], udp))) as object),
    sessions: [stranded],
  });
  t.match(words, /no path answers/);
  t.notOk(/null|\?/.test(words), words);
});

test("in words it says that UDP is blocked, and what signaling goes over instead", (t) => {
  const overTls = { address: "127.0.0.1:443", connected: true, rttMs: 0.4, transport: "tls", relay: null } as const;
  const blocked = { ...status, intermediates: [overTls], udpReach: "blocked" as const };
  const words = peerStatusInWords(over(JSON.stringify(peerStatus(blocked, [listener], udp))));
  t.match(words, /127\.0\.0\.1:443, connected over TLS, 0\.4 ms\n.*blocked here/);
});

test("in words before anything is known", (t) => {
  const bare = {
    ...status,
    intermediate: { ...status.intermediate, connected: false, rttMs: null },
    intermediates: [{ address: "127.0.0.1:4433", connected: false, rttMs: null, transport: null, relay: null }],
    udpReach: "unknown" as const,
    observedAddress: null,
    portMapping: null,
    sessions: [],
  };
  const words = peerStatusInWords(over(JSON.stringify(peerStatus(bare, [], new Datagrams().status()))));
  t.match(words, /127\.0\.0\.1:4433, not connected\n.*unknown\n.*none$/);
});

test("of a connector it says the name, what is exposed and who is let in", (t) => {
  const own = {
    name: "office",
    exposed: [{ service: "web", protocol: "tcp", address: "127.0.0.1:8080" }],
    allowed: [],
  };
  const words = peerStatusInWords(over(JSON.stringify({ ...peerStatus(status, [], udp), ...own })));
  t.match(words, /^name {13}office$/m);
  t.match(words, /^exposes {10}web: tcp:\/\/127\.0\.0\.1:8080$/m);
  t.match(words, /^lets in {10}nobody but who has a ticket$/m);
  t.notOk(
    /^name /m.test(peerStatusInWords(over(JSON.stringify(peerStatus(status, [listener], udp))))),
    "not of an agent",
  );
});
