import { fromNative, parseNativeError, QuicError } from "./errors.ts";
import type { NativeConnection } from "./native.ts";
import { PathValidations } from "./path-validations.ts";
import { SendStamps } from "./send-stamps.ts";
import { type Path, StrandedPackets, samePath } from "./stranded.ts";
import type { PathEventKind, QuicEvent, QuicPathStats, SentPacket } from "./types.ts";

/** The paths of one connection (RFC 9000 §9): which one is active, what happens to the others, what was left in flight on them. */
export class Paths {
  readonly #native: NativeConnection;
  readonly #role: "client" | "server";
  readonly #stranded: StrandedPackets;
  readonly #validations: PathValidations;
  readonly #stamps = new SendStamps();
  #events: QuicEvent[] = [];
  #count = 1;

  constructor(native: NativeConnection, role: "client" | "server", first: Path, now: number) {
    this.#native = native;
    this.#role = role;
    this.#stranded = new StrandedPackets(native, first, now);
    this.#validations = new PathValidations(native);
  }

  /** How many there were so far: quiche takes no connection ID back from a path. */
  get count(): number {
    return this.#count;
  }

  isActive(path: Path): boolean {
    return samePath(this.#stranded.active, path);
  }

  get active(): Path {
    return this.#stranded.active;
  }

  /** The active path has failed, as far as is known: with every packet it is looked whether it can be asked again. */
  get isFailed(): boolean {
    return this.#validations.isFailed(this.#stranded.active);
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
    this.#validations.need(now, path);
    if (this.#validations.isFailed(path)) {
      throw new QuicError(
        "invalid-state",
        "could not migrate: the path has failed, and cannot be asked again just now",
      );
    }
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
    if (this.#role === "server") this.#validations.need(now, path);
    this.#stranded.beforeReceive(now, path, this.#role === "server");
  }

  /** A packet was read: a server that has followed its client to a path that is failed needs another one, or the next packet would end the connection. */
  afterReceive(now: number, path: Path): void {
    if (this.#role === "client" || !this.#validations.isFailed(path)) return;
    this.handleTimeout(now);
  }

  /** Whether checks on the active path go unanswered, and which other path they are answered on. */
  suspect(is: boolean, spare: Path | null): void {
    this.#stranded.isSuspect = is;
    if (this.#role === "server") this.#stranded.spare = is ? spare : null;
  }

  /** How long the next packet may be, bytes. */
  limit(now: number, bytes: number): number {
    return this.#stamps.limit(this.#stranded.limit(now, bytes));
  }

  /** A packet of quiche's own, the first `length` bytes of `out`, leaves on the active path, or on one that is probed. */
  sent(now: number, out: Uint8Array, length: number): void {
    this.#stamps.sent();
    this.#stranded.sent(now, out, length);
  }

  /** There is nothing more to send just now. */
  passOver(): void {
    this.#stamps.passOver();
  }

  /** What goes before anything else: challenges of paths that had failed, and what was sent in vain on the path before. */
  sendFirst(now: number, out: Uint8Array): SentPacket | null {
    this.#stay(now);
    const challenge = this.#validations.takeChallenge(out);
    if (challenge) return challenge;
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

  /** The native library looks at its timers, and may give paths up. */
  handleTimeout(now: number): void {
    const isDue = this.#native.timeout() === 0;
    this.#native.onTimeout(); // where no path can be used it goes over to one that can; else it does nothing unless a timer is due
    this.#collect(now);
    if (!isDue) return;
    this.#validations.handleTimeout((path) => this.isValidated(path));
    this.#stay(now);
  }

  /** What happened to paths since the last call. */
  pump(now: number, onEvent: (event: QuicEvent) => void): void {
    this.#collect(now);
    for (const event of this.#events.splice(0)) onEvent(event);
  }

  #collect(now: number): void {
    for (let event = this.#native.pathEventNext(); event; event = this.#native.pathEventNext()) {
      const type: string = event.type; // "FailedValidation" is missing in the published types
      const kind = PATH_EVENTS[type];
      if (!kind) continue;
      // The published names of PeerMigrated are wrong: it carries the local and the remote address.
      const [local, remote] =
        event.type === "PeerMigrated" ? [event.old, event.new] : "local" in event ? [event.local, event.peer] : [];
      if (!local || !remote) continue;
      if (kind === "peer-migrated" && this.isActive({ local, remote })) continue;
      this.#happened(now, kind, { local, remote });
      this.#events.push({ type: "path", event: kind, local, remote });
    }
  }

  #happened(now: number, kind: PathEventKind, path: Path): void {
    switch (kind) {
      case "new":
        this.#count++;
        return this.#validations.handleNew(now, path);
      case "failed":
        return this.#validations.handleFailed(path);
      case "validated":
        return this.#validations.handleValidated(path);
      case "peer-migrated":
        return this.#stranded.migrated(now, path);
      case "closed":
        this.#validations.handleClosed(path);
        this.#stranded.forget(path);
    }
  }

  /** Has the active path failed, quiche has gone over to another one: only the transport says when a client does that. */
  #stay(now: number): void {
    const { active } = this.#stranded;
    if (this.#role === "server" || !this.#validations.isFailed(active)) return;
    this.#validations.need(now, active);
    if (this.#validations.isFailed(active)) return;
    try {
      this.#native.migrate(active.local, active.remote);
    } catch {
      this.#validations.handleFailed(active); // and is asked again
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
