/**
 * CRC-32 of ITU-T V.42, as FINGERPRINT uses it (RFC 8489 §14.7), four bytes a step.
 * Own tables because `zlib.crc32` came with Node 20.15 and its call costs more than the sum over a check's 100 bytes.
 */
const POLYNOMIAL = 0xedb88320;

const tables = makeTables();
const [t0, t1, t2, t3] = tables;

/** The CRC of the first `length` bytes, unsigned. */
export function crc32(data: Uint8Array, length = data.length): number {
  let crc = -1;
  let i = 0;
  for (const end = length - 3; i < end; i += 4) {
    crc ^=
      (data[i] as number) |
      ((data[i + 1] as number) << 8) |
      ((data[i + 2] as number) << 16) |
      ((data[i + 3] as number) << 24);
    crc =
      (t3[crc & 0xff] as number) ^
      (t2[(crc >>> 8) & 0xff] as number) ^
      (t1[(crc >>> 16) & 0xff] as number) ^
      (t0[crc >>> 24] as number);
  }
  for (; i < length; i++) crc = (crc >>> 8) ^ (t0[(crc ^ (data[i] as number)) & 0xff] as number);
  return ~crc >>> 0;
}

/** Table k advances a byte's contribution by k further zero bytes. */
function makeTables(): readonly [Int32Array, Int32Array, Int32Array, Int32Array] {
  const first = new Int32Array(256);
  for (let n = 0; n < 256; n++) {
    let crc = n;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    first[n] = crc;
  }
  const advance = (table: Int32Array) => table.map((crc) => (crc >>> 8) ^ (first[crc & 0xff] as number));
  const second = advance(first);
  const third = advance(second);
  return [first, second, third, advance(third)];
}
