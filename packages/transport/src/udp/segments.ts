import type { SocketAddress } from "@adit/core";
import type { Outgoing } from "./udp.ts";

/** The kernel's bounds: UDP_MAX_SEGMENTS, and the length of one IP packet with its headers. */
const MAX_SEGMENTS = 64;
const MAX_BYTES = 65_000;
/** Shorter runs go with the rest of the batch: one call for all of them is cheaper than one call each. */
const MIN_RUN = 4;
/** After so many runs in a row that the system refused as a run and took one by one, it is not asked any more. */
const MAX_REFUSALS = 8;

/** <netinet/udp.h> */
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const AF_INET = 2;
const AF_INET6 = 10;

/** Where the parts stand in the one piece of memory that the kernel reads. */
const NAME_AT = 0; // struct sockaddr_in or sockaddr_in6
const VECTOR_AT = 32; // struct iovec
const CONTROL_AT = 48; // struct cmsghdr with a u16
const CONTROL_BYTES = 24;
const HEADER_AT = 72; // struct msghdr, 56 bytes
const PAYLOAD_AT = 128;

/** What the kernel reads of a call: one piece for all sockets of a process, which do not send at the same time. */
export class SegmentMemory {
  readonly bytes = new Uint8Array(PAYLOAD_AT + MAX_BYTES);
  /** Where the struct msghdr stands. */
  readonly header: number;
  readonly #view = new DataView(this.bytes.buffer);
  #to: SocketAddress | null = null;

  /** @param addressOf where the memory stands. */
  constructor(addressOf: (memory: Uint8Array) => number) {
    const base = addressOf(this.bytes);
    this.header = base + HEADER_AT;
    this.#address(VECTOR_AT, base + PAYLOAD_AT);
    this.#view.setUint32(CONTROL_AT, 18, true); // with the u16 behind its 16 bytes
    this.#view.setInt32(CONTROL_AT + 8, SOL_UDP, true);
    this.#view.setInt32(CONTROL_AT + 12, UDP_SEGMENT, true);
    this.#address(HEADER_AT, base + NAME_AT);
    this.#address(HEADER_AT + 16, base + VECTOR_AT);
    this.#view.setUint32(HEADER_AT + 24, 1, true);
    this.#address(HEADER_AT + 32, base + CONTROL_AT);
    this.#view.setUint32(HEADER_AT + 40, CONTROL_BYTES, true);
  }

  /** Payload of so many bytes, in segments of so many. */
  describe(to: SocketAddress, totalBytes: number, segmentBytes: number): void {
    if (this.#to !== to) this.#name(to);
    this.#view.setUint32(VECTOR_AT + 8, totalBytes, true);
    this.#view.setUint16(CONTROL_AT + 16, segmentBytes, true);
  }

  #name(to: SocketAddress): void {
    const v4 = to.family === 4;
    this.#view.setUint16(NAME_AT, v4 ? AF_INET : AF_INET6, true);
    this.#view.setUint16(NAME_AT + 2, to.port, false);
    this.bytes.set(to.bytes, NAME_AT + (v4 ? 4 : 8));
    // IPv6: flow information before the address, scope behind it.
    if (!v4) {
      this.#view.setUint32(NAME_AT + 4, 0, true);
      this.#view.setUint32(NAME_AT + 24, 0, true);
    }
    this.#view.setUint32(HEADER_AT + 8, v4 ? 16 : 28, true);
    this.#to = to;
  }

  #address(at: number, value: number): void {
    this.#view.setBigUint64(at, BigInt(value), true);
  }
}

export interface SegmentSystem {
  readonly memory: SegmentMemory;
  /** sendmsg(2) on the socket with the struct msghdr at that address; how many bytes were sent, negative when none were. */
  sendmsg(header: number): number;
}

/**
 * Sends runs of equally long datagrams to one destination in one call (generic segmentation offload, Linux 4.18): the kernel goes through
 * its layers once for all of them. 64-bit little-endian systems only.
 */
export class SegmentSender {
  readonly #system: SegmentSystem;
  #refusals = 0;

  constructor(system: SegmentSystem) {
    this.#system = system;
  }

  /** How many datagrams from `from` on can go in one call; 0 where a call of their own is not worth it. The last may be shorter. */
  run(batch: readonly Outgoing[], from: number): number {
    const first = batch[from];
    if (!first || this.#refusals >= MAX_REFUSALS) return 0;
    const size = first.data.length;
    if (size === 0) return 0;
    let end = from + 1;
    for (let bytes = size; end < batch.length && end - from < MAX_SEGMENTS; end++) {
      const next = batch[end] as Outgoing;
      const { length } = next.data;
      bytes += length;
      if (length > size || length === 0 || bytes > MAX_BYTES || !next.to.equals(first.to)) break;
      if (length === size) continue;
      end++;
      break;
    }
    return end - from >= MIN_RUN ? end - from : 0;
  }

  /** Sends a run. False when the system did not take it: then none was sent. */
  send(batch: readonly Outgoing[], from: number, count: number): boolean {
    const { memory } = this.#system;
    const { data: first, to } = batch[from] as Outgoing;
    let at = PAYLOAD_AT;
    for (let i = from; i < from + count; i++) {
      const { data } = batch[i] as Outgoing;
      memory.bytes.set(data, at);
      at += data.length;
    }
    memory.describe(to, at - PAYLOAD_AT, first.length);
    if (this.#system.sendmsg(memory.header) !== at - PAYLOAD_AT) return false;
    this.#refusals = 0;
    return true;
  }

  /** A run that was refused went out one by one: this path, or this system, cannot do it. */
  refused(): void {
    this.#refusals++;
  }
}
