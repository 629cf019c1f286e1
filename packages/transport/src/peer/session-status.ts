import type { PairInfo } from "@adit/ice";
import type { PolicyView } from "../path/view.ts";
import type { SessionStatus } from "../status.ts";
import { round } from "./pair-words.ts";
import type { SessionPeer } from "./session-host.ts";

export interface SessionFacts {
  readonly id: string;
  readonly peer: SessionPeer;
  readonly handshakes: number;
  readonly policyView: PolicyView;
  /** The pair that carries the session; null when none does. */
  readonly pair: PairInfo | null;
  /** What that pair is proved to carry in one datagram. */
  readonly datagramBytes: number | null;
  /** The application's. */
  readonly bytes: { readonly sent: number; readonly received: number };
}

/** A session as `status` shows it: what is unknown is null, never absent. */
export function describeSession({
  id,
  peer,
  handshakes,
  policyView,
  pair,
  datagramBytes,
  bytes,
}: SessionFacts): SessionStatus {
  return {
    id,
    peer: { id: peer.id, name: peer.name },
    path: policyView.path,
    local: pair?.local.address ?? null,
    remote: pair?.remote.address ?? null,
    localType: pair?.local.type ?? null,
    remoteType: pair?.remote.type ?? null,
    rttMs: round(policyView.rttMs),
    relayRttMs: round(policyView.relayRttMs),
    datagramBytes,
    sentBytes: bytes.sent,
    receivedBytes: bytes.received,
    handshakes,
    migrations: policyView.migrations,
    reason: policyView.reason,
  };
}
