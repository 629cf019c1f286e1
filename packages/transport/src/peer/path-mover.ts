import type { Deadline, Logger, Millis } from "@adit/core";
import { type QuicConnection, QuicError } from "@adit/quic";
import type { PathPolicy } from "../path/policy.ts";
import type { SlotIndex, SlotTable } from "../path/slots.ts";

export interface PathMoverOptions {
  /** The session, for the log. */
  readonly session: string;
  readonly slots: SlotTable;
  readonly policy: PathPolicy;
  /** A path is about to be validated; false when it is to be tried again a little later. */
  readonly mayProbe: (now: Millis, connection: QuicConnection, slot: SlotIndex) => boolean;
  readonly log: Logger;
}

/** Has QUIC do what the path policy wants with a slot, as soon as the connection is ready for it. */
export class PathMover {
  readonly #options: PathMoverOptions;
  /** A slot that is to be validated as soon as the connection is ready for another path. */
  #nextSlot: SlotIndex | null = null;
  /** A slot to move to as soon as the peer has issued a connection ID for it. */
  #nextMove: SlotIndex | null = null;

  constructor(options: PathMoverOptions) {
    this.#options = options;
  }

  /** The policy gives up on it by its own clock, and asks for one at a time. */
  validate(now: Millis, connection: QuicConnection, slot: SlotIndex): void {
    const { session, slots, policy, mayProbe, log } = this.#options;
    this.#nextSlot = null;
    if (connection.settledAt === null || now < connection.settledAt) {
      this.#nextSlot = slot;
      return;
    }
    const [local, remote] = [slots.local(slot), slots.remote(slot)];
    try {
      if (connection.isPathValidated(local, remote)) policy.handleValidated(now, slot);
      else if (mayProbe(now, connection, slot)) connection.probePath(local, remote);
      else this.#nextSlot = slot;
    } catch (error) {
      if (isOutOfIdentifiers(error)) {
        // The peer's spare connection IDs come right behind the handshake.
        this.#nextSlot = slot;
        return;
      }
      log.debug("probe-failed", { session, error: (error as Error).message });
      policy.handleValidationFailed(now, slot);
    }
  }

  migrate(now: Millis, connection: QuicConnection, slot: SlotIndex): void {
    const { session, slots, policy, log } = this.#options;
    this.#nextMove = null;
    try {
      connection.migrate(slots.local(slot), slots.remote(slot));
      if (!connection.sendAckEliciting()) throw new QuicError("invalid-state", "no path can be used");
      log.debug("migrated", { session, pair: slots.pairOf(slot) });
    } catch (error) {
      if (isOutOfIdentifiers(error)) {
        this.#nextMove = slot;
        return;
      }
      log.warn("migrate-failed", { session, error: (error as Error).message });
      policy.handleMigrateFailed(now);
    }
  }

  /** What had to wait is tried again. */
  pump(now: Millis, connection: QuicConnection): void {
    if (this.#nextMove !== null) this.migrate(now, connection, this.#nextMove);
    if (this.#nextSlot !== null) this.validate(now, connection, this.#nextSlot);
  }

  /** When a young connection may be given another path. */
  pollTimeout(now: Millis, connection: QuicConnection | null): Deadline | null {
    const at = this.#nextSlot === null ? null : (connection?.settledAt ?? null);
    return at !== null && at > now ? { at, reason: "young connection" } : null;
  }
}

const isOutOfIdentifiers = (error: unknown): boolean =>
  error instanceof QuicError && error.code === "out-of-identifiers";
