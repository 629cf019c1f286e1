import type { Logger } from "@adit/core";
import type { QuicConfig } from "./config.ts";
import type { QuicConnection } from "./connection.ts";
import type { NativeConnection } from "./native.ts";
import type { IdSource } from "./own-ids.ts";
import type { PeerCheck } from "./peer-check.ts";
import type { VirtualAddress } from "./types.ts";

/** What a connection needs of its endpoint. */
export interface ConnectionOwner extends IdSource<QuicConnection> {
  /** The handshake is over: the ID that the client chose is not used any more. */
  established(connection: QuicConnection): void;
  /** No packet is expected any more. */
  closed(connection: QuicConnection): void;
}

export interface ConnectionOptions {
  readonly native: NativeConnection;
  readonly config: QuicConfig;
  readonly now: number;
  readonly id: string;
  readonly local: VirtualAddress;
  readonly remote: VirtualAddress;
  readonly owner: ConnectionOwner;
  /** Of the path, where it is known. */
  readonly rttMs: number | null;
  readonly log: Logger;
  readonly check: PeerCheck;
}
