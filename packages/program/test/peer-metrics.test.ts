import { test } from "@adit/harness";
import type { EndpointStatus } from "@adit/transport";
import { peerMetrics, renderMetrics } from "../src/index.ts";
import { status } from "./endpoint-status.ts";

const READY = { ready: true, registered: true };

const lines = (endpoint: EndpointStatus, readiness = READY): ReadonlySet<string> =>
  new Set(renderMetrics(peerMetrics(endpoint, readiness)).split("\n"));

test("metrics count sessions by path, and what all of them did", (t) => {
  const shown = lines(status);
  for (const line of [
    "adit_ready 1",
    "adit_registered 1",
    "adit_intermediate_connected 1",
    'adit_intermediate_rtt_seconds{intermediate="127.0.0.1:4433"} 0.0004',
    'adit_relay_allocated{intermediate="127.0.0.1:4433"} 0',
    'adit_sessions{path="direct"} 1',
    'adit_sessions{path="relay"} 0',
    'adit_sessions_by_datagram_bytes{bytes="1472"} 1',
    "adit_sessions_total 3",
    "adit_session_handshakes_total 4",
    "adit_session_migrations_total 5",
    'adit_session_bytes_total{direction="sent"} 1123',
    'adit_session_bytes_total{direction="received"} 2456',
    'adit_session_packets_total{direction="sent"} 30',
    'adit_session_packets_total{direction="received"} 20',
    "adit_session_packets_lost_total 2",
    'adit_peer_dropped_total{reason="gate-closed"} 3',
    'adit_port_mapping{protocol="pcp"} 1',
    'adit_port_mapping{protocol="upnp"} 0',
  ]) {
    t.ok(shown.has(line), line);
  }
  const text = [...shown].join("\n");
  t.match(text, /^adit_info\{version="\d+\.\d+\.\d+"\} 1$/m);
  t.match(text, /^process_resident_memory_bytes [1-9]\d+$/m);
  t.match(text, /^process_cpu_seconds_total \d/m);
});

test("round trips are the median and the longest of each path, whatever the number of sessions", (t) => {
  const [one] = status.sessions;
  const sessionsOn = (path: "direct" | "relay", rtts: readonly (number | null)[]) =>
    rtts.flatMap((rttMs) => (one ? [{ ...one, path, rttMs }] : []));
  const shown = lines({
    ...status,
    sessions: [...sessionsOn("direct", [9, 1, null, 3, 2]), ...sessionsOn("relay", [40])],
  });
  t.same(
    [...shown].filter((line) => line.startsWith("adit_session_rtt_seconds{")),
    [
      'adit_session_rtt_seconds{path="relay",quantile="0.5"} 0.04',
      'adit_session_rtt_seconds{path="relay",quantile="1"} 0.04',
      'adit_session_rtt_seconds{path="direct",quantile="0.5"} 0.002',
      'adit_session_rtt_seconds{path="direct",quantile="1"} 0.009',
    ],
  );
});

test("what does not answer, or is no use, is not counted as if it were", (t) => {
  const { portMapping } = status;
  const overTls = { address: "127.0.0.1:443", connected: true, rttMs: null, transport: "tls", relay: null } as const;
  const shown = lines(
    {
      ...status,
      intermediates: [overTls],
      udpReach: "blocked",
      portMapping: portMapping && { ...portMapping, public: false },
    },
    { ready: false, registered: false },
  );
  for (const line of [
    "adit_ready 0",
    "adit_registered 0",
    "adit_udp_blocked 1",
    'adit_intermediates_connected{transport="tls"} 1',
    'adit_intermediates_connected{transport="quic"} 0',
    'adit_port_mapping{protocol="pcp"} 0',
  ]) {
    t.ok(shown.has(line), line);
  }
  t.notOk([...shown].some((line) => line.startsWith("adit_intermediate_rtt_seconds{")));
});
