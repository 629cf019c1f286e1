import type { Deadline, Millis, SocketAddress, SocketId, Transmit } from "@adit/core";
import type { Scheduled } from "./clock.ts";
import type { Host, SimSocket } from "./host.ts";

/** A sans-IO state machine: what an ICE agent, a TURN client behind an adapter, or a whole endpoint looks like from outside. */
export interface SimMachine {
  handleDatagram(now: Millis, socket: SocketId, from: SocketAddress, data: Uint8Array): unknown;
  handleTimeout(now: Millis): void;
  pollTimeout(): Deadline | null;
  pollTransmit(): Transmit | null;
}

/** A machine at work on a host. */
export interface RunningMachine {
  readonly sockets: ReadonlyMap<SocketId, SimSocket>;
  /** To be called after the machine was called from outside: sends what it wants sent and arms its timer. */
  wake(): void;
  /** Closes its sockets and forgets its timer. */
  stop(): void;
}

/** A machine that produces more than this in one turn, or whose deadline stays in the past, is broken. */
const MAX_TRANSMITS_PER_TURN = 100_000;
const MAX_IDLE_TIMEOUTS = 1000;

/**
 * Plugs a machine into a host: binds a socket for each id (`options.sockets`, default one wildcard socket 0) and drives the
 * machine on the network's clock. `onTurn` runs after each turn, to drain events; what it makes the machine do is picked up.
 * @throws Error from the clock's run loop when the machine spins: its deadline stays due although it was called.
 */
export function runMachine(
  host: Host,
  machine: SimMachine,
  options: {
    readonly sockets?: ReadonlyMap<SocketId, { readonly ip?: string; readonly port?: number }>;
    readonly onTurn?: (now: Millis) => void;
  } = {},
): RunningMachine {
  const { clock } = host.network;
  const sockets = new Map<SocketId, SimSocket>();
  let timer: Scheduled | null = null;
  let stopped = false;
  let dueWithoutProgress = 0;
  let lastTurnAt: Millis = -1;

  const flush = (): void => {
    for (let sent = 0; ; sent++) {
      const transmit = machine.pollTransmit();
      if (!transmit) return;
      if (sent >= MAX_TRANSMITS_PER_TURN) throw new Error(`machine on ${host.name} never stops transmitting`);
      const socket = sockets.get(transmit.socket);
      if (!socket)
        throw new Error(`machine on ${host.name} sends from socket ${transmit.socket}, which it has not got`);
      socket.send(transmit.data, transmit.to);
    }
  };
  const turn = (): void => {
    if (stopped) return;
    flush();
    options.onTurn?.(clock.now());
    flush();
    timer?.cancel();
    timer = null;
    const deadline = machine.pollTimeout();
    if (!deadline) return;
    if (Number.isNaN(deadline.at)) throw new Error(`deadline "${deadline.reason}" of ${host.name} is not a time`);
    const spinning = deadline.at <= clock.now() && lastTurnAt === clock.now();
    dueWithoutProgress = spinning ? dueWithoutProgress + 1 : 0;
    if (dueWithoutProgress > MAX_IDLE_TIMEOUTS) {
      throw new Error(`deadline "${deadline.reason}" of ${host.name} stays due at ${clock.now()} ms: a busy loop`);
    }
    lastTurnAt = clock.now();
    if (deadline.at === Number.POSITIVE_INFINITY) return;
    timer = clock.schedule(deadline.at, () => {
      machine.handleTimeout(clock.now());
      turn();
    });
  };
  for (const [id, where] of options.sockets ?? new Map([[0, {}]])) {
    const receive = ({ data, from }: { data: Uint8Array; from: SocketAddress }): void => {
      if (stopped) return;
      machine.handleDatagram(clock.now(), id, from, data);
      turn();
    };
    sockets.set(id, host.bind(receive, where));
  }
  return {
    sockets,
    wake: turn,
    stop: () => {
      stopped = true;
      timer?.cancel();
      for (const socket of sockets.values()) socket.close();
    },
  };
}
