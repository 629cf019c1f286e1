import type { SocketAddress } from "@adit/core";
import {
  type Context,
  Datagrams,
  type LocalListener,
  type OpenState,
  peerMetrics,
  peerStatus,
  Streams,
  startAdmin,
} from "@adit/program";
import { ANY_SERVICE } from "@adit/signaling";
import type { PeerSession } from "@adit/transport";
import { Carrier } from "./carrier.ts";
import { isPermanent } from "./failures.ts";
import { Link, type LinkValues, type StartEndpoint } from "./link.ts";
import { type BoundListener, Listeners } from "./listeners.ts";
import { UnknownServices } from "./open-on-session.ts";
import { SessionKeeper } from "./session-keeper.ts";
import { UdpCarrier } from "./udp-carrier.ts";
import { UdpListeners } from "./udp-listeners.ts";

export interface ForwardValues extends LinkValues {
  readonly local: readonly LocalListener[];
  readonly udpIdle: number;
  readonly admin: SocketAddress;
}

/**
 * `adit-agent forward`: local TCP and UDP listeners that lead to a connector's services. Runs until it is told to end, or refused for
 * good.
 * @throws ExitError
 */
export async function forward(
  start: StartEndpoint,
  values: ForwardValues,
  state: OpenState,
  context: Context,
): Promise<void> {
  const { log } = context;
  const streams = new Streams(log);
  const datagrams = new Datagrams();
  const stop = new AbortController();
  const signal = AbortSignal.any([context.signal, stop.signal]);
  const services = [...new Set(values.local.map(({ service }) => service))];
  // First of all, so that a client may knock as soon as the program runs.
  const listeners = await Listeners.bind(values.local.filter(({ protocol }) => protocol === "tcp"));
  const endings: (() => unknown)[] = [() => listeners.stop()];
  try {
    const udpListeners = await UdpListeners.bind(
      values.local.filter(({ protocol }) => protocol === "udp"),
      (reason, count) => datagrams.dropped.add(reason, count),
    );
    endings.push(() => udpListeners.close());
    const link = await Link.open(start, values, state, context);
    endings.push(
      () => link.close(),
      () => listeners.reset(),
    );
    const keeper = new SessionKeeper<PeerSession>({
      connect: () => link.connect(services.length === 1 ? (services[0] as string) : ANY_SERVICE),
      isPermanent,
      log,
      signal,
    });
    const unknown = new UnknownServices(services, (error) => stop.abort(error));
    const session = (until: AbortSignal): Promise<PeerSession> => keeper.session(until);
    const carrier = new Carrier({ session, streams, log, unknown });
    const udpCarrier = new UdpCarrier({ session, datagrams, log, unknown, idleMs: values.udpIdle });
    endings.push(() => udpCarrier.close());
    const bound = [...listeners.bound, ...udpListeners.bound];
    const admin = await startAdmin(values.admin, {
      health: () => ({
        ready: !signal.aborted,
        listeners: bound.map(({ protocol, service, address }) => ({ protocol, service, address })),
      }),
      status: () => peerStatus(link.endpoint.status(), listenerStatus(bound), datagrams.status()),
      metrics: () => [
        ...peerMetrics(link.endpoint.status(), { ready: !signal.aborted, registered: link.endpoint.registered }),
        ...streams.metrics(),
        ...datagrams.metrics(),
      ],
    });
    endings.push(() => admin.close());
    log.debug("admin", { address: admin.address });
    for (const { protocol, service, address } of bound) log.info("listening", { service, address, protocol });
    link.endpoint.onStopped = (code, message) => {
      // Without a session the attempt to get one fails with the same words.
      if (keeper.isUp) log.warn("intermediate-refused", { code, message });
    };
    listeners.start((socket, service) => void carrier.carry(socket, service));
    udpListeners.start((listener, batch) => {
      for (const { data, from } of batch) udpCarrier.handle(listener, from, data);
    });
    await keeper.run().catch((error) => {
      throw link.failure(error);
    });
    if (stop.signal.aborted) throw stop.signal.reason;
  } finally {
    for (const end of endings.reverse()) await end();
  }
}

const listenerStatus = (bound: readonly BoundListener[]) =>
  bound.map(({ protocol, service, address }) => ({ protocol, service, address: address.key }));
