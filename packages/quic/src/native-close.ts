import { utf8 } from "@adit/core";
import { type CloseReason, parseNativeError } from "./errors.ts";
import type { NativeConnection } from "./native.ts";

/** Transport error codes (RFC 9000 §20.1). */
export const INTERNAL_ERROR = 0x1;
export const NO_ERROR = 0x0;
/** The reason phrase of a close is cut to this, bytes, so that the frame fits a packet. */
const MAX_REASON_BYTES = 256;

const lenientUtf8 = new TextDecoder();

/** Ends the native connection. Returns the native error when it would not be ended, mostly because it is over already. */
export function closeNative(native: NativeConnection, isApp: boolean, code: number, reason: string): string | null {
  let text = utf8(reason);
  if (text.length > MAX_REASON_BYTES) text = utf8(lenientUtf8.decode(text.subarray(0, MAX_REASON_BYTES - 3)));
  try {
    native.close(isApp, code, text);
    return null;
  } catch (error) {
    return parseNativeError(error).name;
  }
}

/** Why a native connection that was not closed from here is over. */
export function nativeCloseReason(native: NativeConnection): CloseReason {
  if (native.isTimedOut()) {
    return { by: "timeout", isApp: false, code: NO_ERROR, reason: "nothing was heard for too long" };
  }
  const [by, error] = [native.peerError() ? "peer" : "local", native.peerError() ?? native.localError()] as const;
  if (!error) return { by: "local", isApp: false, code: NO_ERROR, reason: "the connection was dropped" };
  return { by, isApp: error.isApp, code: error.errorCode, reason: lenientUtf8.decode(error.reason) };
}
