/** What the admin address shows of a running intermediate: `GET /status` and `GET /metrics`, and the former in words. */
import type { Counters } from "@adit/core";
import { type Metric, VERSION } from "@adit/program";
import { z } from "zod";
import type { Intermediate } from "./server.ts";

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

export function intermediateMetrics({ signaling, turn, driver }: Intermediate): readonly Metric[] {
  const { allocations, relayedBytes, relayedPackets } = turn.stats;
  const sessions = signaling.rendezvous.sessionCounts();
  return [
    metric("adit_info", "gauge", "1, with the version.", [{ labels: { version: VERSION }, value: 1 }]),
    metric("adit_signaling_clients", "gauge", "Clients connected.", [{ value: signaling.clientCount }]),
    metric("adit_registrations", "gauge", "Connectors registered under a name.", [
      { value: signaling.rendezvous.registrations().length },
    ]),
    metric("adit_sessions", "gauge", "Sessions that are known and not over.", [{ value: sessions.active }]),
    metric("adit_sessions_total", "counter", "Sessions introduced.", [{ value: sessions.total }]),
    metric(
      "adit_session_outcomes",
      "gauge",
      "Sessions introduced since start, by the path they last reported.",
      (["direct", "relayed", "failed"] as const).map((outcome) => ({ labels: { outcome }, value: sessions[outcome] })),
    ),
    metric("adit_turn_allocations", "gauge", "TURN allocations.", [{ value: allocations }]),
    metric("adit_turn_relayed_bytes_total", "counter", "Payload bytes relayed, both directions.", [
      { value: relayedBytes },
    ]),
    metric("adit_turn_relayed_packets_total", "counter", "Packets relayed, both directions.", [
      { value: relayedPackets },
    ]),
    dropped("adit_turn_dropped_total", "Datagrams that the STUN and TURN server dropped.", turn.counters),
    dropped(
      "adit_signaling_refused_total",
      "What the rendezvous refused or could not pass on.",
      signaling.rendezvous.counters,
    ),
    dropped("adit_signaling_dropped_total", "First packets of clients dropped at a bound.", signaling.drops),
    dropped("adit_quic_dropped_total", "QUIC datagrams dropped before any connection.", signaling.quic.drops),
    dropped("adit_udp_dropped_total", "Datagrams not sent because a socket was full or closed.", driver.drops),
  ];
}

function metric(name: string, type: Metric["type"], help: string, samples: Metric["samples"]): Metric {
  return { name, type, help, samples };
}

function dropped(name: string, help: string, counters: Counters<never> | Counters<string>): Metric {
  const samples = Object.entries(counters.toJSON()).map(([reason, value]) => ({ labels: { reason }, value }));
  return metric(name, "counter", help, samples);
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
