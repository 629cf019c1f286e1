import { AditError } from "@adit/core";

/** What can go wrong in a call on a connection or a stream. */
export type QuicErrorCode =
  | "closed" // the connection is over
  | "not-established" // the handshake is not over
  | "stream-limit" // the peer lets no more streams be open at once
  | "stream-finished" // this direction of the stream was ended here
  | "out-of-identifiers" // the peer has no spare connection ID for a new path
  | "invalid-state" // the path is unknown, or only a client may do this
  | "invalid-argument"
  | "internal"; // the native library said something that is not in this list; see `cause`

/** An error of this package's calls; errors of the network are events instead. */
export class QuicError extends AditError {
  override readonly code: QuicErrorCode;

  constructor(code: QuicErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** Why and by whom a connection was closed. */
export interface CloseReason {
  /** `local`: by this side (a protocol violation it found included); `timeout`: nothing was heard for too long. */
  readonly by: "local" | "peer" | "timeout";
  /** True: `code` is the application's; false: one of RFC 9000 §20.1 (0x100 + alert for TLS). */
  readonly isApp: boolean;
  readonly code: number;
  readonly reason: string;
}

/** The connection is over; what was buffered for reading has been read. */
export class ConnectionClosedError extends QuicError {
  /** Null when the call came before this side knew why. */
  readonly close: CloseReason | null;

  constructor(close: CloseReason | null) {
    super("closed", close ? describeClose(close) : "the connection is closed");
    this.close = close;
  }
}

/** The peer reset its sending side (RESET_STREAM, RFC 9000 §19.4): what was not read is lost. */
export class StreamResetError extends AditError {
  override readonly code = "stream-reset";
  readonly applicationCode: number;

  constructor(applicationCode: number) {
    super(`the peer reset the stream with code ${applicationCode}`);
    this.applicationCode = applicationCode;
  }
}

/** The peer wants no more (STOP_SENDING, RFC 9000 §19.5): what was not delivered is dropped. */
export class StreamStoppedError extends AditError {
  override readonly code = "stream-stopped";
  readonly applicationCode: number;

  constructor(applicationCode: number) {
    super(`the peer stopped reading the stream with code ${applicationCode}`);
    this.applicationCode = applicationCode;
  }
}

/** A key or certificate that is none of ours. */
export class IdentityError extends AditError {
  override readonly code = "bad-key";
}

/** RFC 9000 §20.1. */
const TRANSPORT_CODES = [
  "NO_ERROR",
  "INTERNAL_ERROR",
  "CONNECTION_REFUSED",
  "FLOW_CONTROL_ERROR",
  "STREAM_LIMIT_ERROR",
  "STREAM_STATE_ERROR",
  "FINAL_SIZE_ERROR",
  "FRAME_ENCODING_ERROR",
  "TRANSPORT_PARAMETER_ERROR",
  "CONNECTION_ID_LIMIT_ERROR",
  "PROTOCOL_VIOLATION",
  "INVALID_TOKEN",
  "APPLICATION_ERROR",
  "CRYPTO_BUFFER_EXCEEDED",
  "KEY_UPDATE_ERROR",
  "AEAD_LIMIT_REACHED",
  "NO_VIABLE_PATH",
];

export function describeClose(close: CloseReason): string {
  if (close.by === "timeout") return `the connection timed out: ${close.reason}`;
  const who = close.by === "local" ? "this side" : "the peer";
  const name = close.isApp ? undefined : TRANSPORT_CODES[close.code];
  const what = name ?? `${close.isApp ? "application" : "transport"} code ${close.code}`;
  return `${who} closed the connection (${what})${close.reason ? `: ${close.reason}` : ""}`;
}

/** What the native library threw. It throws `Error` with quiche's name of the error as message, `StreamReset(7)` and the like. */
export interface NativeError {
  readonly name: string;
  /** The number in parentheses: an application code, or a stream ID. */
  readonly value: number | null;
}

export function parseNativeError(error: unknown): NativeError {
  const message = error instanceof Error ? error.message : String(error);
  const match = /^([A-Za-z]+)(?:\((\d+)\))?$/.exec(message);
  if (!match) return { name: message, value: null };
  return { name: match[1] as string, value: match[2] === undefined ? null : Number(match[2]) };
}

/** The error for a native failure that no caller has a special meaning for. `doing` completes "could not ...". */
export function fromNative(error: unknown, doing: string): QuicError {
  const { name } = parseNativeError(error);
  const known = NATIVE_CODES[name];
  if (known) return new QuicError(known[0], `could not ${doing}: ${known[1]}`, { cause: error });
  return new QuicError("internal", `could not ${doing}: quiche said ${name}`, { cause: error });
}

const NATIVE_CODES: Readonly<Record<string, readonly [QuicErrorCode, string]>> = {
  OutOfIdentifiers: ["out-of-identifiers", "no spare connection ID for a new path; use one that exists"],
  InvalidState: ["invalid-state", "the path is unknown, or this is the server's side"],
  StreamLimit: ["stream-limit", "the peer lets no more streams be open at once; wait until one has ended"],
  InvalidStreamState: ["stream-finished", "the stream has ended"],
  FinalSize: ["stream-finished", "the stream was finished before"],
};

/** @throws QuicError `invalid-argument` for what is no application error code. */
export function checkCode(code: number): void {
  if (!Number.isSafeInteger(code) || code < 0) {
    throw new QuicError("invalid-argument", `an application error code is an integer from 0, not ${code}`);
  }
}
