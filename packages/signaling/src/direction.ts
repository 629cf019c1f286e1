/** Who may say what, once Hello and Welcome have crossed. Ping, Pong, Error and Goodbye go both ways. */
import type { ClientMessage, IntermediateMessage, Role, SignalingMessage, SignalingType } from "./messages.ts";

const BOTH_WAYS = ["ping", "pong", "error", "goodbye"] as const;
const OF_A_SESSION = ["candidate", "restart", "path-report", "session-end"] as const;

const FROM_CLIENT: Readonly<Record<Role, ReadonlySet<SignalingType>>> = {
  agent: new Set([...BOTH_WAYS, ...OF_A_SESSION, "connect", "candidate-offer", "punching-result"]),
  connector: new Set([...BOTH_WAYS, ...OF_A_SESSION, "register", "candidate-answer", "punching-result"]),
};

const FROM_INTERMEDIATE = ["welcome", "observed-address", "start-punching"] as const;

const TO_CLIENT: Readonly<Record<Role, ReadonlySet<SignalingType>>> = {
  agent: new Set([...BOTH_WAYS, ...OF_A_SESSION, ...FROM_INTERMEDIATE, "connected", "candidate-answer"]),
  connector: new Set([
    ...BOTH_WAYS,
    ...OF_A_SESSION,
    ...FROM_INTERMEDIATE,
    "registered",
    "incoming",
    "candidate-offer",
  ]),
};

/** Whether a client of that role says this (after its Hello). */
export function isFromClient(role: Role, message: SignalingMessage): message is ClientMessage {
  return FROM_CLIENT[role].has(message.type);
}

/** Whether the intermediate says this to a client of that role. */
export function isForClient(role: Role, message: SignalingMessage): message is IntermediateMessage {
  return TO_CLIENT[role].has(message.type);
}
