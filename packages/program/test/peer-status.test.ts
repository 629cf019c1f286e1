import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import type { EndpointStatus } from "@adit/transport";
import { peerMetrics, peerStatus, peerStatusInWords, renderMetrics } from "../src/index.ts";

const status: EndpointStatus = {
  peerId: "me",
  intermediate: { address: "127.0.0.1:4433", connected: true, rttMs: 0.4 },
  observedAddress: SocketAddress.of("203.0.113.7", 40_111),
  sessions: [
    {
      id: "1",
      peer: { id: "them", name: "office" },
      path: "direct",
      local: SocketAddress.of("127.0.0.2", 51_111),
      remote: SocketAddress.of("127.0.0.3", 52_222),
      localType: "host",
      remoteType: "host",
      rttMs: 0.3,
      relayRttMs: 0.5,
      sentBytes: 123,
      receivedBytes: 456,
      handshakes: 1,
      migrations: 1,
      reason: "direct pair nominated",
    },
  ],
};

const over = (text: string): unknown => JSON.parse(text);

test("as JSON it has the documented names, addresses as text", (t) => {
  const json = over(JSON.stringify(peerStatus(status, [{ service: "web", address: "127.0.0.2:9000" }])));
  t.same(json, {
    peerId: "me",
    intermediate: { address: "127.0.0.1:4433", connected: true, rttMs: 0.4 },
    observedAddress: "203.0.113.7:40111",
    listeners: [{ service: "web", address: "127.0.0.2:9000" }],
    sessions: [{ ...status.sessions[0], local: "127.0.0.2:51111", remote: "127.0.0.3:52222" }],
  });
});

test("in words it names the path, the addresses and why", (t) => {
  const words = peerStatusInWords(
    over(JSON.stringify(peerStatus(status, [{ service: "web", address: "127.0.0.2:9000" }]))),
  );
  for (const part of [
    "127.0.0.1:4433, connected, 0.4 ms",
    "203.0.113.7:40111",
    "127.0.0.2:9000 for web",
    "office: direct, 0.3 ms (direct pair nominated)",
    "127.0.0.2:51111 (host) <-> 127.0.0.3:52222 (host)",
  ]) {
    t.ok(words.includes(part), `${part} in\n${words}`);
  }
});

test("in words before anything is known", (t) => {
  const bare = {
    ...status,
    intermediate: { ...status.intermediate, connected: false, rttMs: null },
    observedAddress: null,
    sessions: [],
  };
  const words = peerStatusInWords(over(JSON.stringify(peerStatus(bare, []))));
  t.match(words, /127\.0\.0\.1:4433, not connected\n.*unknown\n.*none$/);
});

test("metrics count sessions by path", (t) => {
  const text = renderMetrics(peerMetrics(status));
  t.match(text, /^adit_intermediate_connected 1$/m);
  t.match(text, /^adit_sessions\{path="direct"\} 1$/m);
  t.match(text, /^adit_sessions\{path="relay"\} 0$/m);
  t.match(text, /^adit_info\{version="\d+\.\d+\.\d+"\} 1$/m);
});
