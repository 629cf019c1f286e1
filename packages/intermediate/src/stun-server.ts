/**
 * The STUN Binding service (RFC 8489 §12): tells anybody who asks which address the question came from. With a second IP address it
 * is also a NAT behaviour discovery server (RFC 5780): it can answer from another address or port than it was asked at.
 *
 * Deviations from RFC 5780, each on purpose:
 * - PADDING in a response is as long as in the request, not as the MTU: an answer is never much larger than its question.
 * - Over TCP and TLS, and without a second address, its attributes are unknown (420), as RFC 8489 says of what is not supported.
 */
import type { SocketAddress, SocketId } from "@adit/core";
import {
  getBytes,
  getU32,
  STUN_ATTRIBUTE,
  STUN_ERROR,
  STUN_METHOD,
  StunBuilder,
  type StunMessage,
  unknownComprehensionRequired,
} from "@adit/ice";

/** Credentials are not asked for here, and those that come along do not matter. */
const PLAIN_KNOWN = [STUN_ATTRIBUTE.USERNAME, STUN_ATTRIBUTE.REALM, STUN_ATTRIBUTE.NONCE] as const;
const KNOWN: ReadonlySet<number> = new Set(PLAIN_KNOWN);
const DISCOVERY_KNOWN: ReadonlySet<number> = new Set([
  ...PLAIN_KNOWN,
  STUN_ATTRIBUTE.CHANGE_REQUEST,
  STUN_ATTRIBUTE.RESPONSE_PORT,
  STUN_ATTRIBUTE.PADDING,
]);

/** RFC 5780 §7.2: the flags "change IP" and "change port". */
const CHANGE_IP = 0x04;
const CHANGE_PORT = 0x02;

/** One of the four sockets that RFC 5780 §6 asks for: two IP addresses, the same two ports on each. */
export interface DiscoverySocket {
  readonly socket: SocketId;
  /** As clients reach it. */
  readonly address: SocketAddress;
  readonly ip: "primary" | "alternate";
  readonly port: "primary" | "alternate";
}

export interface BindingAnswer {
  readonly data: Uint8Array;
  readonly socket: SocketId;
  readonly to: SocketAddress;
}

export class BindingServer {
  readonly #discovery: readonly DiscoverySocket[];

  /** @param discovery all four, or none. */
  constructor(discovery: readonly DiscoverySocket[] = []) {
    this.#discovery = discovery;
  }

  /** The response to a Binding request that came from `from` to our `socket`. */
  answer(request: StunMessage, from: SocketAddress, socket: SocketId): BindingAnswer {
    const asked = this.#discovery.find((one) => one.socket === socket);
    const options = { fingerprint: request.fingerprintOffset >= 0 };
    const unknown = unknownComprehensionRequired(request, asked ? DISCOVERY_KNOWN : KNOWN);
    if (unknown.length > 0) {
      const error = errorResponse(request, STUN_ERROR.UNKNOWN_ATTRIBUTE).unknownAttributes(unknown);
      return { data: error.build(options), socket, to: from };
    }
    const success = new StunBuilder("success", STUN_METHOD.BINDING, request.transactionId);
    success.xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, from);
    if (!asked) return { data: success.build(options), socket, to: from };

    const wanted = readDiscovery(request, from);
    if (wanted === null) {
      const error = errorResponse(request, STUN_ERROR.BAD_REQUEST);
      return { data: error.build(options), socket, to: from };
    }
    const origin = this.#choose(asked, wanted.change);
    success.address(STUN_ATTRIBUTE.RESPONSE_ORIGIN, origin.address);
    // §7.4: where answers come from if the client requests both changes.
    success.address(STUN_ATTRIBUTE.OTHER_ADDRESS, this.#choose(asked, CHANGE_IP | CHANGE_PORT).address);
    if (wanted.paddingBytes > 0) success.add(STUN_ATTRIBUTE.PADDING, new Uint8Array(wanted.paddingBytes));
    return { data: success.build(options), socket: origin.socket, to: wanted.to };
  }

  #choose(asked: DiscoverySocket, change: number): DiscoverySocket {
    const ip = other(asked.ip, (change & CHANGE_IP) !== 0);
    const port = other(asked.port, (change & CHANGE_PORT) !== 0);
    return this.#discovery.find((one) => one.ip === ip && one.port === port) ?? asked;
  }
}

interface Discovery {
  readonly change: number;
  readonly to: SocketAddress;
  readonly paddingBytes: number;
}

/** What RFC 5780's attributes ask for; null for a bad request. */
function readDiscovery(request: StunMessage, from: SocketAddress): Discovery | null {
  const changeValue = getBytes(request, STUN_ATTRIBUTE.CHANGE_REQUEST);
  const change = changeValue ? getU32(request, STUN_ATTRIBUTE.CHANGE_REQUEST) : 0;
  const portValue = getBytes(request, STUN_ATTRIBUTE.RESPONSE_PORT);
  const padding = getBytes(request, STUN_ATTRIBUTE.PADDING);
  if (change === null) return null;
  // §7.5: 16 bits and two bytes of padding, which some count into the length.
  if (portValue && portValue.length !== 2 && portValue.length !== 4) return null;
  // §6.1: together they would send large datagrams to a port that did not ask.
  if (portValue && padding) return null;
  const port = portValue ? ((portValue[0] as number) << 8) | (portValue[1] as number) : from.port;
  if (port === 0) return null;
  return { change, to: from.withPort(port), paddingBytes: padding?.length ?? 0 };
}

const other = (which: "primary" | "alternate", change: boolean): "primary" | "alternate" =>
  change === (which === "primary") ? "alternate" : "primary";

const errorResponse = (request: StunMessage, code: number): StunBuilder =>
  new StunBuilder("error", STUN_METHOD.BINDING, request.transactionId).errorCode(code);
