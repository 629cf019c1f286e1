import { AditError, type SocketAddress } from "@adit/core";

export type UdpBindErrorCode = "address-in-use" | "address-not-available" | "permission-denied" | "bind-failed";

/** Why a UDP socket could not be bound; the sentence names the address and says what to do. */
export class UdpBindError extends AditError {
  override readonly code: UdpBindErrorCode;
  readonly address: SocketAddress;

  constructor(code: UdpBindErrorCode, address: SocketAddress, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
    this.address = address;
  }
}

/** Translates what the runtime threw. */
export function bindError(address: SocketAddress, cause: unknown): UdpBindError {
  const system = errorCode(cause);
  switch (system) {
    case "EADDRINUSE":
      return new UdpBindError(
        "address-in-use",
        address,
        `UDP address ${address} is in use: stop the program that holds it, or choose another port (0 lets the system choose)`,
        cause,
      );
    case "EADDRNOTAVAIL":
      return new UdpBindError(
        "address-not-available",
        address,
        `${address.ip} is not an address of this machine: choose one that it has, or ${wildcard(address)} for all of them`,
        cause,
      );
    case "EAFNOSUPPORT":
      return new UdpBindError(
        "address-not-available",
        address,
        `this machine has no IPv${address.family}: UDP address ${address} cannot be bound, choose one of the other family`,
        cause,
      );
    case "EACCES":
    case "EPERM":
      return new UdpBindError(
        "permission-denied",
        address,
        address.port > 0 && address.port < 1024
          ? `UDP port ${address.port} is privileged: choose one from 1024 up, or grant CAP_NET_BIND_SERVICE`
          : `the system does not permit binding UDP address ${address}: choose another, or look at its sandbox and firewall`,
        cause,
      );
    default:
      return new UdpBindError(
        "bind-failed",
        address,
        `UDP address ${address} cannot be bound: ${describe(cause)}`,
        cause,
      );
  }
}

/** The system's error code (`EPERM`, ...) of whatever was thrown, or `unknown`. */
export function errorCode(error: unknown): string {
  if (typeof error === "object" && error !== null && "code" in error && typeof error.code === "string")
    return error.code;
  return "unknown";
}

/** What Linux makes of ICMP messages (icmp_err_convert, icmpv6_err_convert); 95 has two names. */
const ICMP_ERRORS: ReadonlySet<string> = new Set([
  "EACCES",
  "ECONNREFUSED",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "EMSGSIZE",
  "ENETUNREACH",
  "ENONET",
  "ENOPROTOOPT",
  "ENOTSUP",
  "EOPNOTSUPP",
  "EPROTO",
]);

/**
 * Whether the error with which a send failed may be what came back for an earlier datagram: it is delivered to whichever send comes next, which
 * is then not carried out although nothing is wrong with it.
 */
export const isIcmpError = (code: string): boolean => ICMP_ERRORS.has(code);

const wildcard = (address: SocketAddress): string => (address.family === 4 ? "0.0.0.0" : "::");

const describe = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
