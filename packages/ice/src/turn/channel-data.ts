/**
 * ChannelData (RFC 8656 §12.4): channel number (2 bytes), length of the payload (2 bytes), payload.
 * Over UDP it is not padded; a receiver ignores what follows the payload (§12.6).
 */
export const CHANNEL_DATA_HEADER_BYTES = 4;

/** RFC 8656 §12.2: "The channel number is in the range 0x4000 through 0x4FFF (inclusive)". */
export const MIN_CHANNEL_NUMBER = 0x4000;
/** RFC 8656 §12: the greatest that may be chosen. */
export const MAX_CHANNEL_NUMBER = 0x4fff;

/** Whether a client may choose this number (RFC 8656 §12). */
export const isChannelNumber = (value: number): boolean => value >= MIN_CHANNEL_NUMBER && value <= MAX_CHANNEL_NUMBER;

/** RFC 5766 §11 allowed clients 0x4000 through 0x7FFF; such are still about. We choose none above {@link MAX_CHANNEL_NUMBER}. */
const MAX_LEGACY_CHANNEL_NUMBER = 0x7fff;

/** Whether RFC 5766 allowed this number and RFC 8656 does not. */
export const isLegacyChannelNumber = (value: number): boolean =>
  value >= MIN_CHANNEL_NUMBER && value <= MAX_LEGACY_CHANNEL_NUMBER;

/** As {@link isChannelData} in RFC 5766's range. For a server whose port carries nothing that this could be confused with. */
export function isLegacyChannelData(data: Uint8Array): boolean {
  return (
    data.length >= CHANNEL_DATA_HEADER_BYTES &&
    ((data[0] as number) & 0xc0) === 0x40 &&
    payloadLength(data) <= data.length - CHANNEL_DATA_HEADER_BYTES
  );
}

/** Whether a datagram has the form of ChannelData: a channel number in range and a length that the datagram holds. */
export function isChannelData(data: Uint8Array): boolean {
  return (
    data.length >= CHANNEL_DATA_HEADER_BYTES &&
    ((data[0] as number) & 0xf0) === 0x40 &&
    payloadLength(data) <= data.length - CHANNEL_DATA_HEADER_BYTES
  );
}

/** The channel number of a datagram that {@link isChannelData}. */
export function channelNumberOf(data: Uint8Array): number {
  return ((data[0] as number) << 8) | (data[1] as number);
}

/** The payload of a datagram that {@link isChannelData}, a view. */
export function channelPayload(data: Uint8Array): Uint8Array {
  return data.subarray(CHANNEL_DATA_HEADER_BYTES, CHANNEL_DATA_HEADER_BYTES + payloadLength(data));
}

/** A ChannelData message (RFC 8656 §12.4), read. */
export interface ChannelData {
  /** Its number, 16 bits. */
  readonly channel: number;
  /** A view on the datagram. */
  readonly payload: Uint8Array;
}

/** Reads a datagram; null when it is not ChannelData. */
export function parseChannelData(data: Uint8Array): ChannelData | null {
  return isChannelData(data) ? { channel: channelNumberOf(data), payload: channelPayload(data) } : null;
}

/** Writes the 4 bytes of header at the start of `out`; the payload of `length` bytes belongs right behind them. */
export function writeChannelHeader(out: Uint8Array, channel: number, length: number): void {
  out[0] = channel >> 8;
  out[1] = channel & 0xff;
  out[2] = length >> 8;
  out[3] = length & 0xff;
}

/** A datagram of its own with header and a copy of the payload. */
export function wrapChannelData(channel: number, payload: Uint8Array): Uint8Array {
  const out = new Uint8Array(CHANNEL_DATA_HEADER_BYTES + payload.length);
  writeChannelHeader(out, channel, payload.length);
  out.set(payload, CHANNEL_DATA_HEADER_BYTES);
  return out;
}

const payloadLength = (data: Uint8Array): number => ((data[2] as number) << 8) | (data[3] as number);
