import { parseNativeError } from "./errors.ts";
import type { NativeConnection } from "./native.ts";
import type { SentPacket, VirtualAddress } from "./types.ts";

/** A path, as QUIC knows it. */
export interface Path {
  readonly local: VirtualAddress;
  readonly remote: VirtualAddress;
}

/** A path from which nothing came for so long, ms, while packets were under way on it, is taken for dead when it is left. */
const SILENT_MS = 100;
/**
 * A path that was not silent may have died in one direction only. What it lost is asked for when all that is still under way has arrived
 * and was acknowledged, ms: asked for at once it would be sent twice.
 */
const ASK_LATER_MS = 250;
/**
 * A server may hear its client on another path for a while before it follows, ms: it asks for no more than one PING in so long, or the client would
 * answer each, and the server that with the next.
 */
const MARK_APART_MS = 20;
/** Paths left behind that are kept in mind; a connection has four slots. */
const MAX_LEFT = 8;
/** What is sent on a path from which nothing came for so long, ms, is most likely a probe of quiche's, and copied: it may have to go another way. */
const COPY_AFTER_MS = 50;
/** Copies that are kept: the first ones, for they hold what is missing first, and the newest, whose acknowledgement tells that all before it is lost. */
const MAX_COPIES = 8;
/** Copies that go over the spare path in one silence: each wastes a packet if the silence was none. */
const MAX_AHEAD = 16;
/** So that a copy fits any path (RFC 9000 §14). */
const MAX_COPY_BYTES = 1200;

/**
 * Gets packets back that were in flight on a path that was left.
 *
 * quiche 0.18 keeps packets in flight per path, and declares those of a path lost only when a packet of that very path is acknowledged. On
 * a path that died nothing is ever acknowledged any more, its timer resends two packets each time it fires and backs off, and frames that
 * carry no data (MAX_STREAM_DATA) are not resent at all: a transfer stands still for good. So, once a path was left, the PING that quiche
 * wants to send on it travels over the active path instead. The peer finds it by its connection ID and acknowledges it, and quiche sees at
 * once what was lost. Packet numbers and acknowledgements are those of the connection, whichever way they go (RFC 9000 §9.4).
 *
 * No PING can be had while the congestion window of the path that died is full, which it mostly is: nothing but quiche's probes gets past it, and
 * they are hundreds of milliseconds apart by then. So what was sent on the path once it was silent is kept, and sent again over the new one, byte
 * for byte: the same packet numbers, and, as quiche's probes carry what is missing first, the first bytes that the application waits for.
 *
 * A server does not even wait for its client to move: as soon as another path is known to stand, the copies go there too. So their acknowledgement comes
 * with the client's first packet on that path, and the server knows at once what was lost: a round trip less. (A client's would make the server follow it
 * there, RFC 9000 §9.3, before the client has decided to go.)
 */
export class StrandedPackets {
  readonly #native: NativeConnection;
  #active: Path;
  #heardAt: number;
  #wasSilent = false;
  #markedAt = Number.NEGATIVE_INFINITY;
  #isSuspect = false;
  readonly #left: (Path & { askAt: number })[] = [];
  /** Of packets on the active path, as long as it is silent. */
  #copies: Uint8Array[] = [];
  /** Stands while the active one is under suspicion. */
  #spare: Path | null = null;
  /** Of the copies, what is to go over the spare path; and how many more may in this silence. */
  #ahead: Uint8Array[] = [];
  #aheadLeft = MAX_AHEAD;
  /** To be sent on the active path: what was copied on the one before. */
  #again: Uint8Array[] = [];

  constructor(native: NativeConnection, active: Path, now: number) {
    this.#native = native;
    this.#active = active;
    this.#heardAt = now;
  }

  get active(): Path {
    return this.#active;
  }

  /** Checks on the active path go unanswered, whatever is heard on it: should it be left, it is for dead. */
  set isSuspect(is: boolean) {
    this.#isSuspect = is;
  }

  /** A path that stands while the active one is under suspicion, on a server; null for none. */
  set spare(path: Path | null) {
    const isNew = this.#spare === null && path !== null;
    this.#spare = path;
    if (isNew) for (const copy of this.#copies) this.#sendAhead(copy);
    if (path === null && this.#ahead.length > 0) this.#ahead = [];
  }

  /** A packet is about to be read. A server may be about to follow its client to another path. */
  beforeReceive(now: number, path: Path, isServer: boolean): void {
    if (samePath(path, this.#active)) {
      this.#heardAt = now;
      if (this.#copies.length > 0) this.#forgetCopies();
    } else if (isServer && now - this.#markedAt >= MARK_APART_MS) this.#mark(now);
  }

  /** How long the next packet may be, bytes. */
  limit(now: number, bytes: number): number {
    return this.#isCopying(now) ? Math.min(bytes, MAX_COPY_BYTES) : bytes;
  }

  /** A packet of quiche's own, the first `length` bytes of `out`, leaves on the active path, or on one that is probed. */
  sent(now: number, out: Uint8Array, length: number): void {
    if (!this.#isCopying(now) || length > MAX_COPY_BYTES) return;
    if (this.#copies.length === MAX_COPIES) this.#copies.pop();
    const copy = out.slice(0, length);
    this.#copies.push(copy);
    this.#sendAhead(copy);
  }

  /** The active path is about to change on our side. */
  beforeMigrate(now: number): void {
    this.#mark(now);
  }

  migrated(now: number, path: Path): void {
    if (samePath(path, this.#active)) return;
    this.forget(path);
    if (this.#left.length >= MAX_LEFT) this.#left.shift();
    this.#left.push({ ...this.#active, askAt: now + (this.#wasSilent ? 0 : ASK_LATER_MS) });
    this.#again = this.#wasSilent ? this.#copies : [];
    this.#forgetCopies();
    this.#isSuspect = false;
    this.#spare = null;
    this.#active = path;
    this.#heardAt = now;
  }

  forget(path: Path): void {
    const at = this.#left.findIndex((left) => samePath(left, path));
    if (at >= 0) this.#left.splice(at, 1);
  }

  /** The length of a packet in `out` that was sent on the path before, and goes before anything else on the active one; 0 when there is none. */
  sendAgain(out: Uint8Array): number {
    const again = this.#again.length === 0 ? null : this.#again.shift();
    if (!again) return 0;
    out.set(again);
    return again.length;
  }

  /** A packet in `out` that was sent on the active path, in vain it seems, and goes over the spare one as well; null when there is none. */
  sendSpare(out: Uint8Array): SentPacket | null {
    const copy = this.#ahead[0];
    if (!copy || !this.#spare) return null;
    this.#ahead.shift();
    out.set(copy);
    return { length: copy.length, ...this.#spare };
  }

  /** The length of a packet in `out` that belongs to a path that was left, and is to be sent on the active one; 0 when there is none. */
  send(now: number, out: Uint8Array): number {
    for (const path of [...this.#left]) {
      if (now < path.askAt) continue;
      try {
        const sent = this.#native.sendOnPath(out, path.local, path.remote);
        if (sent) return sent[0];
      } catch (error) {
        if (parseNativeError(error).name === "InvalidState") this.forget(path); // quiche has closed it
      }
    }
    return 0;
  }

  /** When {@link send} may have something that it held back. */
  deadline(now: number): number | null {
    let next: number | null = null;
    for (const { askAt } of this.#left) if (askAt > now && (next === null || askAt < next)) next = askAt;
    return next;
  }

  /** Only on the active path can a PING be asked for: before it is left. It leaves when {@link send} is called. */
  #mark(now: number): void {
    this.#markedAt = now;
    this.#wasSilent = this.#isSuspect || now - this.#heardAt >= SILENT_MS;
    try {
      this.#native.sendAckEliciting();
    } catch {
      // No path is active.
    }
  }

  #sendAhead(copy: Uint8Array): void {
    if (this.#spare === null || this.#aheadLeft === 0) return;
    this.#aheadLeft--;
    this.#ahead.push(copy);
  }

  #forgetCopies(): void {
    this.#copies = [];
    this.#ahead = [];
    this.#aheadLeft = MAX_AHEAD;
  }

  #isCopying(now: number): boolean {
    return now - this.#heardAt >= COPY_AFTER_MS;
  }
}

export const samePath = (a: Path, b: Path): boolean =>
  a.local.port === b.local.port &&
  a.remote.port === b.remote.port &&
  a.local.host === b.local.host &&
  a.remote.host === b.remote.host;
