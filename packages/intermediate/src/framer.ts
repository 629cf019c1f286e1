/** What goes to a client: data of a peer behind a ChannelData header, or in a Data indication. */
import type { Random, SocketAddress } from "@adit/core";
import { CHANNEL_DATA_HEADER_BYTES, STUN_ATTRIBUTE, STUN_METHOD, StunBuilder, writeChannelHeader } from "@adit/ice";

/** Header (20), XOR-PEER-ADDRESS for IPv6 (24), DATA's header and padding (4 + 3). */
export const DATA_INDICATION_OVERHEAD = 51;

/** RFC 8656 §11.4 */
export function dataIndication(from: SocketAddress, data: Uint8Array, random: Random): Uint8Array {
  return new StunBuilder("indication", STUN_METHOD.DATA, random.bytes(12), data.length + DATA_INDICATION_OVERHEAD)
    .xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, from)
    .add(STUN_ATTRIBUTE.DATA, data)
    .build();
}

/** The framer's memory, at first and at most: the latter holds what a driver sends in one turn as a rule. */
const FIRST_SLAB_BYTES = 65_536;
const MAX_SLAB_BYTES = 1_048_576;

/** Puts ChannelData headers before payloads, in memory that is used again when the driver has sent it. */
export class Framer {
  #slab = new Uint8Array(FIRST_SLAB_BYTES);
  #used = 0;

  frame(channel: number, payload: Uint8Array): Uint8Array {
    const length = CHANNEL_DATA_HEADER_BYTES + payload.length;
    if (this.#used + length > this.#slab.length) {
      // The views handed out keep the old slab alive.
      this.#slab = new Uint8Array(Math.max(length, Math.min(MAX_SLAB_BYTES, this.#slab.length * 2)));
      this.#used = 0;
    }
    const out = this.#slab.subarray(this.#used, this.#used + length);
    this.#used += length;
    writeChannelHeader(out, channel, payload.length);
    out.set(payload, CHANNEL_DATA_HEADER_BYTES);
    return out;
  }

  reuse(): void {
    this.#used = 0;
  }
}
