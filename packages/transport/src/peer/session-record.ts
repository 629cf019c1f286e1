import type { LogFields, Millis, SocketAddress } from "@adit/core";
import type { PairInfo } from "@adit/ice";
import type { PunchingResult } from "@adit/signaling";
import type { SessionPath } from "../status.ts";
import { round } from "./pair-words.ts";
import type { SessionHost, SessionPeer } from "./session-host.ts";

interface PathChange {
  readonly from: SessionPath;
  readonly to: SessionPath;
  readonly reason: string;
  readonly gapMs: Millis | null;
}

/** What the log and the intermediate are told of one session. */
export class SessionRecord {
  readonly #host: SessionHost;
  readonly #sessionId: bigint;
  readonly #id: string;
  #reported: PunchingResult["outcome"] | null = null;

  constructor(host: SessionHost, sessionId: bigint, id: string) {
    this.#host = host;
    this.#sessionId = sessionId;
    this.#id = id;
  }

  /** Tells the intermediate how it went, once per outcome; nothing depends on it. */
  report(outcome: PunchingResult["outcome"], detail: string): void {
    if (this.#reported === outcome) return;
    this.#reported = outcome;
    this.#host.signal({ type: "punching-result", sessionId: this.#sessionId, outcome, detail });
  }

  start(peer: SessionPeer, path: SessionPath, remote: SocketAddress | null, reason: string): void {
    this.#host.log.info("session-start", { ...this.#identity(peer), path, remote, reason });
  }

  /** `pair`: what carries the session now, null for nothing. */
  change(peer: SessionPeer, { from, to, reason, gapMs }: PathChange, pair: PairInfo | null): void {
    const addresses = pair && { local: pair.local.address, remote: pair.remote.address };
    const fields = { from, to, reason, gapMs: round(gapMs), ...addresses };
    this.#host.log.info("path-changed", { ...this.#identity(peer), ...fields });
    if (to === "direct" || to === "relay") this.report(to, reason);
  }

  end(
    peer: SessionPeer,
    code: string,
    reason: string,
    bytes: { readonly sent: number; readonly received: number },
  ): void {
    const { sent: sentBytes, received: receivedBytes } = bytes;
    this.#host.log.info("session-end", { ...this.#identity(peer), code, reason, sentBytes, receivedBytes });
  }

  /** Which session a log line is about. */
  #identity({ id, name }: SessionPeer): LogFields {
    return { session: this.#id, peerId: id, ...(name === null ? {} : { name }) };
  }
}
