import { SocketAddress } from "@adit/core";
import { BaseUdpSocket, type UdpParts } from "./base.ts";
import { UdpCounts } from "./counts.ts";
import { bindError, errorCode } from "./errors.ts";
import { Gatherer } from "./gather.ts";
import { LANE_RULES, Lanes } from "./lanes.ts";
import { linuxCalls } from "./linux-calls.ts";
import type { MessageSender } from "./messages.ts";
import { descriptorOf, socketCalls } from "./socket-calls.ts";
import type { Outgoing, UdpBindOptions, UdpSocket } from "./udp.ts";

/** `data, port, ip, data, port, ip, ...` */
type Triples = (Uint8Array | number | string)[];

/** What this file needs of `Bun.udpSocket`. */
export interface NativeSocket {
  /** Returns how many datagrams were taken, or throws when the first one is refused. */
  sendMany(packets: Triples): number;
  close(): void;
}

/** libuSockets' LIBUS_SOCKET_IPV6_ONLY: not in Bun's types, but `node:dgram` of Bun sets `ipv6Only` by it. A test guards it. */
const IPV6_ONLY_FLAG = 8;

/**
 * A UDP socket on `Bun.udpSocket`.
 * @throws UdpBindError
 */
export async function bindBun(options: UdpBindOptions, laneRules = LANE_RULES): Promise<UdpSocket> {
  const { address, handlers } = options;
  const counts = new UdpCounts();
  const handle = { socket: null as BunUdpSocket | null };
  const gatherer = new Gatherer(address.family, counts, (batch) => handlers.onBatch(batch));
  // Made before the socket is: once bound, the caller must have it before the first batch comes.
  const [calls, linux] = [await socketCalls(), await linuxCalls()];
  let native: NativeSocket & { readonly port: number };
  try {
    native = await Bun.udpSocket({
      hostname: address.ip,
      port: address.port,
      ...(address.family === 6 ? { flags: IPV6_ONLY_FLAG } : {}),
      socket: {
        data: (_socket, data, port, ip) => gatherer.push(data, ip, port),
        drain: () => handle.socket?.onNativeDrain(),
        // The types say (socket, error); what comes is (error). It is an ICMP message about some datagram sent before.
        error: (...args: unknown[]) => {
          const code = errorCode(args.find((arg) => arg instanceof Error));
          counts.receiveErrors.add(code);
          if (handle.socket) handlers.onIcmpError?.(code);
        },
      },
    });
  } catch (cause) {
    throw bindError(address, cause);
  }
  calls.raiseReceiveBuffer(native);
  calls.dropReceiveDetails(native, address.family);
  const { onPart } = handlers;
  const receiver = onPart ? calls.messageReceiver(native, address.family, counts) : null;
  if (options.dontFragment) calls.forbidFragments(native, address.family);
  const bound = SocketAddress.of(address.ip, native.port);
  if (onPart && receiver) {
    const fd = descriptorOf(native);
    const lanes =
      linux && fd !== null
        ? new Lanes({ linux, calls, main: { fd, address: bound }, handlers, onPart, counts }, laneRules)
        : undefined;
    gatherer.takeBursts({ receive: () => receiver.receive(), onPart, lanes });
  }
  const parts = { address: bound, native, handlers, counts, gatherer };
  handle.socket = new BunUdpSocket(parts, {
    messages: calls.messageSender(native, address.family),
    whole: options.dontFragment
      ? null
      : (send) => {
          if (!calls.forbidFragments(native, address.family)) return send();
          try {
            return send();
          } finally {
            calls.allowFragments(native, address.family);
          }
        },
  });
  return handle.socket;
}

/** Runs what sends on a socket while its datagrams are not fragmented; returns what it returned. */
type Unfragmented = (send: () => number) => number;

/** @internal Exported for its test. */
export class BunUdpSocket extends BaseUdpSocket<NativeSocket> {
  readonly #messages: MessageSender | null;
  readonly #whole: Unfragmented | null;

  constructor(
    parts: UdpParts<NativeSocket>,
    extras: { readonly messages?: MessageSender | null; readonly whole?: Unfragmented | null } = {},
  ) {
    super(parts);
    this.#messages = extras.messages ?? null;
    this.#whole = extras.whole ?? null;
  }

  /** Bun also says "drain" after a batch that stopped at a refused datagram. */
  onNativeDrain(): void {
    this.drained();
  }

  protected override offer(batch: readonly Outgoing[], from: number): number {
    const whole = this.#whole;
    let at = from;
    if (whole) while (at < batch.length && !batch[at]?.dontFragment) at++;
    if (!whole || at === batch.length) return this.#offerMessages(batch, from, batch.length);
    // One that must not be fragmented goes alone: they are rare.
    const before = this.#offerMessages(batch, from, at);
    if (before < at - from || whole(() => this.#offerMany(batch, at, at + 1)) === 0) return before;
    return before + 1 + this.offer(batch, at + 1);
  }

  /** By system calls of our own where there are some. What they do not take shows in the runtime's call why. */
  #offerMessages(batch: readonly Outgoing[], from: number, end: number): number {
    const messages = this.#messages;
    if (!messages) return this.#offerMany(batch, from, end);
    for (let at = from; ; ) {
      const taken = messages.send(batch, at, end);
      this.counts.sent += taken;
      at += taken;
      if (at === end) return at - from;
      // The kernel is full, an ICMP error about an earlier datagram was in the way, or this cannot be sent, or not as a run.
      const count = messages.countAt(batch, at, end);
      const sentBefore = this.counts.sent;
      const dealt = this.#offerMany(batch, at, at + count);
      if (this.counts.sent - sentBefore === count) messages.refused(count);
      at += dealt;
      if (dealt < count || at === end) return at - from;
    }
  }

  #offerMany(batch: readonly Outgoing[], from: number, end: number): number {
    const packets: Triples = [];
    const refused: { readonly index: number; readonly code: string }[] = [];
    for (let i = from; i < end; i++) {
      const { data, to } = batch[i] as Outgoing;
      const code = this.refusal(to);
      if (code === null) packets.push(data, to.port, to.ip);
      else refused.push({ index: i - from, code });
    }
    const sent = this.#sendPackets(packets);
    let dealt = sent;
    for (const { index, code } of refused) {
      if (index > dealt) break; // behind the first one that waits: it is met again with it
      this.counts.sendErrors.add(code);
      dealt++;
    }
    return dealt;
  }

  /**
   * Sends until all are dealt with or the kernel takes no more; returns how many datagrams were dealt with.
   *
   * `sendMany` stops short for two reasons that look alike: the kernel is full, or it refused a datagram. Asking again from
   * there tells them apart: a full kernel takes 0, a refused datagram throws. And an ICMP error about an earlier datagram is
   * delivered to whichever send comes next (Bun sets IP_RECVERR), which is then not carried out although nothing is wrong with
   * it: so the same datagram is offered once more before it is given up.
   */
  #sendPackets(packets: Triples): number {
    const total = packets.length / 3;
    let dealt = 0;
    let retried = -1;
    while (dealt < total) {
      try {
        const taken = this.native.sendMany(dealt === 0 ? packets : packets.slice(dealt * 3));
        if (taken === 0) break;
        this.counts.sent += taken;
        dealt += taken;
      } catch (error) {
        if (retried !== dealt) {
          retried = dealt;
          continue;
        }
        this.counts.sendErrors.add(errorCode(error));
        dealt++;
      }
    }
    return dealt;
  }
}
