import { formatHostPort, type SocketAddress } from "@adit/core";
import {
  type Context,
  Datagrams,
  type Exposure,
  type ExposureStatus,
  type IntermediateAddress,
  intermediateOptions,
  type OpenState,
  peerMetrics,
  peerStatus,
  Streams,
  startAdmin,
  Trace,
} from "@adit/program";
import type { Congestion } from "@adit/quic";
import type { Endpoint, EndpointOptions } from "@adit/transport";
import { noteExposed } from "./exposed.ts";
import { Services } from "./services.ts";
import { untilStopped } from "./stop.ts";
import { UdpServices } from "./udp-services.ts";

export interface ConnectorValues {
  /** In the order of preference. */
  readonly intermediate: readonly IntermediateAddress[];
  readonly name: string;
  readonly expose: readonly Exposure[];
  /** PeerIds, or `any`. */
  readonly allow: readonly string[];
  readonly bind: { readonly ip: string; readonly port: number } | undefined;
  readonly udpIdle: number;
  /** The file for a trace of the sessions. */
  readonly trace: string | undefined;
  readonly admin: SocketAddress;
  readonly icePolicy: "all" | "relay";
  readonly congestionControl: Congestion;
  readonly portMapping: "on" | "off";
}

export type StartEndpoint = (options: EndpointOptions) => Promise<Endpoint>;

const NOBODY =
  "nobody is let in, for there is no --allow: on the agent's machine `adit-agent id` prints its PeerId; start this again with " +
  "--allow PEERID (may be repeated), or with --allow any to let everybody in, or give out tickets (`adit-connector ticket`)";

/**
 * `adit-connector`: registers and serves until it is told to end, or refused for good.
 * @throws ExitError
 */
export async function connector(
  start: StartEndpoint,
  values: ConnectorValues,
  state: OpenState,
  context: Context,
): Promise<void> {
  const { log, signal } = context;
  const { intermediate, name, bind, icePolicy, congestionControl, portMapping } = values;
  const streams = new Streams(log);
  const datagrams = new Datagrams();
  const udp = new UdpServices({ datagrams, log, idleMs: values.udpIdle });
  const services = new Services(values.expose, streams, udp, log);
  noteExposed(context.stateDir, [...new Set(values.expose.map(({ service }) => service))]);
  const allowed = new Set(values.allow);
  if (allowed.size === 0) log.warn("nobody-allowed", { message: NOBODY });
  const trace = await Trace.open(values.trace, log, { program: "adit-connector" });
  const endpoint = await start({
    identity: state.identity,
    role: "connector",
    name,
    ...intermediateOptions(state.pins, intermediate),
    ...(bind && { bind }),
    icePolicy,
    congestion: congestionControl,
    portMapping: portMapping === "on",
    admit: (peerId) => allowed.has("any") || allowed.has(peerId),
    offers: (service) => services.has(service),
    onService: (request) => void services.serve(request),
    log: trace?.tap(log) ?? log,
  });
  trace?.sample((limit) => endpoint.samples(limit));
  const endings: (() => unknown)[] = [
    () => trace?.close(),
    () => endpoint.close("the connector is ending"),
    () => services.reset(),
  ];
  try {
    const stopped = untilStopped(endpoint, signal, log);
    const readiness = () => ({ ready: endpoint.registered, registered: endpoint.registered });
    const admin = await startAdmin(values.admin, {
      health: readiness,
      status: () => ({
        ...peerStatus(endpoint.status(), [], datagrams.status()),
        name,
        exposed: values.expose.map(exposureStatus),
        allowed: [...allowed],
      }),
      metrics: () => [...peerMetrics(endpoint.status(), readiness()), ...streams.metrics(), ...datagrams.metrics()],
    });
    endings.push(() => admin.close());
    log.debug("admin", { address: admin.address });
    await stopped;
  } finally {
    for (const end of endings.reverse()) await end();
  }
}

const exposureStatus = ({ service, protocol, host, port }: Exposure): ExposureStatus => ({
  service,
  protocol,
  address: formatHostPort(host, port),
});
