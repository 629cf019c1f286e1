import type { SocketAddress } from "@adit/core";
import type { DatagramDrop, LocalListener } from "@adit/program";
import { bindUdp, type Incoming, type Outgoing, type UdpSocket } from "@adit/transport";
import type { BoundListener } from "./listeners.ts";

/** Datagrams that came before {@link UdpListeners.start}, per listener; the newest are dropped, as a full socket would. */
const MAX_EARLY = 64;

type Handler = (listener: UdpListener, batch: readonly Incoming[]) => void;

/** A bound local UDP socket whose datagrams go to one service. */
export class UdpListener implements BoundListener {
  readonly protocol = "udp";
  readonly service: string;
  readonly address: SocketAddress;
  readonly #socket: UdpSocket;
  readonly #dropped: (reason: DatagramDrop, count: number) => void;
  #outgoing: Outgoing[] = [];

  constructor(socket: UdpSocket, service: string, dropped: (reason: DatagramDrop, count: number) => void) {
    this.#socket = socket;
    this.service = service;
    this.address = socket.address;
    this.#dropped = dropped;
  }

  /** To a local source. What is sent in one turn of the event loop leaves in one call; what the system does not take is dropped. */
  send(to: SocketAddress, data: Uint8Array): void {
    if (this.#outgoing.push({ to, data }) === 1) queueMicrotask(() => this.#flush());
  }

  close(): void {
    this.#socket.close();
  }

  #flush(): void {
    const batch = this.#outgoing;
    this.#outgoing = [];
    const left = batch.length - this.#socket.send(batch);
    if (left > 0) this.#dropped("local-full", left);
  }
}

/** Local UDP listeners: all bound, or none. */
export class UdpListeners {
  readonly bound: readonly UdpListener[];
  readonly #early: [UdpListener, readonly Incoming[]][];
  #handler: Handler | null = null;

  private constructor(bound: readonly UdpListener[], early: [UdpListener, readonly Incoming[]][]) {
    this.bound = bound;
    this.#early = early;
  }

  /** `dropped` hears of datagrams that did not get where they should. @throws UdpBindError */
  static async bind(
    wanted: readonly LocalListener[],
    dropped: (reason: DatagramDrop, count: number) => void,
  ): Promise<UdpListeners> {
    const bound: UdpListener[] = [];
    const early: [UdpListener, readonly Incoming[]][] = [];
    const listeners = new UdpListeners(bound, early);
    try {
      for (const { address, service } of wanted) {
        const index = bound.length;
        const socket = await bindUdp({
          address,
          handlers: {
            onBatch: (batch) => listeners.#take(bound[index], batch, dropped),
            onDrain: () => {}, // what was not taken was dropped
          },
        });
        bound.push(new UdpListener(socket, service, dropped));
      }
    } catch (error) {
      listeners.close();
      throw error;
    }
    return listeners;
  }

  /** Hands over each batch; what came before too. */
  start(handler: Handler): void {
    this.#handler = handler;
    for (const [listener, batch] of this.#early.splice(0)) handler(listener, batch);
  }

  close(): void {
    for (const listener of this.bound) listener.close();
  }

  #take(
    listener: UdpListener | undefined,
    batch: readonly Incoming[],
    dropped: (reason: DatagramDrop, count: number) => void,
  ): void {
    if (!listener) return;
    if (this.#handler) return this.#handler(listener, batch);
    const waiting = this.#early.reduce((sum, [of, held]) => sum + (of === listener ? held.length : 0), 0);
    const taken = batch.slice(0, MAX_EARLY - waiting);
    if (taken.length > 0) this.#early.push([listener, taken]);
    if (taken.length < batch.length) dropped("waiting-full", batch.length - taken.length);
  }
}
