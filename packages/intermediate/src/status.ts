/** What the admin address shows of a running intermediate: `GET /status` and `GET /metrics`, and the former in words. */
import { type Metric, VERSION } from "@adit/program";
import { z } from "zod";
import type { Health } from "./health.ts";
import type { PolicyFile } from "./policy-file.ts";
import { NO_REFUSALS } from "./refusals.ts";
import type { Intermediate } from "./server.ts";
import type { TlsFiles } from "./tls-files.ts";

export interface IntermediateStatus {
  readonly peerId: string;
  readonly listeners: readonly { readonly service: string; readonly address: string }[];
  readonly registrations: readonly {
    readonly name: string;
    readonly peerId: string;
    readonly address: string;
    /** RFC 3339, UTC. */
    readonly since: string;
  }[];
  /** Now. */
  readonly allocations: number;
  /** Payload bytes and packets, both directions, since start. */
  readonly relayedBytes: number;
  readonly relayedPackets: number;
  /** Introduced since start, and of these the ones that last reported a direct or a relayed path; `active` is now. */
  readonly sessions: {
    readonly total: number;
    readonly direct: number;
    readonly relayed: number;
    readonly active: number;
  };
}

export type Listener = IntermediateStatus["listeners"][number];

export function intermediateStatus(
  { identity, clock, signaling, turn }: Intermediate,
  listeners: readonly Listener[],
): IntermediateStatus {
  const now = clock.now();
  const wallNow = Date.now();
  const { allocations, relayedBytes, relayedPackets } = turn.stats;
  const { total, direct, relayed, active } = signaling.rendezvous.sessionCounts();
  return {
    peerId: identity.peerId,
    listeners,
    registrations: signaling.rendezvous.registrations().map(({ name, peerId, address, since }) => ({
      name,
      peerId,
      address: address.key,
      since: new Date(wallNow - (now - since)).toISOString(),
    })),
    allocations,
    relayedBytes,
    relayedPackets,
    sessions: { total, direct, relayed, active },
  };
}

/** What else there is to be measured. */
export interface Watched {
  readonly health: Pick<Health, "check" | "eventLoopLagMs">;
  readonly policy: Pick<PolicyFile, "failures">;
  readonly tls: Pick<TlsFiles, "failures" | "notAfter">;
}

const gauge = (name: string, help: string, value: number): Metric => metric(name, "gauge", help, [{ value }]);
const counter = (name: string, help: string, value: number): Metric => metric(name, "counter", help, [{ value }]);

export function intermediateMetrics(intermediate: Intermediate, watched: Watched): readonly Metric[] {
  return [
    ...processMetrics(intermediate, watched),
    ...signalingMetrics(intermediate),
    ...relayMetrics(intermediate),
    ...dropMetrics(intermediate),
  ];
}

function processMetrics({ accounts, isDraining }: Intermediate, { health, policy, tls }: Watched): Metric[] {
  return [
    metric("adit_info", "gauge", "1, with the version.", [{ labels: { version: VERSION }, value: 1 }]),
    gauge("adit_ready", "1 when /healthz answers 200.", Number(health.check().ready)),
    gauge("adit_draining", "1 from SIGTERM on.", Number(isDraining)),
    gauge("adit_event_loop_lag_seconds", "The longest of the last ten seconds.", health.eventLoopLagMs / 1000),
    gauge("process_resident_memory_bytes", "Resident memory.", process.memoryUsage.rss()),
    counter("process_cpu_seconds_total", "User and system CPU time.", cpuSeconds()),
    gauge("adit_policy_reload_failures", "Reloads of the policy file that failed since one worked.", policy.failures),
    gauge("adit_certificate_reload_failures", "Reloads of the TLS files that failed since one worked.", tls.failures),
    metric(
      "adit_certificate_not_after_seconds",
      "gauge",
      "When the certificate of --tls-cert ends, Unix time.",
      tls.notAfter === null ? [] : [{ value: tls.notAfter / 1000 }],
    ),
    gauge("adit_accounts", "Identities whose use is remembered.", accounts.size),
    gauge("adit_usage_write_failures", "Failures to store the day's bytes since one worked.", accounts.usageFailures),
  ];
}

function signalingMetrics({ signaling }: Intermediate): Metric[] {
  const { rendezvous } = signaling;
  const sessions = rendezvous.sessionCounts();
  const { results, punchSeconds } = rendezvous.punches;
  return [
    gauge("adit_signaling_clients", "Clients connected.", signaling.clientCount),
    gauge("adit_signaling_handshakes", "QUIC handshakes under way.", signaling.entrance.handshakeCount),
    gauge("adit_signaling_held_bytes", "Kept for clients that read or speak slowly.", signaling.heldBytes),
    counter(
      "adit_signaling_retries_total",
      "Clients told to prove their address first.",
      signaling.entrance.retriesSent,
    ),
    counter(
      "adit_signaling_resets_total",
      "Stateless resets: packets of unknown connections.",
      signaling.entrance.resetsSent,
    ),
    gauge("adit_registrations", "Connectors registered under a name.", rendezvous.registrations().length),
    gauge("adit_sessions", "Sessions that are known and not over.", sessions.active),
    counter("adit_sessions_total", "Sessions introduced.", sessions.total),
    metric(
      "adit_session_outcomes",
      "gauge",
      "Sessions introduced since start, by the path they last reported.",
      (["direct", "relayed", "failed"] as const).map((outcome) => ({ labels: { outcome }, value: sessions[outcome] })),
    ),
    metric(
      "adit_punches_total",
      "counter",
      "Results that agents told, by outcome; a session that changes its path tells again.",
      (["direct", "relay", "failed"] as const).map((outcome) => ({ labels: { outcome }, value: results.get(outcome) })),
    ),
    punchSeconds.metric("adit_punch_seconds", "From the introduction of a session to its first direct path."),
  ];
}

function relayMetrics({ turn, stun }: Intermediate): Metric[] {
  const { allocations, toPeers, toClients } = turn.stats;
  const byDirection = (of: "packets" | "bytes"): Metric["samples"] => [
    { labels: { direction: "to-peer" }, value: toPeers[of] },
    { labels: { direction: "to-client" }, value: toClients[of] },
  ];
  const streams = stun.streams.reduce((sum, { connections }) => sum + connections, 0);
  return [
    gauge("adit_turn_allocations", "TURN allocations.", allocations),
    metric("adit_turn_relayed_bytes_total", "counter", "Payload bytes relayed.", byDirection("bytes")),
    metric("adit_turn_relayed_packets_total", "counter", "Packets relayed.", byDirection("packets")),
    metric(
      "adit_turn_errors_total",
      "counter",
      "Errors answered to TURN requests, by STUN error code.",
      Object.entries(turn.errors.toJSON()).map(([code, value]) => ({ labels: { code }, value })),
    ),
    byReason("adit_turn_forbidden_total", "Peers that a relay may not reach (403), by what they are.", [turn.denials]),
    gauge("adit_stream_connections", "TCP and TLS connections for STUN and TURN.", streams),
    byReason(
      "adit_stream_closed_total",
      "TCP and TLS connections that were ended from here, by reason.",
      stun.streams.map(({ closes }) => closes),
    ),
  ];
}

function dropMetrics({ signaling, turn, driver, accounts }: Intermediate): Metric[] {
  const { rendezvous, entrance } = signaling;
  return [
    byReason("adit_refusals_total", "Requests refused to somebody, by reason.", [
      { toJSON: () => NO_REFUSALS },
      rendezvous.counters,
      accounts.counters,
      turn.refusals,
      signaling.drops,
      entrance.looseDrops,
    ]),
    byReason("adit_turn_dropped_total", "Datagrams that the STUN and TURN server dropped.", [turn.counters]),
    byReason("adit_quic_dropped_total", "QUIC datagrams dropped before any connection.", [entrance.quic.drops]),
    byReason("adit_udp_dropped_total", "Datagrams not sent because a socket was full or closed.", [driver.drops]),
  ];
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function metric(name: string, type: Metric["type"], help: string, samples: Metric["samples"]): Metric {
  return { name, type, help, samples };
}

/** A reason that several have is one sample. */
function byReason(name: string, help: string, sources: readonly { toJSON(): Record<string, number> }[]): Metric {
  const sums = new Map<string, number>();
  for (const source of sources) {
    for (const [reason, count] of Object.entries(source.toJSON())) sums.set(reason, (sums.get(reason) ?? 0) + count);
  }
  return metric(
    name,
    "counter",
    help,
    [...sums].map(([reason, value]) => ({ labels: { reason }, value })),
  );
}

const statusSchema = z.object({
  peerId: z.string(),
  listeners: z.array(z.object({ service: z.string(), address: z.string() })),
  registrations: z.array(z.object({ name: z.string(), peerId: z.string(), address: z.string(), since: z.string() })),
  allocations: z.number(),
  relayedBytes: z.number(),
  relayedPackets: z.number(),
  sessions: z.object({ total: z.number(), direct: z.number(), relayed: z.number(), active: z.number() }),
});

/** The status for a person to read. @throws ZodError when it is not an intermediate's. */
export function intermediateStatusInWords(status: unknown): string {
  const { peerId, listeners, registrations, allocations, relayedBytes, relayedPackets, sessions } =
    statusSchema.parse(status);
  const { total, direct, relayed, active } = sessions;
  return [
    `PeerId           ${peerId}`,
    ...listeners.map(({ service, address }) => `listening        ${address} for ${service}`),
    ...(registrations.length === 0 ? ["registered       nobody"] : []),
    ...registrations.map(
      ({ name, peerId, address, since }) => `registered       ${name} from ${address} since ${since} (${peerId})`,
    ),
    `sessions         ${active} now; ${total} since start, of which ${direct} direct, ${relayed} relayed`,
    `relay            ${allocations} allocations; ${relayedBytes} bytes in ${relayedPackets} packets since start`,
  ].join("\n");
}
