import { AditError } from "@adit/core";

/**
 * - `bind-failed`: no address could be bound.
 * - `bad-server`: the address of a STUN or TURN server cannot be read or resolved.
 * - `failed`: no pair of candidates works.
 * - `closed`: the connection was closed.
 */
export type IceConnectionErrorCode = "bind-failed" | "bad-server" | "failed" | "closed";

/** What {@link createIceConnection}, {@link IceConnection} and their like throw: `code` says which of {@link IceConnectionErrorCode} it is. */
export class IceConnectionError extends AditError {
  /** What happened. */
  override readonly code: IceConnectionErrorCode;

  constructor(code: IceConnectionErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
