import type { Logger } from "@adit/core";
import type { QuicConnection } from "./connection.ts";
import type { ConnectionOwner } from "./connection-options.ts";
import { parseNativeError } from "./errors.ts";
import type { NativeConnection } from "./native.ts";

/** Where the connection IDs come from that we give to the peer. */
export interface IdSource {
  issue(): Uint8Array;
  retire(id: Uint8Array): void;
  /** The stateless reset token of an ID of ours, 128 bits. */
  resetToken(id: Uint8Array): bigint;
}

/** Those of the endpoint, for one connection. */
export const idsOf = (connection: QuicConnection, owner: ConnectionOwner, onRetired: () => void): IdSource => ({
  issue: () => owner.issueId(connection),
  retire: (id) => {
    onRetired();
    owner.retireId(connection, id);
  },
  resetToken: (id) => owner.resetToken(id),
});

/** RFC 9000 §5.1.1: gives the peer as many connection IDs as it keeps, `limit` at most, and new ones for those it retires. */
export function replenishIds(native: NativeConnection, source: IdSource, limit: number, log: Logger): void {
  for (let retired = native.retiredScidNext(); retired; retired = native.retiredScidNext()) source.retire(retired);
  const room = Math.min(native.sourceCidsLeft(), limit - native.activeSourceCids());
  for (let left = room; left > 0; left--) {
    const id = source.issue();
    try {
      native.newSourceCid(id, source.resetToken(id), false);
    } catch (error) {
      source.retire(id);
      log.debug("quic-connection-id-refused", { error: parseNativeError(error).name });
      return;
    }
  }
}
