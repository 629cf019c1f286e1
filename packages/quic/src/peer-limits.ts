/**
 * What a peer may cost that quiche 0.18 does not bound by itself (docs/adr: quiche 0.18 and its advisories). What crosses a bound ends the
 * connection at once, without another packet: sending is where some of the traps are.
 */
import { equalBytes } from "@adit/core";
import type { QuicConfig } from "./config.ts";
import type { CloseReason } from "./errors.ts";
import type { NativeConnection } from "./native.ts";
import { INTERNAL_ERROR } from "./native-close.ts";
import { isInitial } from "./packet.ts";

/** RFC 9002 has no bound for a handshake; a certificate of ours with everything sent ten times fits into this, bytes. */
export const MAX_HANDSHAKE_BYTES = 64 * 1024;
/** Connection IDs of ours that the peer may retire, each of which costs a new one. Peers of our making retire none. */
export const MAX_RETIRED_IDS = 64;

/** Bytes of packets beyond those of streams and datagrams in them; for connections whose application reads at once and says little. */
export interface OverheadLimit {
  readonly bytes: number;
  /** More of them with each second that the connection lasts. */
  readonly bytesPerSecond: number;
}

/**
 * RFC 9000 §8.1: "Prior to validating the client address, servers MUST NOT send more than three times as many bytes as the number of bytes
 * they have received." quiche 0.18 counts, and then pads what is left to the 1,200 bytes of an Initial. After a Handshake packet, which proves
 * the address, it sends no Initial.
 */
const AMPLIFICATION = 3;

/** Packets that acknowledge what we sent are a small part of it. */
const ACKNOWLEDGEMENT_SHARE = 1 / 4;

export type LimitReason = "handshake-bytes" | "overhead" | "ids-retired" | "id-forced-out";

const WORDS: Readonly<Record<LimitReason, string>> = {
  "handshake-bytes": `the peer sent more than ${MAX_HANDSHAKE_BYTES} bytes without completing the handshake`,
  overhead: "the peer sent too much that carries nothing",
  "ids-retired": `the peer retired more than ${MAX_RETIRED_IDS} connection IDs`,
  "id-forced-out": "the peer took away the connection ID in use",
};

export const limitClose = (why: LimitReason): CloseReason => ({
  by: "local",
  isApp: false,
  code: INTERNAL_ERROR,
  reason: WORDS[why],
});

export class PeerLimits {
  readonly #native: NativeConnection;
  readonly #overhead: OverheadLimit | null;
  readonly #boundsInitials: boolean;
  readonly #since: number;
  /** The connection ID that is sent to, and the active path, whose it is; null before the handshake is over. */
  #destination: { readonly id: Uint8Array; readonly path: string } | null = null;
  #established = false;
  #receivedBytes = 0;
  #sentBytes = 0;
  #retiredIds = 0;

  constructor(native: NativeConnection, config: QuicConfig, now: number) {
    this.#native = native;
    this.#overhead = config.overheadLimit;
    this.#boundsInitials = config.role === "server" && !config.repeatsHandshake;
    this.#since = now;
  }

  established(): void {
    this.#established = true;
  }

  /** Whether that packet of the native library's may leave; one that may not is lost on its way, to the library. */
  maySend(packet: Uint8Array, bytes: number): boolean {
    const isOver = this.#sentBytes + bytes > AMPLIFICATION * this.#receivedBytes;
    if (isOver && this.#boundsInitials && !this.#established && isInitial(packet)) return false;
    this.#sentBytes += bytes;
    return true;
  }

  /** The peer has retired so many IDs of ours. */
  idsRetired(count: number): void {
    this.#retiredIds += count;
  }

  /** A packet is about to be read. `switches`: it did not come on the active path, which may change with it. */
  beforeReceive(bytes: number, switches: boolean): LimitReason | null {
    this.#receivedBytes += bytes;
    if (!this.#established) return this.#receivedBytes > MAX_HANDSHAKE_BYTES ? "handshake-bytes" : null;
    return switches ? this.#forcedOut() : null;
  }

  /** Packets were read. `usefulBytes`: of streams and datagrams, since the connection began. */
  check(now: number, usefulBytes: number): LimitReason | null {
    if (!this.#established) return null;
    if (this.#retiredIds > MAX_RETIRED_IDS) return "ids-retired";
    if (this.#overhead) {
      const { bytes, bytesPerSecond } = this.#overhead;
      const grown = ((now - this.#since) / 1000) * bytesPerSecond + this.#sentBytes * ACKNOWLEDGEMENT_SHARE;
      if (this.#receivedBytes - usefulBytes > bytes + grown) return "overhead";
    }
    return this.#forcedOut();
  }

  /**
   * With Retire Prior To (RFC 9000 §19.15) a peer takes IDs away that we send to. Peers of our making never do; it is how quiche 0.18 is
   * brought to send for ever (CVE-2025-7054).
   */
  #forcedOut(): LimitReason | null {
    const id = this.#native.destinationId();
    const before = this.#destination;
    if (before && equalBytes(before.id, id)) return null;
    const path = this.#activePath();
    this.#destination = { id: new Uint8Array(id), path };
    // Another path has an ID of its own; one that had to wait for its ID has none at first.
    return before === null || before.path !== path || before.id.length === 0 ? null : "id-forced-out";
  }

  #activePath(): string {
    const active = this.#native.pathStats().find((path) => path.active);
    return active
      ? `${active.localHost.host}|${active.localHost.port}|${active.peerHost.host}|${active.peerHost.port}`
      : "";
  }
}
