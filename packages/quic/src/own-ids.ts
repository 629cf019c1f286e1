import type { Logger } from "@adit/core";
import { parseNativeError } from "./errors.ts";
import type { NativeConnection } from "./native.ts";

/** Where the connection IDs come from that we give to the peer. */
export interface IdSource<Connection> {
  /** A new connection ID that leads to the connection. */
  issueId(connection: Connection): Uint8Array;
  retireId(connection: Connection, id: Uint8Array): void;
  /** The stateless reset token of an ID of ours, 128 bits. */
  resetToken(id: Uint8Array): bigint;
}

/**
 * RFC 9000 §5.1.1: gives the peer as many connection IDs as it keeps, `limit` at most, and new ones for those it retires. Returns how many it has
 * retired.
 */
export function replenishIds<Connection>(
  native: NativeConnection,
  connection: Connection,
  source: IdSource<Connection>,
  limit: number,
  log: Logger,
): number {
  let retired = 0;
  for (let id = native.retiredScidNext(); id; id = native.retiredScidNext()) {
    source.retireId(connection, id);
    retired++;
  }
  const room = Math.min(native.sourceCidsLeft(), limit - native.activeSourceCids());
  for (let left = room; left > 0; left--) {
    const id = source.issueId(connection);
    try {
      native.newSourceCid(id, source.resetToken(id), false);
    } catch (error) {
      source.retireId(connection, id);
      log.debug("quic-connection-id-refused", { error: parseNativeError(error).name });
      break;
    }
  }
  return retired;
}
