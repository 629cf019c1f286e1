import type { EndpointStatus } from "@adit/transport";
import { z } from "zod";
import type { DatagramStatus } from "./datagrams.ts";

/** A listener in `GET /status`. */
export interface ListenerStatus {
  readonly protocol: "tcp" | "udp";
  readonly service: string;
  readonly address: string;
}

/** A service in `GET /status` of a connector, and the server behind it. */
export interface ExposureStatus {
  readonly service: string;
  readonly protocol: "tcp" | "udp";
  readonly address: string;
}

/** `GET /status` of an agent or a connector: what is unknown is null, never absent. */
export function peerStatus(
  endpoint: EndpointStatus,
  listeners: readonly ListenerStatus[],
  udp: DatagramStatus,
): object {
  const { peerId, intermediate, intermediates, udpReach, observedAddress, portMapping, sessions } = endpoint;
  return {
    peerId,
    intermediate,
    intermediates,
    udpReach,
    observedAddress,
    portMapping,
    listeners,
    udp,
    sessions,
  };
}

const nullableText = z.string().nullable();

const statusSchema = z.object({
  peerId: z.string(),
  intermediates: z.array(
    z.object({
      address: z.string(),
      connected: z.boolean(),
      rttMs: z.number().nullable(),
      transport: z.string().nullable(),
    }),
  ),
  udpReach: z.string(),
  observedAddress: nullableText,
  portMapping: z.object({ reason: z.string() }).nullish(),
  // A connector's own.
  name: z.string().optional(),
  exposed: z.array(z.object({ service: z.string(), protocol: z.string(), address: z.string() })).default([]),
  allowed: z.array(z.string()).optional(),
  listeners: z.array(z.object({ protocol: z.string(), service: z.string(), address: z.string() })),
  udp: z.object({
    flows: z.number(),
    sentDatagrams: z.number(),
    receivedDatagrams: z.number(),
    maxPayloadBytes: z.number().nullable(),
    dropped: z.record(z.string(), z.number()),
  }),
  sessions: z.array(
    z.object({
      peer: z.object({ id: z.string(), name: nullableText }),
      path: z.string(),
      local: nullableText,
      remote: nullableText,
      localType: nullableText,
      remoteType: nullableText,
      rttMs: z.number().nullable(),
      datagramBytes: z.number().nullish(),
      sentBytes: z.number(),
      receivedBytes: z.number(),
      migrations: z.number(),
      reason: z.string(),
    }),
  ),
});

/** The status of an agent or a connector for a person to read. @throws ZodError when it is not such a status. */
export function peerStatusInWords(status: unknown): string {
  const parsed = statusSchema.parse(status);
  const { peerId, intermediates, udpReach, observedAddress, portMapping, listeners, udp, sessions } = parsed;
  const lines = [
    `PeerId           ${peerId}`,
    ...intermediates.map((one) => `intermediate     ${one.address}, ${connectionInWords(one)}`),
    ...(udpReach === "blocked" ? ["udp              blocked here: no intermediate is reached over it"] : []),
    `seen from there  ${observedAddress ?? "unknown"}`,
    ...(parsed.name === undefined ? [] : [`name             ${parsed.name}`]),
    ...parsed.exposed.map(({ service, protocol, address }) => `exposes          ${service}: ${protocol}://${address}`),
    ...(parsed.allowed ? [`lets in          ${parsed.allowed.join(", ") || "nobody but who has a ticket"}`] : []),
    ...(portMapping ? [`port mapping     ${portMapping.reason}`] : []),
    ...listeners.map(({ protocol, service, address }) => `listening        ${protocol} ${address} for ${service}`),
    ...udpInWords(udp),
    ...(sessions.length === 0 ? ["sessions         none"] : []),
  ];
  for (const session of sessions) {
    const { peer, path, local, localType, remote, remoteType } = session;
    const pair = local === null ? "no path answers" : `${local} (${localType}) <-> ${remote} (${remoteType})`;
    lines.push(
      `session          ${peer.name ?? peer.id}: ${path}${inMs(session.rttMs)} (${session.reason})`,
      `                 ${pair}${session.datagramBytes ? `, datagrams of up to ${session.datagramBytes} bytes` : ""}`,
      `                 ${session.sentBytes} bytes sent, ${session.receivedBytes} received, ${session.migrations} path ${session.migrations === 1 ? "change" : "changes"}`,
    );
  }
  return lines.join("\n");
}

function connectionInWords(one: z.infer<typeof statusSchema>["intermediates"][number]): string {
  if (!one.connected) return "not connected";
  return `connected${one.transport === "tls" ? " over TLS" : ""}${inMs(one.rttMs)}`;
}

/** Nothing where no UDP service was ever used. */
function udpInWords(udp: z.infer<typeof statusSchema>["udp"]): string[] {
  const { flows, sentDatagrams, receivedDatagrams, maxPayloadBytes, dropped } = udp;
  const drops = Object.entries(dropped).map(([reason, count]) =>
    reason === "too-large" && maxPayloadBytes !== null
      ? `${count} too large for the path (at most ${maxPayloadBytes} bytes)`
      : `${count} ${reason}`,
  );
  if (maxPayloadBytes === null && drops.length === 0) return [];
  return [
    `udp              ${flows} ${flows === 1 ? "flow" : "flows"}, ${sentDatagrams} datagrams sent, ${receivedDatagrams} received`,
    ...(drops.length > 0 ? [`                 dropped: ${drops.join(", ")}`] : []),
  ];
}

const inMs = (rttMs: number | null): string => (rttMs === null ? "" : `, ${rttMs.toFixed(1)} ms`);
