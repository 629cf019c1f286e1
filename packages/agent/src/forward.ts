import type { SocketAddress } from "@adit/core";
import {
  type Context,
  type ExitError,
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
import { Listeners } from "./listeners.ts";
import { SessionKeeper } from "./session-keeper.ts";

export interface ForwardValues extends LinkValues {
  readonly local: readonly LocalListener[];
  readonly admin: SocketAddress;
}

/**
 * `adit-agent forward`: local TCP listeners that lead to a connector's services. Runs until it is told to end, or refused for
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
  const stop = new AbortController();
  const signal = AbortSignal.any([context.signal, stop.signal]);
  const services = [...new Set(values.local.map(({ service }) => service))];
  // First of all, so that a client may knock as soon as the program runs.
  const listeners = await Listeners.bind(values.local);
  const endings: (() => unknown)[] = [() => listeners.stop()];
  try {
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
    const onUseless = (error: ExitError): void => stop.abort(error);
    const carrier = new Carrier({ session: (until) => keeper.session(until), streams, log, services, onUseless });
    const admin = await startAdmin(values.admin, {
      health: () => ({ ready: !signal.aborted, listeners: listeners.bound }),
      status: () => peerStatus(link.endpoint.status(), listenerStatus(listeners)),
      metrics: () => [...peerMetrics(link.endpoint.status()), ...streams.metrics()],
    });
    endings.push(() => admin.close());
    log.debug("admin", { address: admin.address });
    for (const { service, address } of listeners.bound) log.info("listening", { service, address });
    link.endpoint.onStopped = (code, message) => {
      // Without a session the attempt to get one fails with the same words.
      if (keeper.isUp) log.warn("intermediate-refused", { code, message });
    };
    listeners.start((socket, service) => void carrier.carry(socket, service));
    await keeper.run().catch((error) => {
      throw link.failure(error);
    });
    if (stop.signal.aborted) throw stop.signal.reason;
  } finally {
    for (const end of endings.reverse()) await end();
  }
}

const listenerStatus = (listeners: Listeners) =>
  listeners.bound.map(({ service, address }) => ({ service, address: address.key }));
