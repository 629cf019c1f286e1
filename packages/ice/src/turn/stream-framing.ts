import { STUN_HEADER_BYTES } from "../stun/tables.ts";
import { CHANNEL_DATA_HEADER_BYTES } from "./channel-data.ts";

/**
 * STUN messages and ChannelData in a byte stream, TCP or TLS (RFC 8489 §6.2.2, RFC 8656 §12.5): each says its length itself, and
 * ChannelData is padded to a multiple of 4 that its length field does not count.
 */

/** The longest message that the 16 bits of length allow: ChannelData of 65,535 bytes with header and a byte of padding. */
export const MAX_STREAM_MESSAGE_BYTES = 65_540;

/** Enough to know what it is and how long: type, length and, for STUN, the magic cookie. */
const STUN_PREFIX_BYTES = 8;

/** Why a stream cannot be read any further: with the boundary lost, nothing behind it means anything. */
export type StreamFault = "not-stun" | "too-long";

/**
 * Cuts a byte stream into messages. Sans-IO. It holds one message that is not complete yet, no more: at most
 * {@link maxMessageBytes}, and only as much of it as has arrived.
 */
export class StreamDeframer {
  /** Longer messages are a fault. May change between messages: strangers need little. */
  maxMessageBytes: number;
  #partial: Uint8Array | null = null;
  #filled = 0;
  #fault: StreamFault | null = null;

  constructor(maxMessageBytes: number = MAX_STREAM_MESSAGE_BYTES) {
    this.maxMessageBytes = maxMessageBytes;
  }

  /** Once set it stays, and nothing more is read. */
  get fault(): StreamFault | null {
    return this.#fault;
  }

  /** Whether a message has begun and is not complete. */
  get pending(): boolean {
    return this.#filled > 0;
  }

  /**
   * Takes the next bytes of the stream and gives out each message that they complete, without padding. A message is a view on
   * `chunk`, or on memory of its own when it came in several pieces.
   */
  push(chunk: Uint8Array, onMessage: (message: Uint8Array) => void): void {
    let at = 0;
    while (this.#fault === null && at < chunk.length) {
      at = this.#filled > 0 ? this.#resume(chunk, at, onMessage) : this.#whole(chunk, at, onMessage);
    }
  }

  /** Reads at a message's begin; returns where it went on to. */
  #whole(chunk: Uint8Array, at: number, onMessage: (message: Uint8Array) => void): number {
    const rest = chunk.subarray(at);
    const size = this.#measure(rest);
    if (size !== null && size.padded <= rest.length) {
      onMessage(rest.subarray(0, size.bytes));
      return at + size.padded;
    }
    if (this.#fault === null) this.#keep(rest);
    return chunk.length;
  }

  /** Goes on with a message whose begin is kept. */
  #resume(chunk: Uint8Array, at: number, onMessage: (message: Uint8Array) => void): number {
    const kept = this.#partial as Uint8Array;
    const known = this.#measure(kept.subarray(0, this.#filled));
    // Never past what is certain: bytes of the next message do not belong here.
    const prefix = this.#filled < CHANNEL_DATA_HEADER_BYTES ? CHANNEL_DATA_HEADER_BYTES : STUN_PREFIX_BYTES;
    const wanted = (known?.padded ?? prefix) - this.#filled;
    const taken = chunk.subarray(at, at + wanted);
    this.#keep(taken);
    const whole = (this.#partial as Uint8Array).subarray(0, this.#filled);
    const size = known ?? this.#measure(whole);
    if (size !== null && size.padded === whole.length) {
      this.#partial = null;
      this.#filled = 0;
      onMessage(whole.subarray(0, size.bytes));
    }
    return at + taken.length;
  }

  /** How long the message is that begins here; null when that cannot be said yet, or is a fault. */
  #measure(data: Uint8Array): { readonly bytes: number; readonly padded: number } | null {
    if (data.length === 0) return null;
    const kind = (data[0] as number) >> 6;
    if (kind > 1) return this.#fail("not-stun");
    if (data.length < CHANNEL_DATA_HEADER_BYTES) return null;
    const length = ((data[2] as number) << 8) | (data[3] as number);
    if (kind === 1) {
      const bytes = CHANNEL_DATA_HEADER_BYTES + length;
      return this.#bounded(bytes, (bytes + 3) & ~3);
    }
    if ((length & 3) !== 0) return this.#fail("not-stun");
    if (data.length < STUN_PREFIX_BYTES) return null;
    if (data[4] !== 0x21 || data[5] !== 0x12 || data[6] !== 0xa4 || data[7] !== 0x42) return this.#fail("not-stun");
    return this.#bounded(STUN_HEADER_BYTES + length, STUN_HEADER_BYTES + length);
  }

  #bounded(bytes: number, padded: number): { readonly bytes: number; readonly padded: number } | null {
    return padded > this.maxMessageBytes ? this.#fail("too-long") : { bytes, padded };
  }

  #fail(fault: StreamFault): null {
    this.#fault = fault;
    this.#partial = null;
    this.#filled = 0;
    return null;
  }

  /** Memory grows by doubling with what arrives, never with what a header promises. */
  #keep(data: Uint8Array): void {
    const end = this.#filled + data.length;
    if (!this.#partial || this.#partial.length < end) {
      const larger = new Uint8Array(Math.max(end, 2 * (this.#partial?.length ?? 32)));
      if (this.#partial) larger.set(this.#partial.subarray(0, this.#filled));
      this.#partial = larger;
    }
    this.#partial.set(data, this.#filled);
    this.#filled = end;
  }
}

/** How many bytes a message takes in a stream. STUN is a multiple of 4 by itself, so one rule serves both kinds. */
export const streamBytes = (message: Uint8Array): number => (message.length + 3) & ~3;

/** Messages as they stand in a stream, padded with zeros, in memory of their own. */
export function frameForStream(messages: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const message of messages) length += streamBytes(message);
  const out = new Uint8Array(length);
  let at = 0;
  for (const message of messages) {
    out.set(message, at);
    at += streamBytes(message);
  }
  return out;
}
