/** The length of every connection ID that this package issues, bytes: the longest that QUIC version 1 allows. */
export const CONNECTION_ID_LENGTH = 20;

/** QUIC version 1 (RFC 9000 §15), the only one spoken here. */
const VERSION_1 = 1;
/** RFC 9000 §14.1: a server MUST discard an Initial packet that is carried in a UDP datagram smaller than 1200 bytes. */
const MIN_INITIAL_DATAGRAM = 1200;
/** RFC 9000 §7.2: the client's first Destination Connection ID MUST be at least 8 bytes. */
const MIN_ORIGINAL_ID_LENGTH = 8;

export type LongPacketType = "initial" | "0rtt" | "handshake" | "retry";

/** The part of a QUIC packet's header that no key protects (RFC 8999), as far as demultiplexing needs it. */
export type PacketHeader =
  | { readonly form: "short" } // its Destination Connection ID has CONNECTION_ID_LENGTH bytes at offset 1
  | {
      readonly form: "long";
      readonly type: LongPacketType;
      /** Views of the datagram. */
      readonly destinationId: Uint8Array;
      readonly sourceId: Uint8Array;
    };

export type MalformedReason =
  | "too-short"
  | "fixed-bit"
  | "version-negotiation"
  | "unsupported-version"
  | "bad-connection-id";

/** The one header of all short packets. */
export const SHORT_HEADER: PacketHeader = { form: "short" };
const LONG_TYPES: readonly LongPacketType[] = ["initial", "0rtt", "handshake", "retry"];

/** Reads a datagram's first header, or says why it is none of ours. Never throws. */
export function parsePacketHeader(data: Uint8Array): PacketHeader | MalformedReason {
  const first = data[0];
  if (first === undefined || data.length < 1 + CONNECTION_ID_LENGTH) return "too-short";
  if ((first & 0x80) === 0) return (first & 0x40) === 0 ? "fixed-bit" : SHORT_HEADER;
  const version = new DataView(data.buffer, data.byteOffset + 1, 4).getUint32(0);
  if (version === 0) return "version-negotiation"; // everyone here speaks version 1: only a stranger would send this
  if (version !== VERSION_1) return "unsupported-version";
  if ((first & 0x40) === 0) return "fixed-bit";
  const destinationLength = data[5] as number;
  const sourceAt = 6 + destinationLength;
  const sourceLength = data[sourceAt];
  if (destinationLength > CONNECTION_ID_LENGTH || sourceLength === undefined) return "bad-connection-id";
  if (sourceLength > CONNECTION_ID_LENGTH || sourceAt + 1 + sourceLength > data.length) return "bad-connection-id";
  return {
    form: "long",
    type: LONG_TYPES[(first >> 4) & 3] as LongPacketType,
    destinationId: data.subarray(6, sourceAt),
    sourceId: data.subarray(sourceAt + 1, sourceAt + 1 + sourceLength),
  };
}

/** Whether a datagram that leaves begins with an Initial packet. */
export const isInitial = (data: Uint8Array): boolean => ((data[0] as number) & 0xf0) === 0xc0;

/** Whether a long header with an unknown connection ID may start a connection. */
export function mayBeFirstInitial(header: PacketHeader & { form: "long" }, datagramLength: number): boolean {
  return (
    header.type === "initial" &&
    datagramLength >= MIN_INITIAL_DATAGRAM &&
    header.destinationId.length >= MIN_ORIGINAL_ID_LENGTH
  );
}

/** A view of the token of an Initial packet whose header was parsed (RFC 9000 §17.2.2); null when it does not fit the datagram. */
export function initialToken(data: Uint8Array, header: PacketHeader & { form: "long" }): Uint8Array | null {
  const at = 7 + header.destinationId.length + header.sourceId.length;
  const first = data[at];
  if (first === undefined) return null;
  // A variable-length integer (§16). Longer forms stand for more bytes than a datagram has.
  const long = first >> 6;
  const second = data[at + 1];
  if (long > 1 || (long === 1 && second === undefined)) return null;
  const length = long === 0 ? first : ((first & 0x3f) << 8) | (second ?? 0);
  const start = at + 1 + long;
  return start + length <= data.length ? data.subarray(start, start + length) : null;
}
