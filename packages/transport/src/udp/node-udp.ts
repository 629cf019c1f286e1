import { createSocket, type Socket } from "node:dgram";
import { SocketAddress } from "@adit/core";
import { BaseUdpSocket } from "./base.ts";
import { UdpCounts } from "./counts.ts";
import { bindError, errorCode, isIcmpError } from "./errors.ts";
import { Gatherer } from "./gather.ts";
import { RECEIVE_BUFFER_BYTES } from "./socket-calls.ts";
import type { Outgoing, UdpBindOptions, UdpSocket } from "./udp.ts";

/** What this file needs of a `node:dgram` socket. */
export interface NativeSocket {
  send(data: Uint8Array, port: number, ip: string, done: (error: Error | null) => void): void;
  /** Datagrams that the kernel did not take at once, and that the runtime keeps. */
  getSendQueueCount(): number;
  close(): void;
}

/** The runtime keeps what the kernel does not take, without bound; so no more than this is given to it then. */
const MAX_KEPT_BY_RUNTIME = 64;

/** Asking how much it keeps costs a call into the runtime, so it is asked once per this many datagrams. */
const ASK_EVERY = 16;

/**
 * A UDP socket on `node:dgram`, on Node and on Bun.
 * @throws UdpBindError
 */
export async function bindNode(options: UdpBindOptions): Promise<UdpSocket> {
  const { address } = options;
  const counts = new UdpCounts();
  const native = createSocket({
    type: address.family === 4 ? "udp4" : "udp6",
    ipv6Only: address.family === 6,
    // Destinations are IP addresses: answering at once makes send() reach the kernel before it returns.
    lookup: (ip, _options, callback) => callback(null, ip, address.family),
  });
  await new Promise<void>((resolve, reject) => {
    native.once("error", (cause) => {
      native.close();
      reject(bindError(address, cause));
    });
    native.bind({ address: address.ip, port: address.port, exclusive: true }, resolve);
  });
  native.removeAllListeners("error");
  native.on("error", (error) => {
    const code = errorCode(error);
    counts.receiveErrors.add(code);
    options.handlers.onIcmpError?.(code);
  });
  raiseReceiveBuffer(native);
  const gatherer = new Gatherer(address.family, counts, (batch) => options.handlers.onBatch(batch));
  native.on("message", (data, { address: ip, port }) => gatherer.push(data, ip, port));
  const bound = SocketAddress.of(address.ip, native.address().port);
  return new NodeUdpSocket({ address: bound, native, handlers: options.handlers, counts, gatherer });
}

/** Linux gives what it permits; BSD refuses what is above its limit, so halve until it is accepted. */
function raiseReceiveBuffer(socket: Socket): void {
  for (let size = RECEIVE_BUFFER_BYTES; size >= 128 * 1024; size /= 2) {
    try {
      socket.setRecvBufferSize(size);
      return;
    } catch {}
  }
}

/** @internal Exported for its test. */
export class NodeUdpSocket extends BaseUdpSocket<NativeSocket> {
  protected override offer(batch: readonly Outgoing[], from: number): number {
    for (let i = from; i < batch.length; i++) {
      const mayBeFull = (i - from) % ASK_EVERY === 0;
      if (mayBeFull && this.native.getSendQueueCount() >= MAX_KEPT_BY_RUNTIME) return i - from;
      this.#sendOne(batch[i] as Outgoing);
    }
    return batch.length - from;
  }

  #sendOne({ data, to }: Outgoing): void {
    const code = this.refusal(to);
    if (code !== null) {
      this.counts.sendErrors.add(code);
      return;
    }
    // A copy, because the runtime may keep it for a while and the caller may reuse the bytes.
    this.#hand(Buffer.from(data), to, false);
  }

  #hand(data: Uint8Array, to: SocketAddress, isRetry: boolean): void {
    // The runtime calls back once per datagram, in a later turn, also for those that the kernel took at once.
    const done = (error: Error | null): void => {
      if (error) this.#failed(errorCode(error), data, to, isRetry);
      else this.counts.sent++;
      if (this.isBlocked && this.native.getSendQueueCount() === 0) this.drained();
    };
    try {
      this.native.send(data, to.port, to.ip, done);
    } catch (error) {
      this.counts.sendErrors.add(errorCode(error));
    }
  }

  /**
   * What {@link isIcmpError} says may be about an earlier datagram (Bun sets IP_RECVERR; Node does not): so this one is offered once more,
   * late, before it is given up.
   */
  #failed(code: string, data: Uint8Array, to: SocketAddress, isRetry: boolean): void {
    if (isRetry || this.isClosed || !isIcmpError(code)) this.counts.sendErrors.add(code);
    else this.#hand(data, to, true);
  }
}
