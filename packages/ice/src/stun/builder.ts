import { type SocketAddress, utf8 } from "@adit/core";
import { addressBytes, writeAddress } from "./address-codec.ts";
import { StunError } from "./errors.ts";
import { FINGERPRINT_BYTES, fingerprint, INTEGRITY_BYTES, integrity } from "./integrity.ts";
import { messageType, type StunClass } from "./message.ts";
import { STUN_ATTRIBUTE, STUN_HEADER_BYTES, STUN_LIMITS, STUN_MAGIC_COOKIE, stunErrorReason } from "./tables.ts";

/** Room for a connectivity check with all its attributes; more is made when needed. */
const INITIAL_BYTES = 192;

/** What {@link StunBuilder.build} adds behind the attributes, in this order. */
export interface StunBuildOptions {
  /** Signs with MESSAGE-INTEGRITY (HMAC-SHA1). */
  readonly key?: Uint8Array | null;
  /** Signs with MESSAGE-INTEGRITY-SHA256, not truncated; behind MESSAGE-INTEGRITY when there are both. */
  readonly sha256Key?: Uint8Array | null;
  /** Ends the message with FINGERPRINT. */
  readonly fingerprint?: boolean;
}

/**
 * Writes one STUN message. Attributes stand in the order in which they were added; padding is zero. A builder is good for one
 * message: {@link build} gives out its memory.
 */
export class StunBuilder {
  #out: Uint8Array;
  #length = STUN_HEADER_BYTES;
  readonly #transactionId: Uint8Array;

  /**
   * @param transactionId 12 bytes.
   * @param capacityBytes how large the message is expected to become, when that is known to be much.
   * @throws StunError when the transaction ID is not 12 bytes.
   */
  constructor(messageClass: StunClass, method: number, transactionId: Uint8Array, capacityBytes = INITIAL_BYTES) {
    if (transactionId.length !== 12) throw new StunError(`a transaction ID has 12 bytes, not ${transactionId.length}`);
    this.#transactionId = transactionId;
    const out = new Uint8Array(Math.max(capacityBytes, STUN_HEADER_BYTES));
    this.#out = out;
    writeU16(out, 0, messageType(messageClass, method));
    writeU32(out, 4, STUN_MAGIC_COOKIE);
    out.set(transactionId, 8);
  }

  /** Bytes so far, without what {@link build} adds. */
  get length(): number {
    return this.#length;
  }

  /** Any attribute. @throws StunError when the message would not fit into 65,535 bytes. */
  add(type: number, value: Uint8Array): this {
    const start = this.#open(type, value.length);
    this.#out.set(value, start);
    return this;
  }

  /** An attribute without a value, such as USE-CANDIDATE. */
  empty(type: number): this {
    this.#open(type, 0);
    return this;
  }

  /** A byte and three reserved ones, such as REQUESTED-TRANSPORT. */
  u8(type: number, value: number): this {
    const start = this.#open(type, 4);
    this.#out[start] = value;
    return this;
  }

  /** A 32-bit attribute, such as PRIORITY or LIFETIME; more bits than 32 are cut off. */
  u32(type: number, value: number): this {
    const start = this.#open(type, 4);
    writeU32(this.#out, start, value);
    return this;
  }

  /** A 64-bit attribute, such as ICE-CONTROLLING; more bits than 64 are cut off. */
  u64(type: number, value: bigint): this {
    const start = this.#open(type, 8);
    // In halves: shifting a bigint makes two more.
    eightBytes.setBigUint64(0, value);
    writeU32(this.#out, start, eightBytes.getUint32(0));
    writeU32(this.#out, start + 4, eightBytes.getUint32(4));
    return this;
  }

  /** CHANNEL-NUMBER (RFC 8656 §18.1). */
  channelNumber(channel: number): this {
    const start = this.#open(STUN_ATTRIBUTE.CHANNEL_NUMBER, 4);
    writeU16(this.#out, start, channel);
    return this;
  }

  /** UTF-8 text. @throws StunError when it is longer than the standard lets the attribute be. */
  string(type: number, text: string): this {
    const value = isAscii(text) ? null : utf8(text);
    const length = value?.length ?? text.length;
    const limit = type === STUN_ATTRIBUTE.USERNAME ? STUN_LIMITS.USERNAME_BYTES : STUN_LIMITS.TEXT_BYTES_SENT;
    if (length > limit) {
      throw new StunError(`attribute 0x${type.toString(16)} may have ${limit} bytes of text, not ${length}`);
    }
    if (value) return this.add(type, value);
    const start = this.#open(type, length);
    for (let i = 0; i < length; i++) this.#out[start + i] = text.charCodeAt(i);
    return this;
  }

  /** An address XORed with the cookie and the transaction ID, such as XOR-MAPPED-ADDRESS. */
  xorAddress(type: number, address: SocketAddress): this {
    const start = this.#open(type, addressBytes(address));
    writeAddress(this.#out, start, address, this.#transactionId);
    return this;
  }

  /** A plain address, such as MAPPED-ADDRESS, ALTERNATE-SERVER or OTHER-ADDRESS. */
  address(type: number, address: SocketAddress): this {
    const start = this.#open(type, addressBytes(address));
    writeAddress(this.#out, start, address, null);
    return this;
  }

  /** ERROR-CODE with the standard's reason phrase, or another. @throws StunError when the code is not within 300..699. */
  errorCode(code: number, reason: string = stunErrorReason(code)): this {
    if (!Number.isInteger(code) || code < 300 || code > 699) throw new StunError(`${code} is no error code (300..699)`);
    const phrase = utf8(reason);
    if (phrase.length > STUN_LIMITS.TEXT_BYTES_SENT) throw new StunError("the reason phrase is too long");
    const start = this.#open(STUN_ATTRIBUTE.ERROR_CODE, 4 + phrase.length);
    this.#out[start + 2] = Math.floor(code / 100);
    this.#out[start + 3] = code % 100;
    this.#out.set(phrase, start + 4);
    return this;
  }

  /** UNKNOWN-ATTRIBUTES, for a 420 error. */
  unknownAttributes(types: readonly number[]): this {
    const start = this.#open(STUN_ATTRIBUTE.UNKNOWN_ATTRIBUTES, types.length * 2);
    types.forEach((type, i) => {
      writeU16(this.#out, start + i * 2, type);
    });
    return this;
  }

  /** The message's bytes, signed and fingerprinted as asked. */
  build(options: StunBuildOptions = {}): Uint8Array {
    const { key, sha256Key } = options;
    if (key) {
      const start = this.#open(STUN_ATTRIBUTE.MESSAGE_INTEGRITY, INTEGRITY_BYTES);
      this.#writeLength();
      this.#out.set(integrity("sha1", this.#out, start - 4, INTEGRITY_BYTES, key), start);
    }
    if (sha256Key) {
      const start = this.#open(STUN_ATTRIBUTE.MESSAGE_INTEGRITY_SHA256, 32);
      this.#writeLength();
      this.#out.set(integrity("sha256", this.#out, start - 4, 32, sha256Key), start);
    }
    if (options.fingerprint) {
      const start = this.#open(STUN_ATTRIBUTE.FINGERPRINT, FINGERPRINT_BYTES);
      this.#writeLength();
      writeU32(this.#out, start, fingerprint(this.#out, start - 4));
    }
    this.#writeLength();
    return this.#out.subarray(0, this.#length);
  }

  /** Writes an attribute's header, makes room for its value and padding (zero), and returns where the value begins. */
  #open(type: number, length: number): number {
    const start = this.#length + 4;
    const end = start + ((length + 3) & ~3);
    if (end > 0xffff) throw new StunError(`a message of ${end} bytes does not fit a datagram`);
    if (end > this.#out.length) {
      const larger = new Uint8Array(Math.max(end + INTEGRITY_BYTES + FINGERPRINT_BYTES + 8, this.#out.length * 2));
      larger.set(this.#out.subarray(0, this.#length));
      this.#out = larger;
    }
    writeU16(this.#out, start - 4, type);
    writeU16(this.#out, start - 2, length);
    this.#length = end;
    return start;
  }

  #writeLength(): void {
    writeU16(this.#out, 2, this.#length - STUN_HEADER_BYTES);
  }
}

const eightBytes = new DataView(new ArrayBuffer(8));

/** User names of checks are: copied by hand they cost a third of what the encoder's call does. */
function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false;
  return true;
}

function writeU16(out: Uint8Array, offset: number, value: number): void {
  out[offset] = (value >> 8) & 0xff;
  out[offset + 1] = value & 0xff;
}

function writeU32(out: Uint8Array, offset: number, value: number): void {
  out[offset] = value >>> 24;
  out[offset + 1] = (value >>> 16) & 0xff;
  out[offset + 2] = (value >>> 8) & 0xff;
  out[offset + 3] = value & 0xff;
}
