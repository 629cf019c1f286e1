import { formatIp, parseIp } from "@adit/core";

/** IPv4 as an IPv4-mapped IPv6 address, 16 bytes (RFC 6887 §5); `ip` is known to be one. */
export function ip16(ip: string): Uint8Array {
  const bytes = parseIp(ip) as Uint8Array;
  if (bytes.length === 16) return bytes;
  const mapped = new Uint8Array(16);
  mapped.set([0xff, 0xff], 10);
  mapped.set(bytes, 12);
  return mapped;
}

export const readIp = (data: Uint8Array, at: number, length: 4 | 16): string =>
  formatIp(data.subarray(at, at + length));

export const viewOf = (data: Uint8Array): DataView => new DataView(data.buffer, data.byteOffset, data.byteLength);
