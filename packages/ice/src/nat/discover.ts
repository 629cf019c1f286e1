import { networkInterfaces } from "node:os";
import {
  type Clock,
  type Logger,
  type Millis,
  monotonicClock,
  nullLogger,
  type Random,
  type SocketAddress,
  systemRandom,
} from "@adit/core";
import { IceConnectionError } from "../driver/errors.ts";
import { resolveServer } from "../driver/resolve.ts";
import { bindUdp, type Udp } from "../driver/udp.ts";
import type { RetransmissionTiming } from "../stun/transaction.ts";
import { type LocalSocket, NatDiscovery } from "./discovery.ts";
import type { NatReport } from "./report.ts";

/** What {@link discoverNat} takes. */
export interface DiscoverNatOptions {
  /** `host:port` of a STUN server. Mapping and filtering take one with two addresses (RFC 5780). */
  readonly server: string;
  /** The IP address to ask from; by default the system chooses. */
  readonly bind?: string;
  /** Measures how long a mapping lives, which takes as long as the longest trials; not unless given. */
  readonly lifetime?: { readonly maxMs: Millis; readonly resolutionMs: Millis };
  /** Of each question; see {@link NatDiscoveryOptions}. */
  readonly timing?: Partial<RetransmissionTiming>;
  /** Ends the questions: IceConnectionError `closed`. */
  readonly signal?: AbortSignal;
  /** A monotonic clock, ms; the machine's unless given. */
  readonly clock?: Clock;
  /** Of transaction IDs; the system's unless given. */
  readonly random?: Random;
  /** Silent unless given. */
  readonly log?: Logger;
}

/**
 * Asks a STUN server from three new sockets what a NAT makes of our packets. Takes a few round trips where all is answered, and 3.3 s
 * for each question that a filter or a silent server leaves open, seven at most.
 * @throws IceConnectionError `bad-server`, `bind-failed`, `closed` when aborted.
 */
export async function discoverNat(options: DiscoverNatOptions): Promise<NatReport> {
  const server = await resolveServer(options.server);
  const log = options.log ?? nullLogger;
  const ip = options.bind ?? (server.family === 4 ? "0.0.0.0" : "::");
  const receiver: { current: Inquiry | null } = { current: null };
  const sockets: Udp[] = [];
  try {
    const bind = async (): Promise<LocalSocket> => {
      const socket = sockets.length;
      const udp = await bindUdp(ip, 0, (data, from) => receiver.current?.handleDatagram(socket, from, data), log);
      sockets.push(udp);
      return { socket, port: udp.address.port };
    };
    const locals = [await bind(), await bind(), await bind()] as const;
    const inquiry = new Inquiry(options, server, locals, sockets);
    receiver.current = inquiry;
    return await inquiry.report;
  } finally {
    await Promise.all(sockets.map((socket) => socket.close()));
  }
}

/** The loop around the state machine. */
class Inquiry {
  readonly report: Promise<NatReport>;
  readonly #machine: NatDiscovery;
  readonly #sockets: readonly Udp[];
  readonly #clock: Clock;
  readonly #signal: AbortSignal | null;
  readonly #onAbort = (): void => this.#end(() => this.#reject(new IceConnectionError("closed", "it was aborted")));
  #resolve: (report: NatReport) => void = () => {};
  #reject: (error: Error) => void = () => {};
  #timer: ReturnType<typeof setTimeout> | null = null;
  #over = false;

  constructor(
    options: DiscoverNatOptions,
    server: SocketAddress,
    locals: readonly [LocalSocket, LocalSocket, LocalSocket],
    sockets: readonly Udp[],
  ) {
    this.#sockets = sockets;
    this.#clock = options.clock ?? monotonicClock;
    this.#signal = options.signal ?? null;
    this.report = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#machine = new NatDiscovery(this.#clock.now(), {
      server,
      sockets: locals,
      localIps: Object.values(networkInterfaces()).flatMap((of) => of?.map(({ address }) => address) ?? []),
      random: options.random ?? systemRandom,
      ...(options.lifetime ? { lifetime: options.lifetime } : {}),
      ...(options.timing ? { timing: options.timing } : {}),
    });
    this.#signal?.addEventListener("abort", this.#onAbort, { once: true });
    if (this.#signal?.aborted) this.#onAbort();
    else this.#turn();
  }

  handleDatagram(socket: number, from: SocketAddress, data: Uint8Array): void {
    if (this.#over) return;
    this.#machine.handleDatagram(this.#clock.now(), socket, from, data);
    this.#turn();
  }

  #turn(): void {
    for (let out = this.#machine.pollTransmit(); out; out = this.#machine.pollTransmit()) {
      this.#sockets[out.socket]?.send(out.data, out.to);
    }
    const { report } = this.#machine;
    if (report) return this.#end(() => this.#resolve(report));
    if (this.#timer) clearTimeout(this.#timer);
    const deadline = this.#machine.pollTimeout();
    this.#timer = null;
    if (!deadline) return;
    this.#timer = setTimeout(
      () => {
        this.#machine.handleTimeout(this.#clock.now());
        this.#turn();
      },
      Math.max(0, deadline.at - this.#clock.now()),
    );
  }

  #end(tell: () => void): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#timer) clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#onAbort);
    tell();
  }
}
