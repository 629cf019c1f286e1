import type { SocketAddress } from "@adit/core";
import type { UdpCounts } from "./counts.ts";
import type { Outgoing, UdpHandlers, UdpSocket, UdpStats } from "./udp.ts";

/** What a socket implementation is made of; the native socket's tests put a kernel of their own in its place. */
export interface UdpParts<Native extends { close(): void }> {
  readonly address: SocketAddress;
  readonly native: Native;
  readonly handlers: UdpHandlers;
  readonly counts: UdpCounts;
  readonly gatherer: { close(): void };
}

/** What the implementations share: open, blocked until the kernel takes more, or closed. */
export abstract class BaseUdpSocket<Native extends { close(): void }> implements UdpSocket {
  readonly address: SocketAddress;
  protected readonly native: Native;
  protected readonly counts: UdpCounts;
  readonly #handlers: UdpHandlers;
  readonly #gatherer: { close(): void };
  #state: "open" | "blocked" | "closed" = "open";

  constructor(parts: UdpParts<Native>) {
    this.address = parts.address;
    this.native = parts.native;
    this.counts = parts.counts;
    this.#handlers = parts.handlers;
    this.#gatherer = parts.gatherer;
  }

  send(batch: readonly Outgoing[], from = 0): number {
    const offered = batch.length - from;
    if (this.#state === "closed" || offered <= 0) return Math.max(0, offered);
    const dealt = this.offer(batch, from);
    if (dealt < offered) this.#state = "blocked";
    return dealt;
  }

  stats(): UdpStats {
    return this.counts.snapshot();
  }

  close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#gatherer.close();
    this.native.close();
  }

  protected get isBlocked(): boolean {
    return this.#state === "blocked";
  }

  protected get isClosed(): boolean {
    return this.#state === "closed";
  }

  /** To be called when the kernel takes datagrams again; only the end of a wait is handed on. */
  protected drained(): void {
    if (this.#state !== "blocked") return;
    this.#state = "open";
    this.#handlers.onDrain();
  }

  /** Hands `batch[from..]` to the kernel; returns how many were dealt with. */
  protected abstract offer(batch: readonly Outgoing[], from: number): number;

  /** The code with which the kernel would refuse this destination, where the runtime would throw a TypeError; or null. */
  protected refusal(to: SocketAddress): string | null {
    if (to.port === 0) return "EINVAL";
    return to.family === this.address.family ? null : "EAFNOSUPPORT";
  }
}
