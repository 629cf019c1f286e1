import { AditError } from "@adit/core";

export type SessionErrorCode =
  | "not-found"
  | "peer-changed"
  | "not-allowed"
  | "refused"
  | "timeout"
  | "intermediate-unreachable"
  | "intermediate-changed"
  | "unsupported-version"
  | "closed";

/** Why a session could not be had, or ended. */
export class SessionError extends AditError {
  readonly code: SessionErrorCode;

  constructor(code: SessionErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  /** Whether asking again can never help without somebody changing something. */
  get permanent(): boolean {
    return permanentCodes.has(this.code);
  }
}

const permanentCodes: ReadonlySet<SessionErrorCode> = new Set([
  "peer-changed",
  "not-allowed",
  "refused",
  "intermediate-changed",
  "unsupported-version",
]);

/** The connector's answer to OpenService, when it is no. Codes: docs/protocol.md. */
export class ServiceRefusedError extends AditError {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Wire codes to the program's. What is not known here is a refusal: a newer intermediate has its reasons. */
export function refusalCode(wireCode: string): SessionErrorCode {
  switch (wireCode) {
    case "not-found":
    case "peer-changed":
    case "not-allowed":
    case "timeout":
    case "unsupported-version":
      return wireCode;
    case "session-gone":
    case "unknown-session":
    case "internal":
    case "too-many":
      return "closed";
    default:
      return "refused";
  }
}
