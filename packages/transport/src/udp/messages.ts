import type { IpFamily, SocketAddress } from "@adit/core";
import type { Outgoing } from "./udp.ts";

/** Messages in one call. A message is one datagram, or a run of them; what does not fit goes in the next call. */
const MAX_MESSAGES = 64;
/** The kernel's bounds of a run: UDP_MAX_SEGMENTS, and the length of one IP packet with its headers. */
const MAX_SEGMENTS = 64;
const MAX_RUN_BYTES = 65_000;
/** Shorter runs are as cheap one by one. */
const MIN_RUN = 3;
/** What waits in one call: two of the longest messages at least. */
const MAX_PAYLOAD_BYTES = 131_072;
/** After so many runs in a row that the system refused as a run and took one by one, no more are made. */
const MAX_RUNS_REFUSED = 8;
/** The same for single messages: after so many in a row, this system does not have the calls. */
const MAX_REFUSED = 64;
/** Destinations whose form for the kernel is kept; past it all are forgotten. */
const MAX_NAMES = 4096;

/** <sys/socket.h>, <netinet/udp.h> of Linux */
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const AF_INET = 2;
const AF_INET6 = 10;
const NAME_LENGTH = { 4: 16, 6: 28 } as const;

/** Sizes of the parts of a message, bytes, and where they stand in the one piece of memory that the kernel reads. */
const HEADER_BYTES = 64; // struct mmsghdr: a struct msghdr of 56 bytes, the length sent, padding
const NAME_BYTES = 32; // struct sockaddr_in or sockaddr_in6
const VECTOR_BYTES = 16; // struct iovec
const CONTROL_BYTES = 24; // struct cmsghdr with a u16
const NAMES_AT = MAX_MESSAGES * HEADER_BYTES;
const VECTORS_AT = NAMES_AT + MAX_MESSAGES * NAME_BYTES;
const CONTROLS_AT = VECTORS_AT + MAX_MESSAGES * VECTOR_BYTES;
const PAYLOAD_AT = CONTROLS_AT + MAX_MESSAGES * CONTROL_BYTES;

/**
 * What the kernel reads of a call: one piece for all sockets of a process, which do not send at the same time. 64-bit little-endian systems
 * only.
 */
export class MessageMemory {
  readonly bytes = new Uint8Array(PAYLOAD_AT + MAX_PAYLOAD_BYTES);
  /** The address of the first struct mmsghdr, which begins with its struct msghdr. */
  readonly headers: number;
  readonly #view = new DataView(this.bytes.buffer);
  readonly #base: number;
  readonly #names = new Map<SocketAddress, Uint8Array>();
  /** How many datagrams each message has. */
  readonly #counts: number[] = new Array(MAX_MESSAGES).fill(0);
  #messages = 0;
  #end = PAYLOAD_AT;

  /** @param addressOf where the memory stands. */
  constructor(addressOf: (memory: Uint8Array) => number) {
    this.#base = addressOf(this.bytes);
    this.headers = this.#base;
    for (let i = 0; i < MAX_MESSAGES; i++) {
      const header = i * HEADER_BYTES;
      const control = CONTROLS_AT + i * CONTROL_BYTES;
      this.#pointer(header, NAMES_AT + i * NAME_BYTES);
      this.#pointer(header + 16, VECTORS_AT + i * VECTOR_BYTES);
      this.#view.setUint32(header + 24, 1, true);
      this.#pointer(header + 32, control);
      this.#view.setUint32(control, 18, true); // with the u16 behind its 16 bytes
      this.#view.setInt32(control + 8, SOL_UDP, true);
      this.#view.setInt32(control + 12, UDP_SEGMENT, true);
    }
  }

  clear(): void {
    this.#messages = 0;
    this.#end = PAYLOAD_AT;
  }

  /** Adds `count` datagrams of `batch` as one message, in segments as long as the first. False when there is no room. */
  add(batch: readonly Outgoing[], from: number, count: number): boolean {
    const { data: first, to } = batch[from] as Outgoing;
    const start = this.#end;
    if (this.#messages === MAX_MESSAGES || start + first.length * count > this.bytes.length) return false;
    let end = start;
    for (let i = from; i < from + count; i++) {
      const { data } = batch[i] as Outgoing;
      this.bytes.set(data, end);
      end += data.length;
    }
    this.#end = end;
    const i = this.#messages++;
    this.#counts[i] = count;
    const header = i * HEADER_BYTES;
    this.bytes.set(this.#name(to), NAMES_AT + i * NAME_BYTES);
    this.#view.setUint32(header + 8, NAME_LENGTH[to.family], true);
    this.#view.setUint32(header + 40, count > 1 ? CONTROL_BYTES : 0, true);
    const vector = VECTORS_AT + i * VECTOR_BYTES;
    this.#pointer(vector, start);
    this.#view.setUint32(vector + 8, end - start, true);
    if (count > 1) this.#view.setUint16(CONTROLS_AT + i * CONTROL_BYTES + 16, first.length, true);
    return true;
  }

  /** How many datagrams the message of that number has. */
  countOf(message: number): number {
    return this.#counts[message] as number;
  }

  #name(to: SocketAddress): Uint8Array {
    const known = this.#names.get(to);
    if (known) return known;
    const name = new Uint8Array(NAME_LENGTH[to.family]);
    const view = new DataView(name.buffer);
    view.setUint16(0, to.family === 4 ? AF_INET : AF_INET6, true);
    view.setUint16(2, to.port, false);
    name.set(to.bytes, to.family === 4 ? 4 : 8); // IPv6: flow information before the address, scope behind it
    if (this.#names.size >= MAX_NAMES) this.#names.clear();
    this.#names.set(to, name);
    return name;
  }

  #pointer(at: number, to: number): void {
    const address = this.#base + to;
    this.#view.setUint32(at, address % 2 ** 32, true);
    this.#view.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
  }
}

/** One for all sockets. */
export interface MessageSystem {
  readonly memory: MessageMemory;
  /**
   * Sends the first so many messages of the memory by that socket: sendmsg(2) for one, sendmmsg(2) for more. How many the kernel took, negative
   * or 0 when it took none.
   */
  submit(descriptor: number, messages: number): number;
}

/**
 * Sends batches by system calls of its own: destinations are not parsed from text each time, and runs of equally long datagrams to one
 * destination are one message (generic segmentation offload, Linux 4.18: the kernel goes through its layers once for all of them).
 * It says only how much was taken; why the rest was not shows when it is offered in another way.
 */
export class MessageSender {
  readonly #system: MessageSystem;
  readonly #descriptor: number;
  readonly #family: IpFamily;
  #runsRefused = 0;
  #refused = 0;

  constructor(system: MessageSystem, descriptor: number, family: IpFamily) {
    this.#system = system;
    this.#descriptor = descriptor;
    this.#family = family;
  }

  /** Sends `batch[from..end]` in order; how many were taken. */
  send(batch: readonly Outgoing[], from: number, end: number): number {
    if (this.#refused >= MAX_REFUSED) return 0;
    for (let at = from; ; ) {
      const messages = this.#fill(batch, at, end);
      const taken = messages === 0 ? 0 : Math.max(0, this.#system.submit(this.#descriptor, messages));
      for (let i = 0; i < taken; i++) at += this.#taken(i);
      if (at === end || messages === 0 || taken < messages) return at - from;
    }
  }

  /** Sends one datagram by itself; false when it was not taken. It may be too long for a call. */
  sendOne(batch: readonly Outgoing[], at: number): boolean {
    const { memory } = this.#system;
    memory.clear();
    return memory.add(batch, at, 1) && this.#system.submit(this.#descriptor, 1) > 0;
  }

  /** How many datagrams the message has that begins with `batch[from]`. The last of a run may be shorter. */
  countAt(batch: readonly Outgoing[], from: number, end: number): number {
    if (this.#refused >= MAX_REFUSED) return end - from;
    const { data, to } = batch[from] as Outgoing;
    const size = data.length;
    if (size === 0 || this.#runsRefused >= MAX_RUNS_REFUSED) return 1;
    const limit = Math.min(end, from + MAX_SEGMENTS);
    let at = from + 1;
    for (let bytes = size; at < limit; at++) {
      const next = batch[at] as Outgoing;
      const { length } = next.data;
      bytes += length;
      if (length > size || length === 0 || bytes > MAX_RUN_BYTES || !next.to.equals(to)) break;
      if (length === size) continue;
      at++;
      break;
    }
    return at - from >= MIN_RUN ? at - from : 1;
  }

  /**
   * So many datagrams that were not taken as one message went out in another way: this path, or this system, cannot do it. To give these calls up
   * loses nothing: what {@link send} does not take its caller offers in that way, as it did each time before. A system that refuses for another
   * reason only now and then (an ICMP error about an earlier datagram, a full kernel) takes one in between, and is counted anew.
   */
  refused(count: number): void {
    if (count > 1) this.#runsRefused++;
    else this.#refused++;
  }

  /** Lays out what fits, up to what no message can be made of on this socket; how many messages that are. */
  #fill(batch: readonly Outgoing[], from: number, end: number): number {
    const { memory } = this.#system;
    memory.clear();
    let messages = 0;
    for (let at = from; at < end; messages++) {
      const { to } = batch[at] as Outgoing;
      if (to.family !== this.#family || to.port === 0) break;
      const count = this.countAt(batch, at, end);
      if (!memory.add(batch, at, count)) break;
      at += count;
    }
    return messages;
  }

  #taken(message: number): number {
    const count = this.#system.memory.countOf(message);
    this.#refused = 0;
    if (count > 1) this.#runsRefused = 0;
    return count;
  }
}
