import { SocketAddress } from "@adit/core";
import { BaseUdpSocket } from "./base.ts";
import { UdpCounts } from "./counts.ts";
import { bindError, isIcmpError } from "./errors.ts";
import { EPOLLERR, EPOLLIN, EPOLLOUT, linuxCalls, type OpenSocket } from "./linux-calls.ts";
import type { MessageSender } from "./messages.ts";
import { type Polled, Readiness } from "./readiness.ts";
import { type SocketCalls, socketCalls } from "./socket-calls.ts";
import type { Incoming, Outgoing, UdpBindOptions, UdpHandlers, UdpSocket } from "./udp.ts";

/** Datagrams read by one call at most. */
const MAX_READ = 64;

/** What a header of UDP can say. Longer ones are not shown to the kernel, which would be asked for the reason after a call that was not made. */
const MAX_DATAGRAM_BYTES = 65_535;

/**
 * A UDP socket of our own: read by recvmmsg(2) together with all others of its kind, without objects of the runtime. Null where the
 * system does not have what it takes; then there are the runtime's sockets.
 * @throws UdpBindError
 */
export async function bindPolled(options: UdpBindOptions): Promise<UdpSocket | null> {
  const linux = await linuxCalls();
  if (!linux) return null;
  const calls = await socketCalls();
  const { address } = options;
  let native: OpenSocket;
  try {
    native = linux.open(address);
  } catch (cause) {
    throw bindError(address, cause);
  }
  // From here on nothing is waited for: the shared one closes with its last socket.
  const messages = calls.messageSender(native, address.family);
  const readiness = messages && Readiness.shared(linux);
  if (readiness) {
    const bound = SocketAddress.of(address.ip, native.port);
    const socket = new PolledUdpSocket({ bound, native, options, readiness, messages, calls });
    if (readiness.add(native.fd, socket)) return socket;
  }
  linux.close(native.fd);
  return null;
}

interface Parts {
  readonly bound: SocketAddress;
  readonly native: OpenSocket;
  readonly options: UdpBindOptions;
  readonly readiness: Readiness;
  readonly messages: MessageSender;
  readonly calls: SocketCalls;
}

class PolledUdpSocket extends BaseUdpSocket<OpenSocket & { close(): void }> implements Polled {
  readonly #readiness: Readiness;
  readonly #handlers: UdpHandlers;
  readonly lends: boolean;
  readonly #messages: MessageSender;
  readonly #calls: SocketCalls;
  /** Whether single datagrams may ask not to be fragmented; otherwise all do. */
  readonly #asksForWhole: boolean;
  /** How many to ask for: as many as came last. A call for one never looks in vain. */
  #expected = 1;
  /** The last round in which as many came as were asked for. */
  #fullRound = Number.NEGATIVE_INFINITY;

  constructor({ bound, native, options, readiness, messages, calls }: Parts) {
    const { fd } = native;
    const close = (): void => {
      readiness.remove(fd);
      readiness.calls.close(fd);
    };
    const counts = new UdpCounts();
    const { handlers, lends = false, dontFragment = false } = options;
    super({ address: bound, native: { ...native, close }, handlers, counts, gatherer: { close: () => {} } });
    this.#readiness = readiness;
    this.#handlers = handlers;
    this.lends = lends;
    this.#messages = messages;
    this.#calls = calls;
    this.#asksForWhole = !dontFragment;
    calls.raiseReceiveBuffer(native);
    if (dontFragment) calls.forbidFragments(native, bound.family);
  }

  onReady(events: number): void {
    try {
      if (events & EPOLLERR) this.#readiness.readErrors(this.native.fd, (code) => this.#tellError(code));
      if (events & EPOLLOUT && !this.isClosed) {
        this.#readiness.wantDrain(this.native.fd, false);
        this.drained();
      }
      if (events & EPOLLIN && !this.isClosed) this.#read();
    } catch (error) {
      // A bug above, which must not stop the reading of all other sockets.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  /**
   * Of thousands of sockets most have one datagram at a time, and are asked for one. A socket that had all that was asked for two rounds in a row
   * is in the middle of a burst, and is read until it has no more: the larger the batch, the cheaper is what it costs to send it on.
   */
  #read(): void {
    const { round } = this.#readiness;
    let wanted = this.#expected;
    for (let total = 0; total < MAX_READ && !this.isClosed; ) {
      const count = this.#receive(wanted);
      total += count;
      if (count < wanted) {
        this.#expected = Math.max(1, total);
        return;
      }
      const isBurst = round - this.#fullRound <= 1;
      this.#fullRound = round;
      if (!isBurst) return;
      wanted = MAX_READ;
    }
    this.#expected = MAX_READ;
  }

  /** Reads and hands up; how many came. Fewer than wanted may be for lack of room. */
  #receive(wanted: number): number {
    const { calls, memory } = this.#readiness;
    const room = this.#readiness.makeRoom();
    if (this.isClosed) return 0; // at the end of a round
    const count = calls.receive(this.native.fd, memory.nextHeader, Math.min(wanted, room));
    if (count <= 0) return 0;
    const lent = memory.take(count, this.address.family, (why) => this.counts.receiveErrors.add(why));
    if (lent.length === 0) return count;
    this.counts.received += lent.length;
    const { onRoundEnd } = this.#handlers;
    if (this.lends && onRoundEnd) this.#readiness.tellEnd(onRoundEnd);
    this.#handlers.onBatch(this.lends ? lent : lent.map(copy));
    return count;
  }

  /** Whether there may be another one. */
  #tellError(code: string): boolean {
    this.counts.receiveErrors.add(code);
    this.#handlers.onIcmpError?.(code);
    return !this.isClosed;
  }

  protected override offer(batch: readonly Outgoing[], from: number): number {
    let at = from;
    if (this.#asksForWhole) while (at < batch.length && !batch[at]?.dontFragment) at++;
    if (!this.#asksForWhole || at === batch.length) return this.#offer(batch, from, batch.length);
    // One that must not be fragmented goes alone: they are rare.
    const before = this.#offer(batch, from, at);
    if (before < at - from || !this.#offerWhole(batch, at)) return before;
    return before + 1 + this.offer(batch, at + 1);
  }

  #offerWhole(batch: readonly Outgoing[], at: number): boolean {
    const { family } = this.address;
    const isSet = this.#calls.forbidFragments(this.native, family);
    try {
      return this.#offer(batch, at, at + 1) === 1;
    } finally {
      if (isSet) this.#calls.allowFragments(this.native, family);
    }
  }

  #offer(batch: readonly Outgoing[], from: number, end: number): number {
    for (let at = from; ; ) {
      const taken = this.#messages.send(batch, at, end);
      this.counts.sent += taken;
      at += taken;
      if (at === end) return at - from;
      // The kernel is full, an ICMP error about an earlier datagram was in the way, or this cannot be sent, or not as a run: one by one.
      const count = this.#messages.countAt(batch, at, end);
      const sentBefore = this.counts.sent;
      for (const until = at + count; at < until; at++) {
        if (!this.#offerOne(batch, at)) {
          this.#readiness.wantDrain(this.native.fd, true);
          return at - from;
        }
      }
      if (count > 1 && this.counts.sent - sentBefore === count) this.#messages.refused(count);
      if (at === end) return at - from;
    }
  }

  /** False when the kernel takes no more now; otherwise it was sent, or refused and counted. */
  #offerOne(batch: readonly Outgoing[], at: number): boolean {
    const { data, to } = batch[at] as Outgoing;
    let code = data.length > MAX_DATAGRAM_BYTES ? "EMSGSIZE" : this.refusal(to);
    for (let tries = 0; code === null && tries < 2; tries++) {
      if (this.#messages.sendOne(batch, at)) {
        this.counts.sent++;
        return true;
      }
      const why = this.#readiness.calls.failure();
      if (why === "EAGAIN") return false;
      if (tries === 1 || !isIcmpError(why)) code = why;
    }
    this.counts.sendErrors.add(code ?? "unknown");
    return true;
  }
}

const copy = ({ data, from }: Incoming): Incoming => ({ data: data.slice(), from });
