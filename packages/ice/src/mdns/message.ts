import { SocketAddress } from "@adit/core";

/** What of RFC 1035 and RFC 6762 it takes to ask for the address of one name. */
const HEADER_BYTES = 12;
const TYPE_A = 1;
const TYPE_AAAA = 28;
const CLASS_IN = 1;
/** RFC 6762 §10.2: the top bit of a record's class is no part of it. */
const CACHE_FLUSH = 0x8000;
/** RFC 6762 §18.2, §18.11: a response, without an error. */
const QR = 0x8000;
const RCODE = 0x000f;
/** Records of one message that are looked at; a response to one question has few. */
const MAX_RECORDS = 32;
/** Pointers followed in one name: RFC 1035 §4.1.4 sets no limit, and a loop has none. */
const MAX_POINTERS = 8;
const MAX_NAME_BYTES = 255;

/**
 * The names that ICE agents make: "a version 4 UUID as defined in [RFC4122], followed by ".local"" (draft-ietf-mmusic-mdns-ice-candidates
 * §3.1.1). Others are not resolved, "as this mechanism allows attackers to send ICE traffic to devices with well-known mDNS names" (§3.2.2).
 */
export const isMdnsName = (name: string): boolean =>
  /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.local$/i.test(name);

/**
 * Queries for both kinds of address of `name`, one question each, without the unicast-response bit: there are responders, Chromium's among
 * them, that pass over messages with more questions, or with the bit. Sent from another port than 5353 they are answered by unicast all
 * the same (RFC 6762 §6.7).
 */
export function encodeQueries(id: number, name: string): readonly Uint8Array[] {
  const question: number[] = [];
  for (const label of name.split(".")) question.push(label.length, ...Buffer.from(label, "ascii"));
  question.push(0);
  return [TYPE_A, TYPE_AAAA].map((type) => {
    const header = [id >> 8, id & 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    return Uint8Array.from([...header, ...question, type >> 8, type & 0xff, 0, CLASS_IN]);
  });
}

export interface MdnsResponse {
  readonly id: number;
  /** By name in lower case, no address twice. */
  readonly addresses: ReadonlyMap<string, readonly string[]>;
}

/** Reads the addresses in a response. Null: it is none, or malformed. Never throws. */
export function decodeResponse(data: Uint8Array): MdnsResponse | null {
  if (data.length < HEADER_BYTES) return null;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const flags = view.getUint16(2);
  if ((flags & QR) === 0 || (flags & RCODE) !== 0) return null;
  const questions = view.getUint16(4);
  const records = view.getUint16(6) + view.getUint16(8) + view.getUint16(10);
  let at = HEADER_BYTES;
  for (let i = 0; i < questions; i++) {
    const end = i < MAX_RECORDS ? skipName(data, at) : null;
    if (end === null || end + 4 > data.length) return null;
    at = end + 4;
  }
  const addresses = new Map<string, string[]>();
  for (let i = 0; i < Math.min(records, MAX_RECORDS); i++) {
    const name = readName(data, at);
    const end = skipName(data, at);
    if (name === null || end === null || end + 10 > data.length) return null;
    const [type, recordClass, length] = [view.getUint16(end), view.getUint16(end + 2), view.getUint16(end + 8)];
    at = end + 10 + length;
    if (at > data.length) return null;
    const ip = (recordClass & ~CACHE_FLUSH) === CLASS_IN ? readIp(type, data.subarray(end + 10, at)) : null;
    if (ip === null) continue;
    const known = addresses.get(name) ?? [];
    if (!known.includes(ip)) addresses.set(name, [...known, ip]);
  }
  return { id: view.getUint16(0), addresses };
}

function readIp(type: number, value: Uint8Array): string | null {
  if (type === TYPE_A && value.length === 4) return value.join(".");
  if (type !== TYPE_AAAA || value.length !== 16) return null;
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((value[2 * i] ?? 0) << 8) | (value[2 * i + 1] ?? 0)).toString(16),
  );
  return SocketAddress.of(groups.join(":"), 0).ip;
}

/** Where the name that begins at `start` ends in the message. */
function skipName(data: Uint8Array, start: number): number | null {
  for (let at = start; at < data.length; ) {
    const length = data[at] as number;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2 <= data.length ? at + 2 : null;
    if (length > 63) return null;
    at += 1 + length;
  }
  return null;
}

/** The name that begins at `start`, in lower case. */
function readName(data: Uint8Array, start: number): string | null {
  const labels: string[] = [];
  let bytes = 0;
  let pointers = 0;
  for (let at = start; at < data.length; ) {
    const length = data[at] as number;
    if (length === 0) return labels.join(".").toLowerCase();
    if (length >= 0xc0) {
      if (++pointers > MAX_POINTERS || at + 1 >= data.length) return null;
      at = ((length & 0x3f) << 8) | (data[at + 1] as number);
      continue;
    }
    bytes += 1 + length;
    if (length > 63 || bytes > MAX_NAME_BYTES || at + 1 + length > data.length) return null;
    labels.push(String.fromCharCode(...data.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
  return null;
}
