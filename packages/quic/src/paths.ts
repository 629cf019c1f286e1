import { fromNative, parseNativeError, QuicError } from "./errors.ts";
import type { NativeConnection } from "./native.ts";
import { type Path, StrandedPackets, samePath } from "./stranded.ts";
import type { PathEventKind, QuicEvent, QuicPathStats, SentPacket } from "./types.ts";

/** The paths of one connection (RFC 9000 §9): which one is active, what happens to the others, what was left in flight on them. */
export class Paths {
  readonly #native: NativeConnection;
  readonly #role: "client" | "server";
  readonly #stranded: StrandedPackets;

  constructor(native: NativeConnection, role: "client" | "server", first: Path, now: number) {
    this.#native = native;
    this.#role = role;
    this.#stranded = new StrandedPackets(native, first, now);
  }

  isActive(path: Path): boolean {
    return samePath(this.#stranded.active, path);
  }

  get active(): Path {
    return this.#stranded.active;
  }

  /** @throws QuicError `out-of-identifiers`, `invalid-state`. */
  probe(path: Path): void {
    if (samePath(this.#stranded.active, path)) {
      throw new QuicError("invalid-state", "the active path is not probed; call sendAckEliciting instead");
    }
    try {
      this.#native.probePath(path.local, path.remote);
    } catch (error) {
      throw fromNative(error, "probe the path");
    }
  }

  /** @throws QuicError `out-of-identifiers`, `invalid-state` (a server). */
  migrate(now: number, path: Path): void {
    if (samePath(this.#stranded.active, path)) return;
    if (this.#role === "client") this.#stranded.beforeMigrate(now);
    try {
      this.#native.migrate(path.local, path.remote);
    } catch (error) {
      throw fromNative(error, "migrate");
    }
    this.#stranded.migrated(now, path);
  }

  isValidated(path: Path): boolean {
    try {
      return this.#native.isPathValidated(path.local, path.remote);
    } catch (error) {
      if (parseNativeError(error).name === "InvalidState") return false;
      throw fromNative(error, "look up the path");
    }
  }

  stats(): QuicPathStats[] {
    return this.#native.pathStats().map((path) => ({
      local: path.localHost,
      remote: path.peerHost,
      active: path.active,
      rttMs: path.rtt,
      congestionWindowBytes: path.cwnd,
      packetsSent: path.sent,
      packetsReceived: path.recv,
      packetsLost: path.lost,
      sentBytes: path.sentBytes,
      receivedBytes: path.recvBytes,
    }));
  }

  /** A packet is about to be read. */
  beforeReceive(now: number, path: Path): void {
    this.#stranded.beforeReceive(now, path, this.#role === "server");
  }

  /** Whether checks on the active path go unanswered, and which other path they are answered on. */
  suspect(is: boolean, spare: Path | null): void {
    this.#stranded.isSuspect = is;
    if (this.#role === "server") this.#stranded.spare = is ? spare : null;
  }

  /** How long the next packet may be, bytes. */
  limit(now: number, bytes: number): number {
    return this.#stranded.limit(now, bytes);
  }

  /** A packet of quiche's own, the first `length` bytes of `out`, leaves on the active path, or on one that is probed. */
  sent(now: number, out: Uint8Array, length: number): void {
    this.#stranded.sent(now, out, length);
  }

  /** What was sent in vain on the path before, to be sent before anything else. */
  sendAgain(out: Uint8Array): SentPacket | null {
    const length = this.#stranded.sendAgain(out);
    return length > 0 ? { length, ...this.#stranded.active } : null;
  }

  /** What was sent in vain on the active path, to be sent on another one that stands. */
  sendSpare(out: Uint8Array): SentPacket | null {
    return this.#stranded.sendSpare(out);
  }

  /** What is left to be said on a path that was left; see {@link StrandedPackets}. */
  sendStranded(now: number, out: Uint8Array): SentPacket | null {
    const length = this.#stranded.send(now, out);
    return length > 0 ? { length, ...this.#stranded.active } : null;
  }

  /** When {@link sendStranded} may have something that it held back. */
  deadline(now: number): number | null {
    return this.#stranded.deadline(now);
  }

  /** What happened to paths since the last call. */
  pump(now: number, onEvent: (event: QuicEvent) => void): void {
    for (let event = this.#native.pathEventNext(); event; event = this.#native.pathEventNext()) {
      const type: string = event.type; // "FailedValidation" is missing in the published types
      const kind = PATH_EVENTS[type];
      if (!kind) continue;
      // The published names of PeerMigrated are wrong: it carries the local and the remote address.
      const [local, remote] =
        event.type === "PeerMigrated" ? [event.old, event.new] : "local" in event ? [event.local, event.peer] : [];
      if (!local || !remote) continue;
      if (kind === "peer-migrated") this.#stranded.migrated(now, { local, remote });
      if (kind === "closed") this.#stranded.forget({ local, remote });
      onEvent({ type: "path", event: kind, local, remote });
    }
  }
}

const PATH_EVENTS: Readonly<Record<string, PathEventKind>> = {
  New: "new",
  Validated: "validated",
  FailedValidation: "failed",
  Closed: "closed",
  PeerMigrated: "peer-migrated",
};
