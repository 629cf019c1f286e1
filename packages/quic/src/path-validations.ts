import { parseNativeError } from "./errors.ts";
import type { NativeConnection } from "./native.ts";
import { type Path, samePath } from "./stranded.ts";
import type { SentPacket } from "./types.ts";

/** A challenge without an answer is repeated after so long, ms. Timers that go off all the time make no more than one in so many ms. */
const ASK_AGAIN_MS = 500;
const ASK_APART_MS = 20;
/** RFC 9000 §8.2.1: "An endpoint MUST expand datagrams that contain a PATH_CHALLENGE frame to at least the smallest allowed maximum datagram size of 1200 bytes". */
const CHALLENGE_BYTES = 1200;

interface Known extends Path {
  /** `failed`: quiche has given it up, or may have. `asked`: a challenge is under way, or was lost unnoticed. */
  state: "asked" | "failed" | "validated";
  /** When the last challenge was made, ms. */
  askedAt: number;
}

/**
 * Sees to it that paths which the transport uses stay usable.
 *
 * quiche 0.18 repeats a challenge that was lost only when a loss timer of its path goes off, and then takes it for lost however short it was under way;
 * after three such times in a row the path has failed, were it validated before or not. At 20 % loss that is a matter of minutes. It leaves an
 * active path that has failed for another one without a word. And once a packet comes on a path that has failed, a server has no path to send on until
 * a challenge has left there: the next packet that is read before that ends the connection with PROTOCOL_VIOLATION. Where the connection goes is the
 * transport's to say, and a challenge that leaves makes a path usable again: so one is made when the path is needed.
 */
export class PathValidations {
  readonly #native: NativeConnection;
  /** Paths that failed once (of the next times quiche says nothing), and on a server all but the first. A connection has a few. */
  #known: Known[] = [];
  /** Made, and to be sent before anything else; one for each path at most. */
  #challenges: (Path & { readonly data: Uint8Array })[] = [];

  constructor(native: NativeConnection) {
    this.#native = native;
  }

  /** The peer showed up on it, and quiche asks it. */
  handleNew(now: number, path: Path): void {
    this.#set(path, "asked", now);
  }

  handleFailed(path: Path): void {
    this.#set(path, "failed", Number.NEGATIVE_INFINITY);
  }

  handleValidated(path: Path): void {
    const known = this.#find(path);
    if (known) known.state = "validated";
  }

  /** There is no such path any more. */
  handleClosed(path: Path): void {
    if (this.#known.length > 0) this.#known = this.#known.filter((known) => !samePath(known, path));
  }

  /** A loss timer has gone off: what is not validated may have failed. */
  handleTimeout(isValidated: (path: Path) => boolean): void {
    for (const known of this.#known) known.state = isValidated(known) ? "validated" : "failed";
  }

  /** Has failed, perhaps, and no challenge was made since. */
  isFailed(path: Path): boolean {
    return this.#find(path)?.state === "failed";
  }

  /** The path is about to be used: makes a challenge if there should be one. There is none where the congestion window has no room for it. */
  need(now: number, path: Path): void {
    const known = this.#find(path);
    if (!known || known.state === "validated") return;
    if (now - known.askedAt < (known.state === "failed" ? ASK_APART_MS : ASK_AGAIN_MS)) return;
    const challenge = new Uint8Array(CHALLENGE_BYTES);
    try {
      this.#native.probePath(path.local, path.remote);
      const sent = this.#native.sendOnPath(challenge, path.local, path.remote);
      if (!sent) return;
      const others = this.#challenges.filter((other) => !samePath(other, path));
      this.#challenges = [...others, { ...path, data: challenge.subarray(0, sent[0]) }];
      known.state = "asked";
      known.askedAt = now;
    } catch (error) {
      if (parseNativeError(error).name === "InvalidState") this.handleClosed(path);
    }
  }

  /** The next challenge, written into `out`; null when there is none. */
  takeChallenge(out: Uint8Array): SentPacket | null {
    const next = this.#challenges.length === 0 ? null : this.#challenges.shift();
    if (!next) return null;
    out.set(next.data);
    return { length: next.data.length, local: next.local, remote: next.remote };
  }

  #set(path: Path, state: Known["state"], askedAt: number): void {
    const known = this.#find(path);
    if (known) known.state = state;
    else this.#known.push({ ...path, state, askedAt });
  }

  #find(path: Path): Known | null {
    for (const known of this.#known) if (samePath(known, path)) return known;
    return null;
  }
}
