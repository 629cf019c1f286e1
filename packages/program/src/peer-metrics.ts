/** `GET /metrics` of an agent or a connector. */
import type { EndpointStatus, SessionPath, SessionStatus } from "@adit/transport";
import type { Metric, MetricSample } from "./admin.ts";
import { VERSION } from "./version.ts";

const PORT_MAP_PROTOCOLS = ["pcp", "nat-pmp", "upnp"] as const;
const PATHS: readonly SessionPath[] = ["connecting", "relay", "direct", "suspended"];

/** What the program knows beside its endpoint. */
export interface Readiness {
  /** What `/healthz` says. */
  readonly ready: boolean;
  /** A connector under its name; an agent, once an intermediate has let it in. */
  readonly registered: boolean;
}

/** What can be said of an endpoint in numbers. */
export function peerMetrics(endpoint: EndpointStatus, { ready, registered }: Readiness): readonly Metric[] {
  return [
    gauge("adit_info", "1, with the version.", [{ labels: { version: VERSION }, value: 1 }]),
    gauge("adit_ready", "1 when /healthz answers 200.", [{ value: Number(ready) }]),
    gauge("adit_registered", "1 while an intermediate knows this program.", [{ value: Number(registered) }]),
    gauge("process_resident_memory_bytes", "Resident memory.", [{ value: process.memoryUsage.rss() }]),
    counter("process_cpu_seconds_total", "User and system CPU time.", [{ value: cpuSeconds() }]),
    ...networkMetrics(endpoint),
    ...sessionMetrics(endpoint.sessions),
    ...totalMetrics(endpoint),
    counter(
      "adit_peer_dropped_total",
      "Datagrams of peers, or of who pretends to be one, that were not let in or out, by reason.",
      Object.entries(endpoint.dropped).map(([reason, value]) => ({ labels: { reason }, value })),
    ),
  ];
}

function networkMetrics({ intermediate, intermediates, udpReach, portMapping }: EndpointStatus): Metric[] {
  return [
    gauge("adit_intermediate_connected", "Whether the intermediate answers.", [
      { value: intermediate.connected ? 1 : 0 },
    ]),
    gauge(
      "adit_intermediates_connected",
      "How many intermediates answer, by what signaling goes over.",
      (["quic", "tls"] as const).map((transport) => ({
        labels: { transport },
        value: intermediates.filter((one) => one.transport === transport).length,
      })),
    ),
    gauge(
      "adit_intermediate_rtt_seconds",
      "Round trip of signaling, for each intermediate that answers.",
      intermediates.flatMap(({ address, rttMs }) =>
        rttMs === null ? [] : [{ labels: { intermediate: address }, value: rttMs / 1000 }],
      ),
    ),
    gauge(
      "adit_relay_allocated",
      "1 with an address on the relay, for each intermediate.",
      intermediates.map(({ address, relay }) => ({ labels: { intermediate: address }, value: relay ? 1 : 0 })),
    ),
    gauge("adit_udp_blocked", "1 when every intermediate that answers is reached over TLS only.", [
      { value: udpReach === "blocked" ? 1 : 0 },
    ]),
    gauge(
      "adit_port_mapping",
      "1 for the protocol that a port of the router is mapped with, and the world can reach.",
      PORT_MAP_PROTOCOLS.map((protocol) => ({
        labels: { protocol },
        value: portMapping?.protocol === protocol && portMapping.public ? 1 : 0,
      })),
    ),
  ];
}

function sessionMetrics(sessions: readonly SessionStatus[]): Metric[] {
  const sizes = [...new Set(sessions.flatMap(({ datagramBytes }) => datagramBytes ?? []))].sort((a, b) => a - b);
  return [
    gauge(
      "adit_sessions",
      "Live sessions by path.",
      PATHS.map((path) => ({ labels: { path }, value: sessions.filter((session) => session.path === path).length })),
    ),
    gauge(
      "adit_session_rtt_seconds",
      "Round trip of the active path, over the live sessions on such a path: the median and the longest.",
      PATHS.flatMap((path) => roundTrips(path, sessions)),
    ),
    gauge(
      "adit_sessions_by_datagram_bytes",
      "Live sessions by the largest datagram that is proved on their path, UDP payload in bytes.",
      sizes.map((bytes) => ({
        labels: { bytes: String(bytes) },
        value: sessions.filter((session) => session.datagramBytes === bytes).length,
      })),
    ),
  ];
}

/** Sessions come and go, and each with labels of its own would be a series that a monitor keeps for ever. */
function roundTrips(path: SessionPath, sessions: readonly SessionStatus[]): MetricSample[] {
  const seconds = sessions
    .flatMap((session) => (session.path === path && session.rttMs !== null ? [session.rttMs / 1000] : []))
    .sort((a, b) => a - b);
  return [0.5, 1].flatMap((quantile) => {
    const value = seconds[Math.ceil(quantile * seconds.length) - 1];
    return value === undefined ? [] : [{ labels: { path, quantile: String(quantile) }, value }];
  });
}

function totalMetrics({ totals }: EndpointStatus): Metric[] {
  const ways = (sent: number, received: number): MetricSample[] => [
    { labels: { direction: "sent" }, value: sent },
    { labels: { direction: "received" }, value: received },
  ];
  return [
    counter("adit_sessions_total", "Sessions that came up since the start.", [{ value: totals.sessions }]),
    counter("adit_session_handshakes_total", "QUIC handshakes with peers; one a session is right.", [
      { value: totals.handshakes },
    ]),
    counter("adit_session_migrations_total", "Changes of the path of a session.", [{ value: totals.migrations }]),
    counter(
      "adit_session_bytes_total",
      "Application bytes of sessions, by direction as seen from here.",
      ways(totals.sentBytes, totals.receivedBytes),
    ),
    counter(
      "adit_session_packets_total",
      "QUIC packets of sessions, by direction as seen from here.",
      ways(totals.packetsSent, totals.packetsReceived),
    ),
    counter("adit_session_packets_lost_total", "Of the packets sent, those that were taken for lost.", [
      { value: totals.packetsLost },
    ]),
  ];
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

const gauge = (name: string, help: string, samples: Metric["samples"]): Metric => ({
  name,
  help,
  type: "gauge",
  samples,
});

const counter = (name: string, help: string, samples: Metric["samples"]): Metric => ({
  name,
  help,
  type: "counter",
  samples,
});
