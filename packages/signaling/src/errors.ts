import { AditError } from "@adit/core";

/** The codes in `Error.code` and `Refused.code` on the wire, and what each means. docs/protocol.md has the same table. */
export const WIRE_ERROR_CODES = {
  "unsupported-version": "the receiver does not speak the version in Hello",
  "bad-message": "a frame was too long, did not decode, or a value was out of bounds",
  "unexpected-message": "a valid message that this side never sends, or not now",
  "not-allowed": "the sender's key is not on the list",
  "not-found": "nobody by that name or PeerId is registered here",
  "name-taken": "another key holds the name",
  "peer-changed": "the name belongs to another key than the expected one",
  "unknown-session": "the session does not exist, or no longer",
  "session-gone": "the other side was started anew and does not know the session",
  "too-many": "a limit was reached: sessions, messages per second, bytes waiting",
  "service-unknown": "the connector exposes no service of that name",
  "service-unavailable": "the service is exposed but did not answer",
  timeout: "something expected did not come in time",
  internal: "the sender failed; trying again may help",
  replaced: "the same key connected anew, and the newest wins",
} as const;

export type WireErrorCode = keyof typeof WIRE_ERROR_CODES;

export type SignalingErrorCode = "frame-too-large" | "bad-message" | "unsupported-version";

/** What the codecs and the frame reader throw. */
export class SignalingError extends AditError {
  override readonly code: SignalingErrorCode;

  constructor(code: SignalingErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
