import { createPrivateKey, createPublicKey, type KeyObject, sign, verify, X509Certificate } from "node:crypto";
import { concat, equalBytes, fromBase32, fromHex, type Random, systemRandom, toBase32 } from "@adit/core";
import { selfSignedCertificate } from "./certificate.ts";
import { IdentityError } from "./errors.ts";

/** A node's name: RFC 4648 base32, lower case, unpadded, of its 32-byte Ed25519 public key. 52 characters. */
export type PeerId = string;

const KEY_LENGTH = 32;
const PEER_ID_LENGTH = 52;
/** RFC 8410 §7: PKCS #8 around an Ed25519 seed, and §4: SubjectPublicKeyInfo around a public key. */
const PKCS8_PREFIX = fromHex("302e020100300506032b657004220420");
const SPKI_PREFIX = fromHex("302a300506032b6570032100");

/** An Ed25519 key pair with the self-signed certificate that shows it in TLS. */
export class Identity {
  readonly peerId: PeerId;
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  readonly certificatePem: string;
  /** PKCS #8. A secret. */
  readonly keyPem: string;
  readonly #privateKey: KeyObject;

  private constructor(privateKey: KeyObject) {
    this.#privateKey = privateKey;
    this.publicKey = rawPublicKey(createPublicKey(privateKey as never));
    this.peerId = peerIdFromPublicKey(this.publicKey);
    this.keyPem = String(privateKey.export({ format: "pem", type: "pkcs8" }));
    const certificate = selfSignedCertificate(this.publicKey, this.peerId, (data) => this.sign(data));
    this.certificatePem = toPem("CERTIFICATE", certificate);
  }

  /** A new key. */
  static generate(random: Random = systemRandom): Identity {
    return Identity.fromSeed(random.bytes(KEY_LENGTH));
  }

  /** The key of a seed (RFC 8032 §5.1.5), 32 bytes. A secret. */
  static fromSeed(seed: Uint8Array): Identity {
    if (seed.length !== KEY_LENGTH) throw new IdentityError(`a seed has ${KEY_LENGTH} bytes, not ${seed.length}`);
    const key = Buffer.from(concat(PKCS8_PREFIX, seed));
    return new Identity(createPrivateKey({ key, format: "der", type: "pkcs8" }));
  }

  /** @throws IdentityError `bad-key` when `pem` is not an unencrypted Ed25519 key in PKCS #8. */
  static fromPkcs8Pem(pem: string): Identity {
    let key: KeyObject;
    try {
      key = createPrivateKey({ key: pem, format: "pem" });
    } catch (cause) {
      throw new IdentityError("this is not a private key in PKCS #8 PEM", { cause });
    }
    if (key.asymmetricKeyType !== "ed25519") {
      throw new IdentityError(`the key must be Ed25519, this one is ${key.asymmetricKeyType}`);
    }
    return new Identity(key);
  }

  toPkcs8Pem(): string {
    return this.keyPem;
  }

  /** Ed25519 (RFC 8032) over `data`: 64 bytes. */
  sign(data: Uint8Array): Uint8Array {
    return new Uint8Array(sign(null, data, this.#privateKey));
  }

  /** The certificate in DER. */
  get certificate(): Uint8Array {
    return new Uint8Array(new X509Certificate(this.certificatePem).raw);
  }

  /** Keeps the key out of logs. */
  toJSON(): { peerId: PeerId } {
    return { peerId: this.peerId };
  }
}

/** @throws IdentityError `bad-key` unless `publicKey` has 32 bytes. */
export function peerIdFromPublicKey(publicKey: Uint8Array): PeerId {
  if (publicKey.length !== KEY_LENGTH) {
    throw new IdentityError(`an Ed25519 public key has ${KEY_LENGTH} bytes, not ${publicKey.length}`);
  }
  return toBase32(publicKey);
}

/** The 32 bytes behind a PeerId; null when the text is not one. */
export function publicKeyFromPeerId(peerId: string): Uint8Array | null {
  return peerId.length === PEER_ID_LENGTH ? fromBase32(peerId) : null;
}

/** Whether `signature` is `peerId`'s Ed25519 signature over `data`. False for a bad PeerId. */
export function verifySignature(peerId: PeerId, data: Uint8Array, signature: Uint8Array): boolean {
  const publicKey = publicKeyFromPeerId(peerId);
  if (!publicKey || signature.length !== 64) return false;
  try {
    const key = createPublicKey({ key: Buffer.from(concat(SPKI_PREFIX, publicKey)), format: "der", type: "spki" });
    return verify(null, data, key, signature);
  } catch {
    return false; // 32 bytes that are no point on the curve
  }
}

/** What is wrong with a certificate. */
export type CertificateFault = "malformed" | "not-ed25519" | "not-self-signed" | "expired" | "not-yet-valid";

/**
 * Whose certificate this is, or why it is nobody's: it must be one well-formed, self-signed Ed25519 certificate whose signature holds and
 * whose validity includes `wallClockMs` (ms since 1970). Names in it mean nothing.
 */
export function readCertificate(
  der: Uint8Array,
  wallClockMs: number = Date.now(),
): PeerId | { fault: CertificateFault } {
  try {
    const certificate = new X509Certificate(der);
    if (certificate.raw.length !== der.length) return { fault: "malformed" }; // something follows it
    const key = certificate.publicKey;
    if (key.asymmetricKeyType !== "ed25519") return { fault: "not-ed25519" };
    if (certificate.subject !== certificate.issuer || !certificate.verify(key)) return { fault: "not-self-signed" };
    const [from, to] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];
    if (Number.isNaN(from) || Number.isNaN(to)) return { fault: "malformed" };
    if (wallClockMs < from) return { fault: "not-yet-valid" };
    return wallClockMs > to ? { fault: "expired" } : peerIdFromPublicKey(rawPublicKey(key));
  } catch {
    return { fault: "malformed" };
  }
}

/** Like {@link readCertificate}, for who need not know why: null where it is nobody's. */
export function peerIdFromCertificate(der: Uint8Array, wallClockMs: number = Date.now()): PeerId | null {
  const read = readCertificate(der, wallClockMs);
  return typeof read === "string" ? read : null;
}

function rawPublicKey(key: KeyObject): Uint8Array {
  const spki = new Uint8Array(key.export({ format: "der", type: "spki" }));
  const prefix = spki.subarray(0, SPKI_PREFIX.length);
  if (spki.length !== SPKI_PREFIX.length + KEY_LENGTH || !equalBytes(prefix, SPKI_PREFIX)) {
    throw new IdentityError("this is not an Ed25519 public key");
  }
  return spki.slice(SPKI_PREFIX.length);
}

function toPem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
