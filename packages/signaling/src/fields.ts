/**
 * One field of a message: how it lies in the bytes, and which values are allowed. bincode-ts reads and writes; where it is laxer
 * than Rust's bincode 1 (malformed UTF-8, a bool of 7, a length beyond the frame) a custom type of ours takes its place.
 */
import { AddressError, fromBase32, parseSocketAddress, SocketAddress, utf8 } from "@adit/core";
import * as bincode from "bincode-ts";
import { z } from "zod";

export interface Field<T> {
  readonly layout: bincode.Type;
  readonly schema: z.ZodType<T>;
}

/** The layout of Rust's `bincode::serialize`: little-endian, fixed-width integers, u64 lengths, u32 enum tags. */
const BINCODE_CONFIG: bincode.BincodeConfig = { endian: "little", intEncoding: "fixed" };

/** bincode-ts infers value types from layouts; for layouts that are data here that inference has no end, and zod checks instead. */
export const encodeLayout = (layout: bincode.Type, value: unknown, buffer: ArrayBuffer, offset: number): number =>
  (bincode.encode as unknown as Encode)(layout, value, buffer, offset, BINCODE_CONFIG);

export const decodeLayout = (layout: bincode.Type, buffer: ArrayBuffer, offset: number): Decoded =>
  (bincode.decode as unknown as Decode)(layout, buffer, offset, BINCODE_CONFIG);

type Decoded = { value: unknown; offset: number };
type Encode = (
  t: bincode.Type,
  value: unknown,
  buffer: ArrayBuffer,
  offset: number,
  c: bincode.BincodeConfig,
) => number;
type Decode = (t: bincode.Type, buffer: ArrayBuffer, offset: number, c: bincode.BincodeConfig) => Decoded;

/** Thrown by the custom layouts below; the codec turns it into a SignalingError. */
export class LayoutError extends Error {}

/** RFC 8445's and our own bounds. Another implementation finds them in docs/protocol.md. */
export const LIMITS = {
  candidates: 64,
  iceOptions: 8,
  freeTextBytes: 1024,
  targetTimeMs: 1000,
} as const;

/** A leading U+FEFF is a character like others here: Rust keeps it. */
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @throws TypeError when it is not UTF-8. */
export const decodeUtf8 = (bytes: Uint8Array): string => strictUtf8.decode(bytes);

class StrictString extends bincode.CustomTypeClass<string, "String"> {
  readonly type = "String";

  encode(buffer: ArrayBuffer, value: string, offset: number): number {
    const bytes = utf8(value);
    new DataView(buffer).setBigUint64(offset, BigInt(bytes.length), true);
    new Uint8Array(buffer).set(bytes, offset + 8);
    return offset + 8 + bytes.length;
  }

  decode(buffer: ArrayBuffer, offset: number): { value: string; offset: number } {
    const length = readLength(buffer, offset, 1);
    const bytes = new Uint8Array(buffer, offset + 8, length);
    try {
      return { value: decodeUtf8(bytes), offset: offset + 8 + length };
    } catch {
      throw new LayoutError("a string is not UTF-8");
    }
  }
}

class StrictBool extends bincode.CustomTypeClass<boolean, "bool"> {
  readonly type = "bool";

  encode(buffer: ArrayBuffer, value: boolean, offset: number): number {
    new DataView(buffer).setUint8(offset, value ? 1 : 0);
    return offset + 1;
  }

  decode(buffer: ArrayBuffer, offset: number): { value: boolean; offset: number } {
    const byte = new DataView(buffer).getUint8(offset);
    if (byte > 1) throw new LayoutError(`a bool is ${byte}`);
    return { value: byte === 1, offset: offset + 1 };
  }
}

/** A Vec whose count is believed only as far as the bytes that are left could hold it. No element has zero size. */
class BoundedVec extends bincode.CustomTypeClass<unknown[], "Vec"> {
  readonly type = "Vec";
  readonly #element: bincode.Type;
  readonly #minElementBytes: number;

  constructor(element: bincode.Type, minElementBytes: number) {
    super();
    this.#element = element;
    this.#minElementBytes = minElementBytes;
  }

  encode(buffer: ArrayBuffer, value: unknown[], offset: number): number {
    new DataView(buffer).setBigUint64(offset, BigInt(value.length), true);
    let end = offset + 8;
    for (const element of value) end = encodeLayout(this.#element, element, buffer, end);
    return end;
  }

  decode(buffer: ArrayBuffer, offset: number): { value: unknown[]; offset: number } {
    const count = readLength(buffer, offset, this.#minElementBytes);
    const value: unknown[] = [];
    let end = offset + 8;
    for (let i = 0; i < count; i++) {
      const element = decodeLayout(this.#element, buffer, end);
      value.push(element.value);
      end = element.offset;
    }
    return { value, offset: end };
  }
}

/** A SocketAddress as its text, `IP:port` with IPv6 in brackets. */
class AddressText extends bincode.CustomTypeClass<SocketAddress, "String"> {
  /** `[xxxx:xxxx:xxxx:xxxx:xxxx:xxxx:255.255.255.255]:65535` */
  static readonly #maxBytes = 53;
  readonly type = "String";

  encode(buffer: ArrayBuffer, value: SocketAddress, offset: number): number {
    return stringLayout.encode(buffer, value.key, offset);
  }

  decode(buffer: ArrayBuffer, offset: number): { value: SocketAddress; offset: number } {
    const text = stringLayout.decode(buffer, offset);
    if (text.value.length > AddressText.#maxBytes) throw new LayoutError("an address is too long");
    try {
      return { value: parseSocketAddress(text.value), offset: text.offset };
    } catch (error) {
      if (error instanceof AddressError) throw new LayoutError(error.message);
      throw error;
    }
  }
}

/** The u64 length at `offset`. @throws LayoutError when the rest of the buffer cannot hold that many elements of `elementBytes`. */
function readLength(buffer: ArrayBuffer, offset: number, elementBytes: number): number {
  const length = new DataView(buffer).getBigUint64(offset, true);
  const most = Math.floor((buffer.byteLength - offset - 8) / elementBytes);
  if (length > BigInt(most)) throw new LayoutError(`a length of ${length} does not fit into the frame`);
  return Number(length);
}

const stringLayout = new StrictString();
const boolLayout = new StrictBool();
const addressLayout = new AddressText();

const field = <T>(layout: bincode.Type, schema: z.ZodType<T>): Field<T> => ({ layout, schema });

const unsigned = (max: number) => z.number().int().min(0).max(max);

export const u8 = field(bincode.u8, unsigned(0xff));
export const u16 = field(bincode.u16, unsigned(0xffff));
export const u32 = field(bincode.u32, unsigned(0xffff_ffff));
export const u64 = field(bincode.u64, z.bigint().min(0n).max(0xffff_ffff_ffff_ffffn));
export const bool = field(boolLayout, z.boolean());

export const u32UpTo = (max: number): Field<number> => field(bincode.u32, unsigned(max));

/** A u8 with only one value. */
export const u8Literal = <const N extends number>(value: N): Field<N> => field(bincode.u8, z.literal(value));

export const oneOf = <const S extends string>(...values: readonly [S, ...S[]]): Field<S> =>
  field(stringLayout, z.enum(values) as unknown as z.ZodType<S>);

/** A string that matches `pattern` from end to end; `expected` says it in words. */
export const pattern = (pattern: RegExp, expected: string): Field<string> =>
  field(stringLayout, z.string().regex(pattern, { error: `expected ${expected}` }));

/** A sentence for people: up to 1024 bytes of UTF-8. The codec cuts a longer one when it encodes. */
export const freeText: Field<string> = field(
  stringLayout,
  z.string().refine((text) => utf8(text).length <= LIMITS.freeTextBytes, {
    error: `expected at most ${LIMITS.freeTextBytes} bytes`,
  }),
);

const isAddress = (value: unknown): value is SocketAddress => value instanceof SocketAddress;

/** An address that packets can be sent to: its port is not 0. */
export const address: Field<SocketAddress> = field(
  addressLayout,
  z.custom<SocketAddress>((value) => isAddress(value) && value.port > 0, {
    error: "expected IP:port with a port above 0",
  }),
);

/** An address that is only told, such as a candidate's related one: port 0 is allowed. */
export const anyAddress: Field<SocketAddress> = field(
  addressLayout,
  z.custom<SocketAddress>(isAddress, { error: "expected IP:port" }),
);

/** The canonical base32 of 32 bytes: 52 characters. */
export const peerId: Field<string> = field(
  stringLayout,
  z.string().refine((text) => text.length === 52 && fromBase32(text)?.length === 32, {
    error: "expected a PeerId (52 characters of base32)",
  }),
);

const NAME = /^[a-z0-9-]{1,40}$/;

/** The name of a peer or a service. */
export const name: Field<string> = pattern(NAME, "a name like [a-z0-9-]{1,40}");

/** A name or a PeerId; a PeerId is longer than any name. */
export const target: Field<string> = field(stringLayout, z.union([name.schema, peerId.schema]));

/** A code of ours or of a newer peer. */
export const code: Field<string> = pattern(NAME, "a code like [a-z0-9-]{1,40}");

export const option = <T>(value: Field<T>): Field<T | null> =>
  field(bincode.Option(value.layout), z.nullable(value.schema));

/** @param minElementBytes what the smallest element takes, at least 1. */
export const vec = <T>(element: Field<T>, minElementBytes: number, max: number): Field<readonly T[]> =>
  field(new BoundedVec(element.layout, minElementBytes) as bincode.Type, z.array(element.schema).max(max));

/** The fields of a message or struct T, in the order of the wire. */
export type FieldsOf<T> = { readonly [K in keyof T]-?: Field<T[K]> };

export function struct<T extends object>(fields: FieldsOf<T>): Field<T> {
  const entries = Object.entries(fields) as [string, Field<unknown>][];
  const layout = bincode.Struct(Object.fromEntries(entries.map(([key, { layout }]) => [key, layout])));
  const schema = z.object(Object.fromEntries(entries.map(([key, { schema }]) => [key, schema])));
  return field(layout, schema as unknown as z.ZodType<T>);
}
