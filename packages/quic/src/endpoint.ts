import { Counters, equalBytes, type Logger, nullLogger, type Random, toHex } from "@adit/core";
import type { QuicConfig } from "./config.ts";
import { QuicConnection } from "./connection.ts";
import { ConnectionIdTable } from "./connection-ids.ts";
import { fromNative, parseNativeError, QuicError } from "./errors.ts";
import { type NativeConnection, quiche } from "./native.ts";
import {
  CONNECTION_ID_LENGTH,
  initialToken,
  type MalformedReason,
  mayBeFirstInitial,
  parsePacketHeader,
  SHORT_HEADER,
} from "./packet.ts";
import type { PeerCheck } from "./peer-check.ts";
import { RetryTokens, retryPacket } from "./retry.ts";
import { statelessReset, statelessResetToken, tokenAsNumber } from "./stateless-reset.ts";
import type { VirtualAddress } from "./types.ts";

export interface QuicEndpointOptions {
  readonly random: Random;
  /** Makes it accept connections. */
  readonly server?: QuicConfig;
  /** Connections at once, either role; 1,024 by default. More are refused. */
  readonly maxConnections?: number;
  /**
   * A server's static key for stateless resets, 32 secret bytes that outlive the process: connections can be ended with it. Without one
   * the tokens are random, and {@link QuicEndpoint.resetFor} has nothing to say.
   */
  readonly resetKey?: Uint8Array;
  readonly log?: Logger;
}

/** The start of a connection that a client offers. Its parts are copies. */
export interface InitialHeader {
  readonly destinationId: Uint8Array;
  readonly sourceId: Uint8Array;
  /** Of a Retry; empty without. */
  readonly token: Uint8Array;
}

export type DropReason =
  | MalformedReason
  | "unknown-connection"
  | "not-initial" // a long header of no connection we know that does not start one either
  | "early-data" // 0-RTT is never offered
  | "bad-token" // its length goes beyond the datagram
  | "no-server"
  | "connection-limit"
  | "accept-failed";

export type Route =
  | { readonly kind: "connection"; readonly connection: QuicConnection }
  | { readonly kind: "initial"; readonly header: InitialHeader }
  | { readonly kind: "drop"; readonly reason: DropReason };

export interface ConnectOptions extends PeerCheck {
  readonly config: QuicConfig;
  readonly local: VirtualAddress;
  readonly remote: VirtualAddress;
  /**
   * The last bytes, at most 8, of the source connection ID that the server sees in the first packet
   * ({@link InitialHeader.sourceId}): tells connections apart that come from one address.
   */
  readonly sourceIdSuffix?: Uint8Array;
  /** Of the path, where it is known: by it the first flight is repeated. */
  readonly rttMs?: number | null;
}

/** QUIC connections that share sockets: finds the one that a datagram is for. */
export class QuicEndpoint {
  readonly drops = new Counters<DropReason>();
  readonly #options: QuicEndpointOptions;
  readonly #maxConnections: number;
  readonly #log: Logger;
  readonly #ids: ConnectionIdTable<QuicConnection>;
  readonly #members = new Map<QuicConnection, Member>();
  readonly #retryTokens: RetryTokens;

  constructor(options: QuicEndpointOptions) {
    this.#options = options;
    this.#maxConnections = options.maxConnections ?? 1024;
    this.#log = options.log ?? nullLogger;
    this.#ids = new ConnectionIdTable(options.random);
    this.#retryTokens = new RetryTokens(options.random);
  }

  /** Those that are not closed altogether. */
  connections(): Iterable<QuicConnection> {
    return this.#members.keys();
  }

  get connectionCount(): number {
    return this.#members.size;
  }

  /** How many connection IDs lead somewhere. */
  get connectionIdCount(): number {
    return this.#ids.size;
  }

  /** Starts a connection; `send` has its first packet. @throws QuicError `invalid-argument`; `invalid-state` at `maxConnections`. */
  connect(now: number, options: ConnectOptions): QuicConnection {
    const { config, local, remote } = options;
    if (config.role !== "client") throw new QuicError("invalid-argument", "connect needs a config with role client");
    if (this.#members.size >= this.#maxConnections) {
      throw new QuicError("invalid-state", `${this.#maxConnections} connections are open, which is the limit`);
    }
    const id = this.#ids.draw();
    if (options.sourceIdSuffix) id.set(options.sourceIdSuffix.subarray(0, 8), id.length - 8);
    let native: NativeConnection;
    try {
      native = quiche.Connection.connect(null, id, local, remote, config.native);
    } catch (error) {
      throw fromNative(error, `connect to ${remote.host} port ${remote.port}`);
    }
    return this.#admit(now, native, config, id, null, options);
  }

  /** Nobody drives the connection any more: its IDs lead nowhere from now on, and it counts no longer. */
  forget(connection: QuicConnection): void {
    this.#owner.closed(connection);
  }

  /** Whose datagram this is. Never throws; what is dropped is counted. */
  route(data: Uint8Array): Route {
    const header = parsePacketHeader(data);
    if (typeof header === "string") return this.#drop(header);
    if (header.form === "short") {
      const connection = this.#ids.find(data, 1);
      return connection ? { kind: "connection", connection } : this.#drop("unknown-connection");
    }
    if (header.type === "0rtt") return this.#drop("early-data");
    const { destinationId, sourceId } = header;
    const connection = this.#ids.find(destinationId, 0) ?? this.#ids.findOriginal(destinationId);
    if (connection) return { kind: "connection", connection };
    if (!mayBeFirstInitial(header, data.length)) return this.#drop("not-initial");
    if (!this.#options.server) return this.#drop("no-server");
    const token = initialToken(data, header);
    if (!token) return this.#drop("bad-token");
    return {
      kind: "initial",
      header: { destinationId: destinationId.slice(), sourceId: sourceId.slice(), token: token.slice() },
    };
  }

  /**
   * A Retry packet (RFC 9000 §8.1.2) to send to `remote` instead of accepting: nothing is kept. The client comes back with a token that
   * proves its address; {@link accept} takes note of it.
   */
  retry(now: number, header: InitialHeader, remote: VirtualAddress): Uint8Array {
    const { destinationId: originalId, sourceId: clientId } = header;
    const retryId = this.#ids.draw();
    const token = this.#retryTokens.seal(now, originalId, retryId, remote);
    return retryPacket({ originalId, clientId, retryId, token, unused: this.#options.random.bytes(1)[0] ?? 0 });
  }

  /** Whether the client has shown with a token of a {@link retry} that it receives what is sent to `remote`. */
  hasProvedAddress(now: number, header: InitialHeader, remote: VirtualAddress): boolean {
    return this.#originalId(now, header, remote) !== null;
  }

  /** The stateless reset (RFC 9000 §10.3) to answer a datagram with that `route` dropped; null when there is none, or no `resetKey`. */
  resetFor(data: Uint8Array): Uint8Array | null {
    const { resetKey, random } = this.#options;
    if (!resetKey || parsePacketHeader(data) !== SHORT_HEADER || this.#ids.find(data, 1)) return null;
    const id = data.subarray(1, 1 + CONNECTION_ID_LENGTH);
    return statelessReset(random, statelessResetToken(resetKey, id), data.length);
  }

  /** A server's connection ID that a client sends to from the handshake on, by which {@link resetOf} ends the connection later. */
  firstIdOf(connection: QuicConnection): Uint8Array | null {
    return this.#members.get(connection)?.firstId ?? null;
  }

  /** A stateless reset for a connection of a former process with the same `resetKey`; null without one, or when the ID is in use. */
  resetOf(firstId: Uint8Array): Uint8Array | null {
    const { resetKey, random } = this.#options;
    if (!resetKey || this.#ids.find(firstId, 0)) return null;
    return statelessReset(random, statelessResetToken(resetKey, firstId));
  }

  /** Takes the connection that `header` offers; the datagram goes to its `recv`. Null, and counted, at `maxConnections`. */
  accept(
    now: number,
    header: InitialHeader,
    local: VirtualAddress,
    remote: VirtualAddress,
    check: PeerCheck = {},
  ): QuicConnection | null {
    const config = this.#options.server;
    if (config?.role !== "server") {
      throw new QuicError("invalid-argument", "accept needs an endpoint with a config of role server");
    }
    if (this.#members.size >= this.#maxConnections) {
      this.drops.add("connection-limit");
      return null;
    }
    // After a Retry the client sends to the ID that it was given there, and the transport parameters have to name the first one.
    const originalId = this.#originalId(now, header, remote);
    const id = originalId ? header.destinationId.slice() : this.#ids.draw();
    try {
      const native = this.#acceptNative(id, originalId, local, remote, config);
      const firstId = originalId ? null : header.destinationId;
      return this.#admit(now, native, config, id, firstId, { ...check, local, remote });
    } catch (error) {
      this.drops.add("accept-failed");
      this.#log.warn("quic-accept-failed", { error: String(error) });
      return null;
    }
  }

  #acceptNative(
    id: Uint8Array,
    originalId: Uint8Array | null,
    local: VirtualAddress,
    remote: VirtualAddress,
    config: QuicConfig,
  ): NativeConnection {
    const { resetKey } = this.#options;
    const accept = () => quiche.Connection.accept(id, originalId, local, remote, config.native);
    if (!resetKey) return accept();
    try {
      // The configuration's token is copied into the connection that is made next: each gets one of its own.
      config.native.setStatelessResetToken(tokenAsNumber(statelessResetToken(resetKey, id)));
      return accept();
    } catch (error) {
      // quiche 0.18 has 128 bytes for transport parameters. After a Retry there are two more IDs among them, and a client's long first ID
      // may leave no room for the token: then that connection goes without.
      if (parseNativeError(error).name !== "BufferTooShort") throw error;
      config.native.setStatelessResetToken(null);
      return accept();
    }
  }

  #originalId(now: number, { token, destinationId }: InitialHeader, remote: VirtualAddress): Uint8Array | null {
    if (token.length === 0 || destinationId.length !== CONNECTION_ID_LENGTH) return null;
    return this.#retryTokens.open(now, token, destinationId, remote);
  }

  #admit(
    now: number,
    native: NativeConnection,
    config: QuicConfig,
    id: Uint8Array,
    originalId: Uint8Array | null,
    path: PeerCheck & Pick<ConnectOptions, "local" | "remote" | "rttMs">,
  ): QuicConnection {
    const connection = new QuicConnection({
      native,
      config,
      now,
      id: toHex(id.subarray(0, 4)),
      owner: this.#owner,
      log: this.#log,
      local: path.local,
      remote: path.remote,
      rttMs: path.rttMs ?? null,
      check: path,
    });
    const firstId = this.#ids.add(id, connection);
    if (originalId) this.#ids.addOriginal(originalId, connection);
    this.#members.set(connection, { firstId, ids: [firstId], originalId });
    return connection;
  }

  readonly #owner = {
    resetToken: (id: Uint8Array): bigint => {
      const { resetKey, random } = this.#options;
      return tokenAsNumber(resetKey ? statelessResetToken(resetKey, id) : random.bytes(16));
    },
    issueId: (connection: QuicConnection): Uint8Array => {
      const id = this.#ids.draw();
      this.#members.get(connection)?.ids.push(this.#ids.add(id, connection));
      return id;
    },
    retireId: (connection: QuicConnection, id: Uint8Array): void => {
      this.#ids.retire(id);
      const member = this.#members.get(connection);
      if (member) member.ids = member.ids.filter((one) => !equalBytes(one, id));
    },
    established: (connection: QuicConnection): void => {
      const member = this.#members.get(connection);
      if (!member?.originalId) return;
      this.#ids.removeOriginal(member.originalId);
      member.originalId = null;
    },
    closed: (connection: QuicConnection): void => {
      const member = this.#members.get(connection);
      if (!member) return;
      for (const id of member.ids) this.#ids.retire(id);
      if (member.originalId) this.#ids.removeOriginal(member.originalId);
      this.#members.delete(connection);
    },
  };

  #drop(reason: DropReason): Route {
    this.drops.add(reason);
    return { kind: "drop", reason };
  }
}

interface Member {
  readonly firstId: Uint8Array;
  ids: Uint8Array[];
  originalId: Uint8Array | null;
}
