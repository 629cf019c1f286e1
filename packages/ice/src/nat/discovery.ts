/**
 * NAT behaviour discovery (RFC 5780): asks a STUN server with two addresses what a NAT makes of our packets. Sans-IO.
 *
 * The questions stand one after another in {@link questions}, as one would tell them; the class around it asks each over UDP, with
 * retransmissions, and hands back what came.
 */
import type { Deadline, Millis, Random, SocketAddress, SocketId, Transmit } from "@adit/core";
import { getAddress, getXorAddress } from "../stun/attributes.ts";
import { StunBuilder } from "../stun/builder.ts";
import { decodeStun, transactionKey } from "../stun/message.ts";
import { STUN_ATTRIBUTE, STUN_METHOD } from "../stun/tables.ts";
import { type RetransmissionTiming, StunTransaction } from "../stun/transaction.ts";
import { explain, type FilteringBehavior, type MappingBehavior, type NatReport } from "./report.ts";

/** What {@link NatDiscovery} takes. */
export interface NatDiscoveryOptions {
  /** A STUN server with two addresses (RFC 5780 §6). */
  readonly server: SocketAddress;
  /**
   * Three UDP sockets that have not been used before, so that no mapping or filter stands: mapping is tried on the first, filtering
   * on the second. Each with its local port.
   */
  readonly sockets: readonly [LocalSocket, LocalSocket, LocalSocket];
  /** This host's IP addresses: a mapped address that is one of them is no translation. */
  readonly localIps: readonly string[];
  /** Measures how long a mapping lives, which takes as long as the longest trials; not unless given. */
  readonly lifetime?: { readonly maxMs: Millis; readonly resolutionMs: Millis };
  /** Of each question; RTO 300 ms and 4 requests unless given, so that "no answer" costs 3.3 s and not 39.5. */
  readonly timing?: Partial<RetransmissionTiming>;
  /** Of transaction IDs. */
  readonly random: Random;
}

/** A UDP socket for the questions. */
export interface LocalSocket {
  /** Its number, as the caller has it. */
  readonly socket: SocketId;
  /** The local port that it is bound to. */
  readonly port: number;
}

const TIMING = { rtoMs: 300, maxRequests: 4, lastWaitFactor: 4 } as const;

/** RFC 5780 §7.2. */
const CHANGE_IP = 0x04;
const CHANGE_PORT = 0x02;

type Question =
  | {
      readonly kind: "binding";
      readonly socket: SocketId;
      readonly to: SocketAddress;
      readonly change?: number;
      /** RESPONSE-PORT; the answer is awaited on `answerOn`. */
      readonly responsePort?: number;
      readonly answerOn?: SocketId;
    }
  /** A request to our own mapped address; the answer is its arrival. */
  | { readonly kind: "hairpin"; readonly socket: SocketId; readonly to: SocketAddress }
  | { readonly kind: "wait"; readonly ms: Millis };

/** Null: nothing came. */
type Answer = { readonly mapped: SocketAddress | null; readonly other: SocketAddress | null } | null;

type Script = Generator<Question, NatReport, Answer>;

interface Asked {
  readonly question: Exclude<Question, { kind: "wait" }>;
  readonly request: Uint8Array;
  readonly transaction: StunTransaction;
}

/** The questions of RFC 5780, one after another; {@link report} has the answer when they are done. Sans-IO. */
export class NatDiscovery {
  readonly #options: NatDiscoveryOptions;
  readonly #script: Script;
  #asked: Asked | null = null;
  #waitUntil: Millis | null = null;
  #outbox: Transmit[] = [];
  #report: NatReport | null = null;

  /** Begins at `now`. */
  constructor(now: Millis, options: NatDiscoveryOptions) {
    this.#options = options;
    this.#script = questions(options);
    this.#next(now, null);
  }

  /** Null until everything is known. */
  get report(): NatReport | null {
    return this.#report;
  }

  /** What arrived on one of the sockets; what answers no question is passed over. */
  handleDatagram(now: Millis, socket: SocketId, from: SocketAddress, data: Uint8Array): void {
    const asked = this.#asked;
    const message = asked && decodeStun(data);
    if (!message || message.method !== STUN_METHOD.BINDING) return;
    if (transactionKey(message.transactionId) !== transactionKey(asked.request.subarray(8, 20))) return;
    const { question } = asked;
    if (question.kind === "hairpin") {
      if (message.class === "request") this.#next(now, { mapped: null, other: null });
      return;
    }
    if (socket !== (question.answerOn ?? question.socket)) return;
    // An error means that the server does not do what is asked (420): for the question that is no answer.
    if (message.class === "error") return this.#next(now, null);
    if (message.class !== "success" || !this.#isFromServer(question, from)) return;
    const mapped = getXorAddress(message, STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS);
    this.#next(now, { mapped, other: getAddress(message, STUN_ATTRIBUTE.OTHER_ADDRESS) });
  }

  /** Does what is due; to be called when {@link pollTimeout} says, or any time. */
  handleTimeout(now: Millis): void {
    if (this.#waitUntil !== null && now >= this.#waitUntil) return this.#next(now, null);
    if (!this.#asked) return;
    const verdict = this.#asked.transaction.handleTimeout(now);
    if (verdict === "retransmit") this.#send(this.#asked);
    if (verdict === "timed-out") this.#next(now, null);
  }

  /** When {@link handleTimeout} is to be called, and why; null when all is done. */
  pollTimeout(): Deadline | null {
    if (this.#waitUntil !== null) return { at: this.#waitUntil, reason: "nat-discovery-wait" };
    return this.#asked && { at: this.#asked.transaction.deadline, reason: "nat-discovery-retransmission" };
  }

  /** The next datagram to be sent; null when there is none. */
  pollTransmit(): Transmit | null {
    return this.#outbox.shift() ?? null;
  }

  #next(now: Millis, answer: Answer): void {
    this.#asked = null;
    this.#waitUntil = null;
    const step = this.#script.next(answer);
    if (step.done) {
      this.#report = step.value;
    } else if (step.value.kind === "wait") {
      this.#waitUntil = now + step.value.ms;
    } else {
      const request = this.#write(step.value);
      const transaction = new StunTransaction(now, { ...TIMING, ...this.#options.timing });
      this.#asked = { question: step.value, request, transaction };
      this.#send(this.#asked);
    }
  }

  #write(question: Asked["question"]): Uint8Array {
    const builder = new StunBuilder("request", STUN_METHOD.BINDING, this.#options.random.bytes(12));
    if (question.kind === "binding") {
      if (question.change) builder.u32(STUN_ATTRIBUTE.CHANGE_REQUEST, question.change);
      const { responsePort: port } = question;
      if (port !== undefined) builder.add(STUN_ATTRIBUTE.RESPONSE_PORT, Uint8Array.of(port >> 8, port & 0xff, 0, 0));
    }
    return builder.build();
  }

  #send({ question, request }: Asked): void {
    this.#outbox.push({ data: request, socket: question.socket, to: question.to });
  }

  /** An answer that was asked to come from elsewhere must: a server that ignores CHANGE-REQUEST would make any NAT look open. */
  #isFromServer(question: Extract<Question, { kind: "binding" }>, from: SocketAddress): boolean {
    const change = question.change ?? 0;
    const otherIp = from.ip !== question.to.ip;
    const otherPort = from.port !== question.to.port;
    return otherIp === ((change & CHANGE_IP) !== 0) && otherPort === ((change & CHANGE_PORT) !== 0);
  }
}

/** All that is found out, in order (RFC 5780 §4). */
function* questions(options: NatDiscoveryOptions): Script {
  const { server, sockets, localIps } = options;
  const [first, second, third] = sockets;
  const opened: { readonly mapped: SocketAddress; readonly local: number }[] = [];
  const note = (answer: Answer, local: LocalSocket): SocketAddress | null => {
    const mapped = answer?.mapped ?? null;
    if (mapped && !opened.some((one) => one.mapped.equals(mapped))) opened.push({ mapped, local: local.port });
    return mapped;
  };
  const ask = (from: LocalSocket, to: SocketAddress): Question => ({ kind: "binding", socket: from.socket, to });

  const answer = yield ask(first, server);
  const mapped = note(answer, first);
  const other = answer?.other ?? null;
  const nat = mapped && !(localIps.includes(mapped.ip) && mapped.port === first.port);
  const mapping = mapped && other ? yield* findMapping(mapped, other) : null;

  const filterBase = note(mapped && (yield ask(second, server)), second);
  // Without answers from the other address in the mapping tests, silence from there would say nothing about filters.
  const filtering = filterBase && mapping ? yield* findFiltering() : null;
  const spare = note(mapped && (yield ask(third, server)), third);
  const hairpin = mapped && nat ? yield* findHairpin(mapped) : null;
  const lifetime = options.lifetime && nat && spare && other ? yield* findLifetime(options.lifetime) : null;

  const portsPreserved = nat ? opened.every((one) => one.mapped.port === one.local) : null;
  const portDelta = nat && !portsPreserved ? commonDelta(opened.map((one) => one.mapped.port)) : null;
  const found = { nat, mapped, mapping, filtering, hairpin, portsPreserved, portDelta, lifetime };
  return { ...found, reason: explain(found) };

  /** §4.3 */
  function* findMapping(one: SocketAddress, other: SocketAddress): Generator<Question, MappingBehavior | null, Answer> {
    const two = note(yield ask(first, other.withPort(server.port)), first);
    if (!two) return null;
    const three = note(yield ask(first, other), first);
    if (!three) return null;
    if (two.equals(one)) return three.equals(one) ? "EIM" : "APDM";
    return three.equals(two) ? "ADM" : "APDM";
  }

  /** §4.4 */
  function* findFiltering(): Generator<Question, FilteringBehavior, Answer> {
    const question = { kind: "binding", socket: second.socket, to: server } as const;
    if (yield { ...question, change: CHANGE_IP | CHANGE_PORT }) return "EIF";
    return (yield { ...question, change: CHANGE_PORT }) ? "ADF" : "APDF";
  }

  /**
   * §4.5. The request opens the filter that it has to come through, where one mapping serves all. Where it does not, only a NAT without
   * filters would show it.
   */
  function* findHairpin(one: SocketAddress): Generator<Question, boolean | null, Answer> {
    const arrived = (yield { kind: "hairpin", socket: first.socket, to: one }) !== null;
    return arrived || mapping === "EIM" || filtering === "EIF" ? arrived : null;
  }

  /**
   * §4.6: the third socket's mapping rests, then the second asks the server to answer there. The first trial is short, because it is short
   * lives that one wants to know of.
   */
  function* findLifetime({
    maxMs,
    resolutionMs,
  }: NonNullable<NatDiscoveryOptions["lifetime"]>): Generator<Question, NatReport["lifetime"], Answer> {
    let [alive, dead]: [Millis, Millis | null] = [0, null];
    for (let trial = Math.sqrt(maxMs * resolutionMs); ; trial = dead === null ? maxMs : (alive + dead) / 2) {
      const base = (yield ask(third, server))?.mapped;
      if (!base) return null;
      yield { kind: "wait", ms: trial };
      const question = { kind: "binding", socket: second.socket, to: server } as const;
      const came = yield { ...question, responsePort: base.port, answerOn: third.socket };
      if (came) alive = trial;
      else dead = trial;
      if (alive === maxMs || (dead !== null && dead - alive <= resolutionMs))
        return { atLeastMs: alive, belowMs: dead };
    }
  }
}

/** The step between external ports in the order in which they were opened; null unless it is the same at least twice. */
function commonDelta(ports: readonly number[]): number | null {
  const deltas = ports.slice(1).map((port, i) => port - (ports[i] as number));
  const [delta] = deltas;
  return delta !== undefined && deltas.length >= 2 && deltas.every((one) => one === delta) ? delta : null;
}
