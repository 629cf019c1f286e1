/**
 * UDP services and their clients, for the scenarios. Prints JSON lines; exit status 1 when it did not work out.
 *
 *   echo  ADDR:PORT                         sends each datagram back; `big N` is answered with N bytes
 *   dns   ADDR:PORT                         a name server of one zone: adit.test, A and TXT
 *   ask   ADDR:PORT NAME                    asks it for A and TXT as a resolver would, and checks what comes
 *   pound ADDR:PORT COUNT                   COUNT datagrams of mixed sizes from one source, each expected back once, repeated when lost
 *   many  ADDR:PORT SOURCES                 one datagram from each of so many sources, each answered on its own
 *   say   ADDR:PORT TEXT [WITHIN_MS]        prints the answer; exit status 1 when none comes
 */
import { createSocket, type Socket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { once } from "node:events";

const [command = "", place = "", ...rest] = process.argv.slice(2);
const colon = place.lastIndexOf(":");
const [host, port] = [place.slice(0, colon), Number(place.slice(colon + 1))];
const say = (fields: object): void => console.log(JSON.stringify(fields));

async function listen(answer: (data: Buffer) => Uint8Array | null): Promise<void> {
  const socket = createSocket("udp4");
  socket.on("error", () => {}); // a client that is gone
  const sources = new Set<string>();
  socket.on("message", (data, from) => {
    const source = `${from.address}:${from.port}`;
    if (!sources.has(source)) say({ event: "source", source, count: sources.add(source).size });
    const reply = answer(data);
    if (reply) socket.send(reply, from.port, from.address);
  });
  socket.bind(port, host);
  await once(socket, "listening");
  say({ event: "listening", address: place });
}

const echo = (data: Buffer): Uint8Array => {
  const big = /^big (\d+)$/.exec(data.toString("latin1"));
  return big ? new Uint8Array(Number(big[1])) : data;
};

// ---- DNS (RFC 1035)

const ADDRESS = "192.0.2.53";
const TEXT = "through the adit";

/** One question, one answer; any other name does not exist. */
function dns(query: Buffer): Uint8Array | null {
  if (query.length < 17 || query.readUInt16BE(4) !== 1) return null;
  let end = 12;
  const labels: string[] = [];
  while (query[end] !== 0) {
    const length = query[end] ?? 0;
    if (length > 63 || end + length >= query.length) return null;
    labels.push(query.toString("latin1", end + 1, end + 1 + length));
    end += 1 + length;
  }
  const question = query.subarray(12, end + 5);
  const type = query.readUInt16BE(end + 1);
  const exists = labels.join(".").toLowerCase() === "adit.test";
  const data =
    type === 1 ? Buffer.from(ADDRESS.split(".").map(Number)) : Buffer.from([TEXT.length, ...Buffer.from(TEXT)]);
  const answers = exists && (type === 1 || type === 16) ? 1 : 0;
  const header = Buffer.alloc(12);
  query.copy(header, 0, 0, 2);
  header.writeUInt16BE(0x8580 | (exists ? 0 : 3), 2); // a response, authoritative; NXDOMAIN
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(answers, 6);
  if (answers === 0) return Buffer.concat([header, question]);
  const record = Buffer.alloc(12);
  record.writeUInt16BE(0xc00c, 0); // the name is that of the question
  record.writeUInt16BE(type, 2);
  record.writeUInt16BE(1, 4);
  record.writeUInt32BE(60, 6);
  record.writeUInt16BE(data.length, 10);
  return Buffer.concat([header, question, record, data]);
}

async function ask(name: string): Promise<void> {
  const resolver = new Resolver({ timeout: 2000, tries: 3 });
  resolver.setServers([place]);
  const [addresses, texts] = [await resolver.resolve4(name), await resolver.resolveTxt(name)];
  say({ event: "resolved", addresses, texts: texts.flat() });
  const missing = await resolver.resolve4(`nosuch.${name}`).catch((error) => error.code);
  say({ event: "missing", code: missing });
  if (addresses[0] !== ADDRESS || texts[0]?.[0] !== TEXT || missing !== "ENOTFOUND") process.exitCode = 1;
}

// ---- echo

async function client(onMessage: (data: Buffer) => void): Promise<Socket> {
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.0.2");
  await once(socket, "listening");
  socket.setRecvBufferSize(4 << 20);
  socket.on("message", onMessage);
  return socket;
}

/** Datagram `index`: its number, then a pattern. Sizes from 4 to 1200 bytes. */
function datagram(index: number): Buffer {
  const data = Buffer.alloc(4 + ((index * 397) % 1197), index);
  data.writeUInt32BE(index);
  return data;
}

/** UDP may lose some, so what is missing is sent again; nothing may come back changed. */
async function pound(count: number): Promise<void> {
  const WINDOW = 50;
  const missing = new Set(Array.from({ length: count }, (_, i) => i));
  let [sent, wrong, repeats] = [0, 0, 0];
  const socket = await client((data) => {
    const index = data.length >= 4 ? data.readUInt32BE() : count;
    if (index >= count || !data.equals(datagram(index))) wrong++;
    else if (!missing.delete(index)) repeats++;
  });
  for (let round = 0; missing.size > 0 && round < 20; round++) {
    for (const index of [...missing]) {
      socket.send(datagram(index), port, host);
      if (++sent % WINDOW === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    for (let i = 0; missing.size > 0 && i < 50; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  socket.close();
  say({ event: "pounded", count, sent, lost: sent - count, wrong, repeats, missing: missing.size });
  if (missing.size > 0 || wrong > 0) process.exitCode = 1;
}

async function exchange(text: string, withinMs: number): Promise<Buffer | null> {
  let answer: Buffer | null = null;
  const socket = await client((data) => {
    answer = data;
  });
  const end = Date.now() + withinMs;
  while (answer === null && Date.now() < end) {
    socket.send(text, port, host);
    for (let i = 0; answer === null && i < 20 && Date.now() < end; i++)
      await new Promise((resolve) => setTimeout(resolve, 25));
  }
  socket.close();
  return answer;
}

async function many(sources: number): Promise<void> {
  const texts = Array.from({ length: sources }, (_, i) => `source ${i}`);
  const answers = await Promise.all(texts.map((text) => exchange(text, 10_000)));
  const right = answers.filter((answer, i) => answer?.toString() === texts[i]).length;
  say({ event: "answered", sources, right });
  if (right !== sources) process.exitCode = 1;
}

async function one(text: string, withinMs: number): Promise<void> {
  const answer = await exchange(text, withinMs);
  say({ event: "answer", bytes: answer?.length ?? null, text: answer?.toString("latin1", 0, 100) ?? null });
  if (answer === null) process.exitCode = 1;
}

switch (command) {
  case "echo":
    await listen(echo);
    break;
  case "dns":
    await listen(dns);
    break;
  case "ask":
    await ask(rest[0] ?? "adit.test");
    break;
  case "pound":
    await pound(Number(rest[0] ?? 1000));
    break;
  case "many":
    await many(Number(rest[0] ?? 100));
    break;
  case "say":
    await one(rest[0] ?? "hello", Number(rest[1] ?? 2000));
    break;
  default:
    console.error("udp: echo, dns, ask, pound, many or say");
    process.exitCode = 1;
}
