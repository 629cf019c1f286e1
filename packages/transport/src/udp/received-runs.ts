import { type IpFamily, SocketAddress } from "@adit/core";
import { UDP_GRO } from "./linux-calls.ts";
import type { Place } from "./received-messages.ts";
import type { Incoming } from "./udp.ts";

/** Runs in one call: some 200 full datagrams, whose bytes are still in the processor's cache when they are decrypted. */
export const MAX_RUNS = 4;
/** A run is no longer than one UDP datagram can be. */
const ROOM_BYTES = 65_536;

/** Sizes of the parts of a message, bytes, and where they stand in the one piece of memory that the kernel writes to. */
const HEADER_BYTES = 64; // struct mmsghdr: a struct msghdr of 56 bytes, the length received, padding
const NAME_BYTES = 32; // struct sockaddr_in or sockaddr_in6
const ADDRESS_AT = { 4: 4, 6: 8 } as const; // in it
const ADDRESS_BYTES = { 4: 4, 6: 16 } as const;
const VECTOR_BYTES = 16; // struct iovec
const CONTROL_BYTES = 24; // CMSG_SPACE(sizeof(int))
const CONTROL_USED = 20; // CMSG_LEN(sizeof(int))

/** The bytes of a message. */
interface Room {
  readonly bytes: Uint8Array;
  /** How long the datagrams are that {@link views} shows. */
  segment: number;
  /** Of the datagrams that were as long: those of a transfer all are, so they are mostly the same views again. */
  readonly views: Uint8Array[];
}

/**
 * What the kernel writes runs of datagrams to (recvmmsg(2) on sockets with UDP_GRO): one piece for all sockets of a process, which do not receive
 * at the same time. 64-bit little-endian systems only.
 */
export class RunMemory {
  readonly bytes: Uint8Array;
  /** The address of the first struct mmsghdr. */
  readonly headers: number;
  readonly #view: DataView;
  readonly #namesAt = MAX_RUNS * HEADER_BYTES;
  readonly #vectorsAt = this.#namesAt + MAX_RUNS * NAME_BYTES;
  readonly #controlsAt = this.#vectorsAt + MAX_RUNS * VECTOR_BYTES;
  readonly #rooms: readonly Room[];
  /** What is handed up, and an object for each datagram of the longest batch so far. */
  readonly #batch: Place[] = [];
  readonly #places: Place[] = [];

  /** @param addressOf where the memory stands. */
  constructor(addressOf: (memory: Uint8Array) => number) {
    const payloadAt = this.#controlsAt + MAX_RUNS * CONTROL_BYTES;
    this.bytes = new Uint8Array(new ArrayBuffer(payloadAt + MAX_RUNS * ROOM_BYTES));
    this.#view = new DataView(this.bytes.buffer);
    this.headers = addressOf(this.bytes);
    this.#rooms = Array.from({ length: MAX_RUNS }, (_, i) => this.#layOut(i, payloadAt + i * ROOM_BYTES));
  }

  /**
   * The datagrams of the first `count` messages, nearly all of them from that peer: those that came before the socket was connected may be of others
   * (left out where they have a zone, which cannot be answered). All of it is used again for the next call on any socket: array, objects, and bytes.
   */
  take(count: number, peer: SocketAddress): readonly Incoming[] {
    let used = 0;
    for (let message = 0; message < count; message++) {
      const from = this.#isFrom(message, peer) ? peer : this.#source(message, peer.family);
      if (from) used = this.#takeRun(message, from, used);
      this.#giveBack(message);
    }
    this.#batch.length = used;
    return this.#batch;
  }

  #takeRun(message: number, from: SocketAddress, start: number): number {
    const length = this.#view.getUint32(message * HEADER_BYTES + 56, true);
    const segment = this.#segment(message) ?? length;
    const room = this.#rooms[message] as Room;
    if (room.segment !== segment) {
      room.segment = segment;
      room.views.length = 0;
    }
    let used = start;
    let at = 0;
    for (let i = 0; at + segment <= length && segment > 0; i++, at += segment) {
      const data = room.views[i] ?? room.bytes.subarray(at, at + segment);
      room.views[i] = data;
      this.#put(used++, data, from);
    }
    if (at < length || length === 0) this.#put(used++, room.bytes.subarray(at, length), from);
    return used;
  }

  #put(index: number, data: Uint8Array, from: SocketAddress): void {
    const place = this.#places[index] ?? { data, from };
    place.data = data;
    place.from = from;
    this.#places[index] = place;
    this.#batch[index] = place;
  }

  /** How long the datagrams of a run are, the last of which may be shorter; null for a datagram by itself. */
  #segment(message: number): number | null {
    const view = this.#view;
    const control = this.#controlsAt + message * CONTROL_BYTES;
    const isThere =
      view.getUint32(message * HEADER_BYTES + 40, true) >= CONTROL_USED &&
      view.getInt32(control + 8, true) === UDP_GRO.level &&
      view.getInt32(control + 12, true) === UDP_GRO.option;
    const segment = isThere ? view.getInt32(control + 16, true) : 0;
    return segment > 0 ? segment : null;
  }

  #isFrom(message: number, { bytes, port, family }: SocketAddress): boolean {
    const name = this.#namesAt + message * NAME_BYTES;
    if (this.#view.getUint16(name + 2, false) !== port) return false;
    const at = name + ADDRESS_AT[family];
    for (let i = 0; i < bytes.length; i++) if (this.bytes[at + i] !== bytes[i]) return false;
    return true;
  }

  #source(message: number, family: IpFamily): SocketAddress | null {
    const name = this.#namesAt + message * NAME_BYTES;
    if (family === 6 && this.#view.getUint32(name + 24, true) !== 0) return null;
    const at = name + ADDRESS_AT[family];
    return SocketAddress.fromBytes(
      this.bytes.slice(at, at + ADDRESS_BYTES[family]),
      this.#view.getUint16(name + 2, false),
    );
  }

  #layOut(message: number, roomAt: number): Room {
    const header = message * HEADER_BYTES;
    const vector = this.#vectorsAt + message * VECTOR_BYTES;
    this.#pointer(header, this.#namesAt + message * NAME_BYTES);
    this.#pointer(header + 16, vector);
    this.#view.setUint32(header + 24, 1, true);
    this.#pointer(header + 32, this.#controlsAt + message * CONTROL_BYTES);
    this.#pointer(vector, roomAt);
    this.#view.setUint32(vector + 8, ROOM_BYTES, true);
    this.#giveBack(message);
    return { bytes: this.bytes.subarray(roomAt, roomAt + ROOM_BYTES), segment: 0, views: [] };
  }

  /** The kernel has put the lengths there that it used. */
  #giveBack(message: number): void {
    this.#view.setUint32(message * HEADER_BYTES + 8, NAME_BYTES, true);
    this.#view.setUint32(message * HEADER_BYTES + 40, CONTROL_BYTES, true);
  }

  #pointer(at: number, to: number): void {
    this.#view.setBigUint64(at, BigInt(this.headers + to), true);
  }
}
