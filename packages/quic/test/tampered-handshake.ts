/** A peer whose TLS says what no TLS library can be made to say: its packets are opened on their way, changed, and sealed again. */
import { createCipheriv, createDecipheriv, createHmac } from "node:crypto";
import { readFileSync } from "node:fs";

const HANDSHAKE = 2;
const TAG_BYTES = 16;

/** RFC 9001 §5.1: HKDF-Expand-Label of a secret of SHA-256. */
function expand(secret: Uint8Array, label: string, length: number): Buffer {
  const name = Buffer.from(`tls13 ${label}`);
  const info = Buffer.concat([Buffer.of(0, length, name.length), name, Buffer.of(0, 1)]);
  return createHmac("sha256", secret).update(info).digest().subarray(0, length);
}

/** The secret of that name in a key log, as TLS libraries write it. */
function secretOf(keyLog: string, name: string): Uint8Array {
  const line = readFileSync(keyLog, "utf8")
    .split("\n")
    .find((one) => one.startsWith(`${name} `));
  const secret = Buffer.from(line?.split(" ")[2] ?? "", "hex");
  if (secret.length !== 32)
    throw new Error(`${name}: ${secret.length} bytes; AES-128-GCM with SHA-256 is what this knows`);
  return secret;
}

function varint(data: Uint8Array, at: number): { value: number; end: number } {
  const length = 1 << ((data[at] as number) >> 6);
  let value = (data[at] as number) & 0x3f;
  for (let i = 1; i < length; i++) value = value * 256 + (data[at + i] as number);
  return { value, end: at + length };
}

/** Changes what Handshake packets say. `role`: who sends them; `change`: the frames in place; whether it did. */
export function tamper(
  datagram: Uint8Array,
  keyLog: string,
  role: "CLIENT" | "SERVER",
  change: (frames: Buffer) => boolean,
): boolean {
  let changed = false;
  for (let start = 0; start < datagram.length && ((datagram[start] as number) & 0x80) !== 0; ) {
    const type = ((datagram[start] as number) >> 4) & 3;
    let at = start + 5;
    at += 1 + (datagram[at] as number); // destination connection ID
    at += 1 + (datagram[at] as number); // source connection ID
    if (type === 0) {
      const token = varint(datagram, at);
      at = token.end + token.value;
    }
    const length = varint(datagram, at);
    const end = length.end + length.value;
    if (type === HANDSHAKE) {
      const secret = secretOf(keyLog, `${role}_HANDSHAKE_TRAFFIC_SECRET`);
      changed = reseal(datagram.subarray(start, end), length.end - start, secret, change) || changed;
    }
    start = end;
  }
  return changed;
}

/** Opens one packet of AES-128-GCM (RFC 9001 §5.3, §5.4), and seals it again if it was changed. */
function reseal(
  packet: Uint8Array,
  numberAt: number,
  secret: Uint8Array,
  change: (frames: Buffer) => boolean,
): boolean {
  const [key, iv, hp] = [expand(secret, "quic key", 16), expand(secret, "quic iv", 12), expand(secret, "quic hp", 16)];
  const maskAt = () => createCipheriv("aes-128-ecb", hp, null).update(packet.subarray(numberAt + 4, numberAt + 20));
  const xor = (mask: Uint8Array, numberBytes: number): void => {
    packet[0] = (packet[0] as number) ^ ((mask[0] as number) & 0x0f);
    for (let i = 0; i < numberBytes; i++) {
      packet[numberAt + i] = (packet[numberAt + i] as number) ^ (mask[1 + i] as number);
    }
  };
  const mask = maskAt();
  const numberBytes = (((packet[0] as number) ^ (mask[0] as number)) & 3) + 1;
  xor(mask, numberBytes);
  const bodyAt = numberAt + numberBytes;
  for (let i = 0; i < numberBytes; i++)
    iv[12 - numberBytes + i] = (iv[12 - numberBytes + i] as number) ^ (packet[numberAt + i] as number);
  const header = packet.subarray(0, bodyAt);
  const open = createDecipheriv("aes-128-gcm", key, iv).setAAD(header).setAuthTag(packet.subarray(-TAG_BYTES));
  const frames = Buffer.concat([open.update(packet.subarray(bodyAt, -TAG_BYTES)), open.final()]);
  const changed = change(frames);
  if (changed) {
    const seal = createCipheriv("aes-128-gcm", key, iv).setAAD(header);
    packet.set(Buffer.concat([seal.update(frames), seal.final()]), bodyAt);
    packet.set(seal.getAuthTag(), packet.length - TAG_BYTES);
  }
  xor(maskAt(), numberBytes);
  return changed;
}
