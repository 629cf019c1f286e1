import { type IpFamily, SocketAddress } from "@adit/core";
import type { ReceivedMemory } from "./received-messages.ts";
import type { Incoming } from "./udp.ts";

/** Datagrams of one round, all sockets together; more are read when these were dealt with. */
export const MAX_RECEIVED = 128;

/** Source addresses that are known by their number; past it all are forgotten. */
const MAX_SOURCES = 65_536;

/** The datagrams of one round, of all sockets that are read together: each stays where it is until the round is over. */
export class ReceiveMemory {
  readonly #memory: ReceivedMemory;
  readonly #sources = new Map<number | string, SocketAddress>();
  #used = 0;

  constructor(memory: ReceivedMemory) {
    this.#memory = memory;
  }

  /** Datagrams that can still be received before {@link clear}. */
  get room(): number {
    return this.#memory.places.length - this.#used;
  }

  /** Where the next struct mmsghdr stands. */
  get nextHeader(): number {
    return this.#memory.headerAt(this.#used);
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
      const place = this.#memory.place(this.#used);
      const name = this.#memory.nameAt(this.#used);
      if (family === 6 && this.#memory.view.getUint32(name + 24, true) !== 0) {
        unanswerable("zone");
        continue;
      }
      place.from = family === 4 ? this.#source4(name) : this.#source6(name);
      batch.push(place);
    }
    return batch;
  }

  #source4(name: number): SocketAddress {
    const { view } = this.#memory;
    const port = view.getUint16(name + 2, false);
    const key = view.getUint32(name + 4, false) * 65_536 + port;
    return this.#sources.get(key) ?? this.#learn(key, name + 4, 4, port);
  }

  #source6(name: number): SocketAddress {
    const { view } = this.#memory;
    const port = view.getUint16(name + 2, false);
    const key = `${view.getBigUint64(name + 8)} ${view.getBigUint64(name + 16)} ${port}`;
    return this.#sources.get(key) ?? this.#learn(key, name + 8, 16, port);
  }

  #learn(key: number | string, at: number, length: number, port: number): SocketAddress {
    const source = SocketAddress.fromBytes(this.#memory.bytes.slice(at, at + length), port);
    if (this.#sources.size >= MAX_SOURCES) this.#sources.clear();
    this.#sources.set(key, source);
    return source;
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
