import { type IpFamily, SocketAddress } from "@adit/core";
import type { UdpCounts } from "./counts.ts";
import { MAX_PART } from "./gather.ts";
import type { Incoming } from "./udp.ts";

/** Datagrams in one call. */
export const MAX_MESSAGES = MAX_PART;
/** No UDP datagram is longer; of what is never used the system keeps no memory. */
const ROOM_BYTES = 65_536;
/** Apart by more than that, so that the beginnings of all rooms do not fall on the same lines of the processor's cache. */
const ROOM_STRIDE = ROOM_BYTES + 1_536;

/** Sizes of the parts of a message, bytes, and where they stand in the one piece of memory that the kernel writes to. */
const HEADER_BYTES = 64; // struct mmsghdr: a struct msghdr of 56 bytes, the length received, padding
const NAME_BYTES = 32; // struct sockaddr_in or sockaddr_in6
const VECTOR_BYTES = 16; // struct iovec
/** Of a name, by family: port and address, and what IPv6 has besides. */
const NAME_WORDS = { 4: 2, 6: 7 } as const;

/** One datagram's place: the object that is handed up is the same each time, its bytes are what came last. */
export interface Place {
  data: Uint8Array;
  from: SocketAddress;
}

/**
 * What the kernel writes to in a call: one piece for all sockets of a process, which do not receive at the same time. 64-bit little-endian
 * systems only.
 */
export class ReceivedMemory {
  readonly bytes: Uint8Array;
  /** The address of the first struct mmsghdr. */
  readonly headers: number;
  readonly view: DataView;
  readonly places: readonly Place[];
  readonly #namesAt: number;
  readonly #payloadAt: number;

  /** @param addressOf where the memory stands. */
  constructor(addressOf: (memory: Uint8Array) => number, messages = MAX_MESSAGES) {
    this.#namesAt = messages * HEADER_BYTES;
    const vectorsAt = this.#namesAt + messages * NAME_BYTES;
    this.#payloadAt = vectorsAt + messages * VECTOR_BYTES;
    this.bytes = new Uint8Array(this.#payloadAt + messages * ROOM_STRIDE);
    this.view = new DataView(this.bytes.buffer);
    this.headers = addressOf(this.bytes);
    const none = SocketAddress.of("0.0.0.0", 0);
    this.places = Array.from({ length: messages }, (_, i) => {
      const header = i * HEADER_BYTES;
      const vector = vectorsAt + i * VECTOR_BYTES;
      const room = this.#payloadAt + i * ROOM_STRIDE;
      this.#pointer(header, this.nameAt(i));
      this.view.setUint32(header + 8, NAME_BYTES, true);
      this.#pointer(header + 16, vector);
      this.view.setUint32(header + 24, 1, true);
      this.#pointer(vector, room);
      this.view.setUint32(vector + 8, ROOM_BYTES, true);
      return { data: this.bytes.subarray(room, room), from: none };
    });
  }

  /** The datagram of that number, without its source. Those of a transfer are all as long, so it is mostly the same view again. */
  place(message: number): Place {
    const place = this.places[message] as Place;
    const length = this.view.getUint32(message * HEADER_BYTES + 56, true);
    if (place.data.length !== length) {
      const room = this.#payloadAt + message * ROOM_STRIDE;
      place.data = this.bytes.subarray(room, room + length);
    }
    // The kernel has put the length of the name there.
    this.view.setUint32(message * HEADER_BYTES + 8, NAME_BYTES, true);
    return place;
  }

  /** Where the source of the datagram of that number stands in {@link view}. */
  nameAt(message: number): number {
    return this.#namesAt + message * NAME_BYTES;
  }

  /** The address of the struct mmsghdr of that number. */
  headerAt(message: number): number {
    return this.headers + message * HEADER_BYTES;
  }

  #pointer(at: number, to: number): void {
    const address = this.headers + to;
    this.view.setUint32(at, address % 2 ** 32, true);
    this.view.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
  }
}

/** One for all sockets. */
export interface ReceivingSystem {
  readonly memory: ReceivedMemory;
  /** recvmmsg(2) without waiting: how many datagrams came into the memory, negative or 0 when none did. */
  take(descriptor: number): number;
}

/** Receives by system calls of its own what is left in a socket: no object, no text and no memory is made for a datagram. */
export class MessageReceiver {
  readonly #system: ReceivingSystem;
  readonly #descriptor: number;
  readonly #family: IpFamily;
  readonly #counts: UdpCounts;
  readonly #batch: Incoming[] = [];
  /** Datagrams come in runs from one source. */
  readonly #lastName = new Uint32Array(NAME_BYTES / 4);
  #last: SocketAddress | null = null;

  constructor(system: ReceivingSystem, descriptor: number, family: IpFamily, counts: UdpCounts) {
    this.#system = system;
    this.#descriptor = descriptor;
    this.#family = family;
    this.#counts = counts;
  }

  /** What is there now, {@link MAX_MESSAGES} at most. All of it is used again for the next call on any socket: array, objects, and bytes. */
  receive(): readonly Incoming[] {
    const { memory } = this.#system;
    const taken = Math.max(0, this.#system.take(this.#descriptor));
    this.#batch.length = 0;
    for (let i = 0; i < taken; i++) {
      const place = memory.place(i);
      const from = this.#source(memory, memory.nameAt(i));
      if (!from) continue;
      place.from = from;
      this.#batch.push(place);
    }
    this.#counts.received += this.#batch.length;
    return this.#batch;
  }

  /** Null, and counted, for what cannot be answered: a link-local source, which has a zone, or the other family. */
  #source({ bytes, view }: ReceivedMemory, at: number): SocketAddress | null {
    const last = this.#lastName;
    let same = this.#last !== null;
    for (let i = 0; i < NAME_WORDS[this.#family]; i++) {
      const word = view.getUint32(at + 4 * i, true);
      if (last[i] === word) continue;
      last[i] = word;
      same = false;
    }
    if (same) return this.#last;
    this.#last = null;
    const hasZone = this.#family === 6 && view.getUint32(at + 24, true) !== 0;
    const ip = this.#family === 4 ? bytes.subarray(at + 4, at + 8) : bytes.subarray(at + 8, at + 24);
    const from = hasZone ? null : SocketAddress.fromBytes(ip, view.getUint16(at + 2));
    if (from?.family === this.#family) this.#last = from;
    else this.#counts.receiveErrors.add(hasZone ? "zone" : "family");
    return this.#last;
  }
}
