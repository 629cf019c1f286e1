import { fromNative } from "./errors.ts";
import type { NativeConnection } from "./native.ts";

/** RFC 9000 §14: "QUIC MUST NOT be used if the network path cannot support a maximum datagram size of at least 1200 bytes." */
const MIN_PACKET_BYTES = 1200;

/** The unreliable datagrams of one connection (RFC 9221). Both queues are the native library's, and bounded. */
export class Datagrams {
  readonly #native: NativeConnection;
  readonly #configuredBytes: number;
  #maxPacketBytes: number;
  #receivedBytes = 0;
  /** One was queued, and the native queue was not seen empty since: it need not be asked all the time. */
  #mayWait = false;

  /** `maxPacketBytes`: the longest packet that the connection is configured for. */
  constructor(native: NativeConnection, maxPacketBytes: number) {
    this.#native = native;
    this.#configuredBytes = maxPacketBytes;
    this.#maxPacketBytes = maxPacketBytes;
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** The longest that fits a packet of the active path, bytes; 0 when the peer takes none. */
  get maxBytes(): number {
    // The native library goes by the configuration, whatever the path carries.
    return Math.max(0, (this.#native.dgramMaxWritableLen() ?? 0) - (this.#configuredBytes - this.#maxPacketBytes));
  }

  get maxPacketBytes(): number {
    return this.#maxPacketBytes;
  }

  /** Some are queued: one that is as long as fits needs a whole packet, and until it has left none behind it does. */
  get isWaiting(): boolean {
    if (this.#mayWait) this.#mayWait = this.#native.dgramSendQueueLen() > 0;
    return this.#mayWait;
  }

  /** No packet is longer from now on. What waits and does not fit any more is dropped. */
  limitPackets(bytes: number): void {
    const fewer = bytes < this.#maxPacketBytes;
    this.#maxPacketBytes = Math.max(MIN_PACKET_BYTES, Math.min(bytes, this.#configuredBytes));
    if (!fewer || this.#native.dgramSendQueueLen() === 0) return;
    // One that is too long would stay at the head of the native queue, and hold up those behind it.
    const longest = this.maxBytes;
    this.#native.dgramPurgeOutgoing((data) => data.length > longest);
  }

  /** "full": the queue is, it was dropped. */
  send(data: Uint8Array): "queued" | "full" | "too-large" {
    if (data.length > this.maxBytes) return "too-large";
    if (this.#native.isDgramSendQueueFull()) return "full";
    try {
      this.#native.dgramSend(data);
    } catch (error) {
      throw fromNative(error, "send a datagram");
    }
    this.#mayWait = true;
    return "queued";
  }

  /** At most `room` of those that came; the rest stays in the queue, which drops the oldest. */
  receive(room: number, onDatagram: (data: Uint8Array) => void): void {
    for (let left = Math.min(room, this.#native.dgramRecvQueueLen()); left > 0; left--) {
      const data = this.#native.dgramRecvVec();
      if (!data) return;
      this.#receivedBytes += data.length;
      onDatagram(data);
    }
  }
}
