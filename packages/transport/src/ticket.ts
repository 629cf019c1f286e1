/**
 * Tickets: one string that lets its holder in, and tells where. A connector signs it; the secret in it never travels. What goes over
 * the wire is the claim (all of the ticket but the secret) and, for each session, a signature made with the secret.
 */
import { AditError, concat, fromBase32, fromUtf8, type Random, systemRandom, toBase32, utf8 } from "@adit/core";
import { Identity, type PeerId, peerIdFromPublicKey, publicKeyFromPeerId, verifySignature } from "@adit/quic";

/** A text that is no ticket, or one that does not hold. The message is for the person who has it. */
export class TicketError extends AditError {
  override readonly code = "bad-ticket";
}

/** What a ticket says. */
export interface TicketTerms {
  /** Who gave it out, and whom it leads to. */
  readonly connector: PeerId;
  readonly intermediate: { readonly peerId: PeerId; readonly host: string; readonly port: number };
  /** Those that it opens; none: all that the connector exposes. At most 16. */
  readonly services: readonly string[];
  /** Seconds since 1970: it lets nobody in from then on. Sessions that stand go on. */
  readonly expiresAtS: number;
}

/** A ticket as its holder has it. */
export interface Ticket extends TicketTerms {
  /** What the connector is shown: terms, the ticket's public key, the connector's signature. */
  readonly claim: Uint8Array;
  /** Signs with the ticket's secret. */
  readonly holder: Identity;
}

/** Of one session, what the ticket's secret signs. */
export interface TicketUse {
  readonly agent: PeerId;
  readonly connector: PeerId;
  readonly sessionId: bigint;
  /** The agent's ICE user name fragment, which is in the same offer. */
  readonly ufrag: string;
}

const PREFIX = "adit1";
const VERSION = 1;
const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
const MAX_SERVICES = 16;
const SERVICE = /^[a-z0-9-]{1,40}$/;
/** Longer texts are not looked at. */
const MAX_TEXT = 2048;
/** A claim begins with version and three keys: the ticket's, the connector's, the intermediate's. */
const HEAD_BYTES = 1 + 3 * KEY_BYTES + 8 + 2 + 1;

/** Signatures for one thing must not count for another. */
const CLAIM_CONTEXT = utf8("adit ticket claim 1\0");
const USE_CONTEXT = utf8("adit ticket use 1\0");

/**
 * A new ticket: the string that is given to whom it shall let in. It is a secret.
 * @throws TicketError when the terms cannot be: too many services, a name that is none, a host of more than 255 bytes.
 */
export function issueTicket(
  connector: Identity,
  terms: Omit<TicketTerms, "connector">,
  random: Random = systemRandom,
): string {
  const seed = random.bytes(KEY_BYTES);
  const holder = Identity.fromSeed(seed);
  const signed = writeTerms(holder.publicKey, { ...terms, connector: connector.peerId });
  const signature = connector.sign(concat(CLAIM_CONTEXT, signed));
  return PREFIX + toBase32(concat(signed, signature, seed));
}

/** @throws TicketError when it is cut short or altered. An expired one is read: who uses it shall be told so. */
export function readTicket(text: string): Ticket {
  const bytes = text.length <= MAX_TEXT && text.startsWith(PREFIX) ? fromBase32(text.slice(PREFIX.length)) : null;
  if (!bytes || bytes.length < HEAD_BYTES + SIGNATURE_BYTES + KEY_BYTES) throw new TicketError(SPOILED);
  const claim = bytes.slice(0, -KEY_BYTES);
  const terms = readClaim(claim);
  const holder = Identity.fromSeed(bytes.slice(-KEY_BYTES));
  if (!terms || terms.holder !== holder.peerId) throw new TicketError(SPOILED);
  const { connector, intermediate, services, expiresAtS } = terms;
  return { connector, intermediate, services, expiresAtS, claim, holder };
}

const SPOILED = "the ticket is cut short or altered; copy all of it, from adit1 to its end";

/** What goes with an offer, in base32: the claim, and the signature for this session. */
export function ticketProof(ticket: Ticket, use: TicketUse): string {
  return toBase32(concat(ticket.claim, ticket.holder.sign(useBytes(use))));
}

/** What a connector makes of a proof. */
export type TicketVerdict =
  | { readonly kind: "valid"; readonly services: readonly string[] }
  | { readonly kind: "refused"; readonly reason: "malformed" | "foreign" | "expired" | "not-the-holder" };

/** @param use of the session that the proof came with; its `connector` is who checks. */
export function checkTicketProof(proof: string, use: TicketUse, wallClockMs: number): TicketVerdict {
  const refused = (reason: "malformed" | "foreign" | "expired" | "not-the-holder") =>
    ({ kind: "refused", reason }) as const;
  const bytes = proof.length <= MAX_TEXT ? fromBase32(proof) : null;
  if (!bytes || bytes.length < HEAD_BYTES + 2 * SIGNATURE_BYTES) return refused("malformed");
  const terms = readClaim(bytes.subarray(0, -SIGNATURE_BYTES));
  if (!terms) return refused("malformed");
  if (terms.connector !== use.connector) return refused("foreign");
  if (wallClockMs >= terms.expiresAtS * 1000) return refused("expired");
  if (!verifySignature(terms.holder, useBytes(use), bytes.slice(-SIGNATURE_BYTES))) return refused("not-the-holder");
  return { kind: "valid", services: terms.services };
}

/** `version || holder || connector || intermediate || expiry || port || host || services`; numbers are big-endian. */
function writeTerms(holder: Uint8Array, terms: TicketTerms): Uint8Array {
  const { connector, intermediate, services, expiresAtS } = terms;
  const host = utf8(intermediate.host);
  if (host.length > 255)
    throw new TicketError(`the intermediate's name has ${host.length} bytes, and 255 is the limit`);
  if (services.length > MAX_SERVICES)
    throw new TicketError(`a ticket names at most ${MAX_SERVICES} services; name none to open all`);
  for (const service of services) {
    if (!SERVICE.test(service))
      throw new TicketError(`"${service}" is not a service's name (1 to 40 of a-z, 0-9 and -)`);
  }
  const numbers = new DataView(new ArrayBuffer(10));
  numbers.setBigUint64(0, BigInt(Math.floor(expiresAtS)));
  numbers.setUint16(8, intermediate.port);
  return concat(
    Uint8Array.of(VERSION),
    holder,
    keyOf(connector),
    keyOf(intermediate.peerId),
    new Uint8Array(numbers.buffer),
    Uint8Array.of(host.length),
    host,
    Uint8Array.of(services.length),
    ...services.flatMap((service) => [Uint8Array.of(service.length), utf8(service)]),
  );
}

/** Null: malformed, or not signed by the connector that it names. */
function readClaim(claim: Uint8Array): (TicketTerms & { readonly holder: PeerId }) | null {
  const signed = claim.subarray(0, -SIGNATURE_BYTES);
  if (signed.length < HEAD_BYTES || signed[0] !== VERSION) return null;
  const key = (index: number) =>
    peerIdFromPublicKey(signed.subarray(1 + index * KEY_BYTES, 1 + (index + 1) * KEY_BYTES));
  const [holder, connector, intermediate] = [key(0), key(1), key(2)];
  const view = new DataView(signed.buffer, signed.byteOffset, signed.length);
  const texts = new Texts(signed, 1 + 3 * KEY_BYTES + 10);
  const host = texts.next();
  const services = Array.from({ length: Math.min(texts.byte() ?? 0, MAX_SERVICES + 1) }, () => texts.next());
  if (host === null || !texts.atEnd || services.length > MAX_SERVICES) return null;
  if (!services.every((service): service is string => service !== null && SERVICE.test(service))) return null;
  if (!verifySignature(connector, concat(CLAIM_CONTEXT, signed), claim.slice(-SIGNATURE_BYTES))) return null;
  const at = 1 + 3 * KEY_BYTES;
  return {
    holder,
    connector,
    intermediate: { peerId: intermediate, host, port: view.getUint16(at + 8) },
    services,
    expiresAtS: Number(view.getBigUint64(at)),
  };
}

/** Texts, each behind a byte with its length. */
class Texts {
  readonly #bytes: Uint8Array;
  #at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  byte(): number | null {
    return this.#bytes[this.#at++] ?? null;
  }

  next(): string | null {
    const length = this.byte();
    if (length === null || this.#at + length > this.#bytes.length) return null;
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    try {
      return fromUtf8(bytes);
    } catch {
      return null;
    }
  }
}

function useBytes({ agent, connector, sessionId, ufrag }: TicketUse): Uint8Array {
  const id = new DataView(new ArrayBuffer(8));
  id.setBigUint64(0, sessionId);
  return concat(USE_CONTEXT, keyOf(agent), keyOf(connector), new Uint8Array(id.buffer), utf8(ufrag));
}

function keyOf(peerId: PeerId): Uint8Array {
  const key = publicKeyFromPeerId(peerId);
  if (!key) throw new TicketError(`"${peerId}" is not a PeerId`);
  return key;
}
