/**
 * From message to bytes and back: bincode for the layout, zod for the bounds, both ways, so that nothing leaves which the other side
 * would refuse.
 */
import { utf8 } from "@adit/core";
import { BincodeError } from "bincode-ts";
import { z } from "zod";
import { SignalingError } from "./errors.ts";
import {
  decodeLayout,
  decodeUtf8,
  encodeLayout,
  type Field,
  type FieldsOf,
  LayoutError,
  LIMITS,
  struct,
} from "./fields.ts";
import { FRAME_HEADER_BYTES, MAX_FRAME_BYTES } from "./frame.ts";

/** Encodes and decodes the messages of one kind of stream. */
export interface Codec<M> {
  /** The payload of one frame. @throws SignalingError `bad-message`, `frame-too-large`. */
  encode(message: M): Uint8Array<ArrayBuffer>;
  /** The payload with its u32 big-endian length in front. @throws SignalingError `bad-message`, `frame-too-large`. */
  encodeFrame(message: M): Uint8Array<ArrayBuffer>;
  /** The message in the payload of one frame, every byte of it used. @throws SignalingError `bad-message`. */
  decode(payload: Uint8Array): M;
}

interface Tagged {
  readonly type: string;
}

/** The variants of an enum: each with its u32 tag and its fields in the order of the wire; null fields are a unit variant. */
export type Variants<M extends Tagged> = {
  readonly [K in M["type"]]: { readonly tag: number; readonly fields: VariantFields<Extract<M, { type: K }>> };
};
type VariantFields<V> = FieldsOf<Omit<V, "type">>;

/** Scratch space: encoding is synchronous, and what leaves is a copy. */
const scratch = new ArrayBuffer(FRAME_HEADER_BYTES + MAX_FRAME_BYTES);

/** A Rust `enum`: u32 tag, then the variant's fields. */
export function enumCodec<M extends Tagged>(variants: Variants<M>): Codec<M> {
  const byType = new Map<string, { tag: number; body: Field<object> }>();
  const byTag = new Map<number, string>();
  for (const [type, variant] of Object.entries(variants) as [string, { tag: number; fields: FieldsOf<object> }][]) {
    byType.set(type, { tag: variant.tag, body: struct(variant.fields) });
    byTag.set(variant.tag, type);
  }
  return codec<M>(
    (message, offset) => {
      const variant = byType.get(message.type);
      if (!variant) throw new SignalingError("bad-message", `there is no message "${clip(message.type, 40)}"`);
      new DataView(scratch).setUint32(offset, variant.tag, true);
      return write(variant.body, message, offset + 4, message.type);
    },
    (buffer) => {
      const tag = new DataView(buffer).getUint32(0, true);
      const type = byTag.get(tag);
      const variant = type === undefined ? undefined : byType.get(type);
      if (type === undefined || !variant)
        throw new SignalingError("bad-message", `there is no message with tag ${tag}`);
      return { type, ...read(variant.body, buffer, 4, type) } as unknown as M;
    },
  );
}

/** A Rust `struct`: the fields alone. */
export function structCodec<M extends Tagged>(type: M["type"], fields: VariantFields<M>): Codec<M> {
  const body = struct(fields as FieldsOf<object>);
  return codec<M>(
    (message, offset) => write(body, message, offset, type),
    (buffer) => ({ type, ...read(body, buffer, 0, type) }) as unknown as M,
  );
}

function codec<M extends Tagged>(
  writeMessage: (message: M, offset: number) => number,
  readMessage: (buffer: ArrayBuffer) => M,
): Codec<M> {
  const encodeTo = (message: M): number => {
    try {
      return writeMessage(message, FRAME_HEADER_BYTES);
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      throw new SignalingError(
        "frame-too-large",
        `a "${message.type}" message is longer than ${MAX_FRAME_BYTES} bytes`,
        {
          cause,
        },
      );
    }
  };
  return {
    encode: (message) => {
      const end = encodeTo(message);
      return new Uint8Array(scratch.slice(FRAME_HEADER_BYTES, end));
    },
    encodeFrame: (message) => {
      const end = encodeTo(message);
      new DataView(scratch).setUint32(0, end - FRAME_HEADER_BYTES);
      return new Uint8Array(scratch.slice(0, end));
    },
    decode: (payload) => {
      // bincode-ts reads from a whole ArrayBuffer: a view into a larger one would let a short frame read its neighbour.
      const buffer = new Uint8Array(payload).buffer;
      try {
        return readMessage(buffer);
      } catch (cause) {
        if (cause instanceof SignalingError) throw cause;
        if (cause instanceof RangeError) throw new SignalingError("bad-message", "a message ends too early", { cause });
        if (cause instanceof LayoutError || cause instanceof BincodeError) {
          throw new SignalingError("bad-message", clip(cause.message, 200), { cause });
        }
        throw cause;
      }
    },
  };
}

function write(body: Field<object>, message: object, offset: number, type: string): number {
  const value = check(body, clipFreeText(message), type);
  return encodeLayout(body.layout, value, scratch, offset);
}

function read(body: Field<object>, buffer: ArrayBuffer, offset: number, type: string): object {
  const { value, offset: end } = decodeLayout(body.layout, buffer, offset);
  if (end !== buffer.byteLength) {
    throw new SignalingError(
      "bad-message",
      `"${type}" is followed by ${buffer.byteLength - end} bytes that do not belong`,
    );
  }
  return check(body, value, type);
}

function check(body: Field<object>, value: unknown, type: string): object {
  const result = body.schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = [type, ...(issue?.path ?? [])].join(".");
  throw new SignalingError("bad-message", clip(`${where}: ${issue?.message ?? z.prettifyError(result.error)}`, 200));
}

/** Sentences may be of any length where they are made; on the wire they are cut. */
const FREE_TEXT = ["message", "detail", "reason"] as const;

function clipFreeText(message: object): object {
  let clipped: Record<string, unknown> | null = null;
  for (const key of FREE_TEXT) {
    const text = (message as Record<string, unknown>)[key];
    if (typeof text !== "string" || text.length * 3 <= LIMITS.freeTextBytes) continue;
    clipped ??= { ...message };
    clipped[key] = clip(text, LIMITS.freeTextBytes);
  }
  return clipped ?? message;
}

/** At most `maxBytes` bytes of UTF-8, no character cut in half. */
function clip(text: string, maxBytes: number): string {
  const bytes = utf8(text);
  if (bytes.length <= maxBytes) return text;
  let end = maxBytes;
  while (end > 0 && ((bytes[end] as number) & 0xc0) === 0x80) end--;
  return decodeUtf8(bytes.subarray(0, end));
}
