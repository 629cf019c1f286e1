/** docs/protocol.md against the code: a document that is wrong fails here. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { fromBase32, fromHex, SocketAddress, toBase32, toHex } from "@adit/core";
import { test } from "@adit/harness";
import {
  type Codec,
  controlCodec,
  decodeDatagram,
  encodeDatagram,
  FrameReader,
  openServiceCodec,
  serviceReplyCodec,
  signalingCodec,
  WIRE_ERROR_CODES,
} from "../src/index.ts";

/** The test runs from test/ and from dist/test/. */
function findUp(path: string): string {
  for (let directory = dirname(fileURLToPath(import.meta.url)); ; directory = dirname(directory)) {
    if (existsSync(join(directory, path))) return join(directory, path);
    if (directory === dirname(directory)) throw new Error(`no ${path} above the test`);
  }
}

const text = readFileSync(findUp("docs/protocol.md"), "utf8");

interface Vector {
  readonly kind: string;
  readonly json: unknown;
  readonly hex: string;
}

const vectors: Vector[] = [...text.matchAll(/^```vector (\S+)\n(.+)\n([\s\S]*?)^```$/gm)].map(
  ([, kind, json, bytes]) => ({
    kind: kind as string,
    json: JSON.parse(json as string),
    hex: toHex(fromHex((bytes as string).replace(/#.*$/gm, ""))),
  }),
);

const codecs: Record<string, Codec<{ readonly type: string }>> = {
  signaling: signalingCodec as Codec<{ readonly type: string }>,
  control: controlCodec as Codec<{ readonly type: string }>,
  "open-service": openServiceCodec as Codec<{ readonly type: string }>,
  "service-reply": serviceReplyCodec as Codec<{ readonly type: string }>,
};

const snake = (key: string) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const pascal = (type: string) => type.replace(/(^|-)([a-z])/g, (_, __, letter: string) => letter.toUpperCase());

/** A decoded message in the words of the document: serde's JSON. */
function inDocument(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (value instanceof SocketAddress) return value.key;
  if (Array.isArray(value)) return value.map(inDocument);
  if (typeof value !== "object" || value === null) return value;
  // A candidate's `kind` is called `type` in the code, as ICE calls it.
  const entries = Object.entries(value).map(([key, inner]) => [
    key === "type" ? "kind" : snake(key),
    inDocument(inner),
  ]);
  return Object.fromEntries(entries);
}

function messageInDocument({ type, ...fields }: { readonly type: string }): unknown {
  return Object.keys(fields).length === 0 ? pascal(type) : { [pascal(type)]: inDocument(fields) };
}

const variantOf = (json: unknown): string =>
  typeof json === "string" ? json : (Object.keys(json as object)[0] as string);

for (const { kind, json, hex } of vectors.filter(({ kind }) => kind in codecs)) {
  test(`docs/protocol.md: ${kind} ${variantOf(json)} decodes to its JSON and encodes to its bytes`, (t) => {
    const codec = t.must(codecs[kind]);
    const [payload, ...more] = [...new FrameReader().frames(fromHex(hex))];
    t.equal(more.length, 0);
    const message = codec.decode(t.must(payload, "the length does not fit the bytes"));
    t.same(messageInDocument(message), json);
    t.equal(toHex(codec.encodeFrame(message)), hex);
  });
}

test("docs/protocol.md: the datagram vector is read and written so", (t) => {
  const vector = t.must(vectors.find(({ kind }) => kind === "datagram"));
  const { stream, payload } = vector.json as { stream: number; payload: string };
  t.equal(toHex(encodeDatagram(stream, fromHex(payload))), vector.hex);
  t.same(decodeDatagram(fromHex(vector.hex)), { streamId: stream, payload: fromHex(payload) });
});

/** Rows of the table whose header has these cells, however it is padded. */
function table(...header: string[]): string[][] {
  const cells = (line: string) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
  const lines = text.split("\n");
  const start = lines.findIndex((line) => line.startsWith("|") && cells(line).join("|") === header.join("|"));
  if (start < 0) throw new Error(`no table "${header.join(", ")}" in docs/protocol.md`);
  const rows: string[][] = [];
  for (let i = start + 2; lines[i]?.startsWith("|"); i++) rows.push(cells(lines[i] as string));
  return rows;
}

/** The tag of the first vector of each variant, from its bytes. */
function tagsInVectors(kind: string): Map<string, number> {
  const tags = new Map<string, number>();
  for (const vector of vectors.filter((vector) => vector.kind === kind)) {
    tags.set(variantOf(vector.json), new DataView(fromHex(vector.hex).buffer).getUint32(4, true));
  }
  return tags;
}

for (const [kind, header, count] of [
  ["signaling", ["tag", "message", "from", "to"], 20],
  ["control", ["tag", "message", "fields"], 9],
] as const) {
  test(`docs/protocol.md: each ${kind} message has a vector, and the tag that the table says`, (t) => {
    const inTable = new Map(table(...header).map(([tag, name]) => [(name as string).replace(/`/g, ""), Number(tag)]));
    t.same([...tagsInVectors(kind)].sort(), [...inTable].sort());
    t.equal(inTable.size, count);
    const first = (tag: number) => Uint8Array.of(tag, 0, 0, 0, ...new Array(600).fill(0));
    for (const tag of inTable.values()) {
      // It gets past the tag: what is wrong is something else.
      t.throws(() => t.must(codecs[kind]).decode(first(tag)), /^(?!.*no message with tag)/);
    }
    t.throws(() => t.must(codecs[kind]).decode(first(count)), /no message with tag/);
  });
}

test("docs/protocol.md: the table of error codes is the program's", (t) => {
  const rows = table("code", "meaning").map(([code, meaning]) => [(code as string).replace(/`/g, ""), meaning]);
  t.same(rows, Object.entries(WIRE_ERROR_CODES));
});

test("docs/protocol.md: the PeerIds are those of the keys", (t) => {
  const rows = table("public key (RFC 8032 §7.1, TEST 1 to 3)", "PeerId");
  t.equal(rows.length, 3);
  for (const row of rows) {
    const [key, peerId] = row.map((cell) => cell.replace(/`/g, "")) as [string, string];
    t.equal(toBase32(fromHex(key)), peerId);
    t.equal(toHex(t.must(fromBase32(peerId))), key);
  }
});
