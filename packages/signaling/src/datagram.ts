/** Datagrams of a `udp` service in QUIC DATAGRAM frames (RFC 9221): quarter stream ID, then the payload (RFC 9297 §2.1). */

/**
 * The content of the DATAGRAM frame that carries `payload` on the flow of stream `streamId` (client-initiated bidirectional).
 * @throws RangeError when it is no such stream.
 */
export function encodeDatagram(streamId: number, payload: Uint8Array): Uint8Array {
  if (!Number.isSafeInteger(streamId) || streamId < 0 || streamId % 4 !== 0) {
    throw new RangeError(`stream ${streamId} is not a client-initiated bidirectional stream`);
  }
  const quarter = streamId / 4;
  const headBytes = quarter < 2 ** 6 ? 1 : quarter < 2 ** 14 ? 2 : quarter < 2 ** 30 ? 4 : 8;
  const out = new Uint8Array(headBytes + payload.length);
  const view = new DataView(out.buffer);
  // RFC 9000 §16: the two most significant bits say the length, 1, 2, 4 or 8 bytes.
  if (headBytes === 1) view.setUint8(0, quarter);
  else if (headBytes === 2) view.setUint16(0, 0x4000 | quarter);
  else if (headBytes === 4) view.setUint32(0, 0x8000_0000 + quarter);
  else view.setBigUint64(0, 0xc000_0000_0000_0000n | BigInt(quarter));
  out.set(payload, headBytes);
  return out;
}

/** Which stream's flow a DATAGRAM frame belongs to, and its payload (a view); null when it is malformed. */
export function decodeDatagram(data: Uint8Array): { streamId: number; payload: Uint8Array } | null {
  const first = data[0];
  if (first === undefined) return null;
  const headBytes = 1 << (first >> 6);
  if (data.length < headBytes) return null;
  let quarter = first & 0x3f;
  for (let i = 1; i < headBytes; i++) quarter = quarter * 256 + (data[i] as number);
  const streamId = quarter * 4;
  return Number.isSafeInteger(streamId) ? { streamId, payload: data.subarray(headBytes) } : null;
}
