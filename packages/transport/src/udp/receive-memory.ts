import { type IpFamily, SocketAddress } from "@adit/core";
import type { Incoming } from "./udp.ts";

/** Datagrams of one round, all sockets together; more are read when these were dealt with. */
export const MAX_RECEIVED = 128;

/** Sizes of the parts of a message, bytes, and where they stand in the piece of memory that the kernel writes. */
const HEADER_BYTES = 64; // struct mmsghdr: a struct msghdr of 56 bytes, the length received, padding
const NAME_BYTES = 32; // struct sockaddr_in or sockaddr_in6
const VECTOR_BYTES = 16; // struct iovec
const NAMES_AT = MAX_RECEIVED * HEADER_BYTES;
const VECTORS_AT = NAMES_AT + MAX_RECEIVED * NAME_BYTES;
const PAYLOAD_AT = VECTORS_AT + MAX_RECEIVED * VECTOR_BYTES;
/** A datagram is shorter. */
const SLOT_BYTES = 65_536;
/** The slots do not stand a multiple of 4096 apart, or their beginnings would share one set of the processor's cache. */
const SLOT_STRIDE = SLOT_BYTES + 33 * 64;

/** Source addresses that are known by their number; past it all are forgotten. */
const MAX_SOURCES = 65_536;

/**
 * What the kernel writes: headers, source addresses and payloads of one round, one piece for all sockets of a process. 64-bit little-endian
 * systems only. Of the payloads only the pages that something was written to are resident.
 */
export class ReceiveMemory {
  readonly bytes = new Uint8Array(PAYLOAD_AT + MAX_RECEIVED * SLOT_STRIDE);
  readonly #view = new DataView(this.bytes.buffer);
  readonly #base: number;
  readonly #slots: { data: Uint8Array; from: SocketAddress }[];
  readonly #sources = new Map<number | string, SocketAddress>();
  #used = 0;

  /** @param addressOf where the memory stands. */
  constructor(addressOf: (memory: Uint8Array) => number) {
    this.#base = addressOf(this.bytes);
    const nowhere = SocketAddress.of("0.0.0.0", 0);
    this.#slots = Array.from({ length: MAX_RECEIVED }, () => ({ data: this.bytes.subarray(0, 0), from: nowhere }));
    for (let i = 0; i < MAX_RECEIVED; i++) {
      const [header, vector] = [i * HEADER_BYTES, VECTORS_AT + i * VECTOR_BYTES];
      this.#pointer(header, NAMES_AT + i * NAME_BYTES);
      this.#view.setUint32(header + 8, NAME_BYTES, true);
      this.#pointer(header + 16, vector);
      this.#view.setUint32(header + 24, 1, true);
      this.#pointer(vector, PAYLOAD_AT + i * SLOT_STRIDE);
      this.#view.setUint32(vector + 8, SLOT_BYTES, true);
    }
  }

  /** Datagrams that can still be received before {@link clear}. */
  get room(): number {
    return MAX_RECEIVED - this.#used;
  }

  /** Where the next struct mmsghdr stands. */
  get nextHeader(): number {
    return this.#base + this.#used * HEADER_BYTES;
  }

  /** What was handed out is no longer used. */
  clear(): void {
    this.#used = 0;
  }

  /**
   * The kernel wrote `count` datagrams, the first to {@link nextHeader}. Their objects and bytes are used again after {@link clear}. Those
   * whose source cannot be answered are left out, and told.
   */
  take(count: number, family: IpFamily, unanswerable: (why: "zone") => void): Incoming[] {
    const batch: Incoming[] = [];
    for (const end = this.#used + count; this.#used < end; this.#used++) {
      const i = this.#used;
      const slot = this.#slots[i] as { data: Uint8Array; from: SocketAddress };
      const name = NAMES_AT + i * NAME_BYTES;
      // The kernel put the name's length there, and 0 for none.
      this.#view.setUint32(i * HEADER_BYTES + 8, NAME_BYTES, true);
      if (family === 6 && this.#view.getUint32(name + 24, true) !== 0) {
        unanswerable("zone");
        continue;
      }
      const length = this.#view.getUint32(i * HEADER_BYTES + 56, true);
      if (slot.data.length !== length) {
        const start = PAYLOAD_AT + i * SLOT_STRIDE;
        slot.data = this.bytes.subarray(start, start + length);
      }
      slot.from = family === 4 ? this.#source4(name) : this.#source6(name);
      batch.push(slot);
    }
    return batch;
  }

  #source4(name: number): SocketAddress {
    const port = this.#view.getUint16(name + 2, false);
    const key = this.#view.getUint32(name + 4, false) * 65_536 + port;
    return this.#sources.get(key) ?? this.#learn(key, name + 4, 4, port);
  }

  #source6(name: number): SocketAddress {
    const port = this.#view.getUint16(name + 2, false);
    const [high, low] = [this.#view.getBigUint64(name + 8), this.#view.getBigUint64(name + 16)];
    const key = `${high} ${low} ${port}`;
    return this.#sources.get(key) ?? this.#learn(key, name + 8, 16, port);
  }

  #learn(key: number | string, at: number, length: number, port: number): SocketAddress {
    const source = SocketAddress.fromBytes(this.bytes.slice(at, at + length), port);
    if (this.#sources.size >= MAX_SOURCES) this.#sources.clear();
    this.#sources.set(key, source);
    return source;
  }

  #pointer(at: number, to: number): void {
    this.#view.setBigUint64(at, BigInt(this.#base + to), true);
  }
}

/** Where the parts stand that are needed of an error's message. */
const ERROR_CONTROL_AT = 64;
const ERROR_CONTROL_BYTES = 256;

/** What the kernel writes of one entry of a socket's error queue: a struct msghdr without payload, and struct sock_extended_err behind it. */
export class ErrorMemory {
  readonly bytes = new Uint8Array(ERROR_CONTROL_AT + ERROR_CONTROL_BYTES);
  readonly header: number;
  readonly #view = new DataView(this.bytes.buffer);

  constructor(addressOf: (memory: Uint8Array) => number) {
    this.header = addressOf(this.bytes);
    this.#view.setBigUint64(32, BigInt(this.header + ERROR_CONTROL_AT), true);
    this.clear();
  }

  /** To be called before each reading. */
  clear(): void {
    this.#view.setUint32(40, ERROR_CONTROL_BYTES, true);
  }

  /** The error number; null when none was told. */
  get errno(): number | null {
    // struct cmsghdr (16 bytes) of IP_RECVERR or IPV6_RECVERR, then ee_errno.
    return this.#view.getUint32(40, true) < 20 ? null : this.#view.getUint32(ERROR_CONTROL_AT + 16, true);
  }
}
