/** How much one key, and one IP address, may use. The policy file's `[limits]`; docs/operations.md has the same table. */
export interface Limits {
  /** TURN allocations at one time. One per address family would do. */
  readonly allocationsPerKey: number;
  /** Sessions that an agent's key may have at one time. */
  readonly sessionsPerKey: number;
  /** Signaling messages on average; four times as many at once. */
  readonly messagesPerSecond: number;
  readonly registrationsPerMinute: number;
  /** Payload through the relay, both directions; a second's worth at once. */
  readonly relayBytesPerSecond: number;
  /** The same, in a day of UTC. */
  readonly relayBytesPerDay: number;
  /** Before authentication. IPv6 addresses count by their /64, of which one host has all; a /48 has eight times as much. */
  readonly clientsPerIp: number;
  /** Relayed addresses: keys cost nothing, addresses do. */
  readonly allocationsPerIp: number;
  /** Sessions that agents have asked for from there: keys cost nothing, addresses do. */
  readonly sessionsPerIp: number;
  /** On average; ten seconds' worth at once. */
  readonly handshakesPerIpPerSecond: number;
  /** TURN's refusals to somebody who proved nothing (401, 438, 400), on average; ten seconds' worth at once. */
  readonly challengesPerIpPerSecond: number;
  /** Names that nobody had: keys cost nothing, addresses do. */
  readonly newNamesPerIpPerHour: number;
}

/** Bandwidth is not bounded unless the operator says so: what it costs, only he knows. */
export const DEFAULT_LIMITS: Limits = {
  allocationsPerKey: 8,
  sessionsPerKey: 64,
  messagesPerSecond: 500,
  registrationsPerMinute: 60,
  relayBytesPerSecond: Number.POSITIVE_INFINITY,
  relayBytesPerDay: Number.POSITIVE_INFINITY,
  clientsPerIp: 512,
  allocationsPerIp: 512,
  sessionsPerIp: 1024,
  handshakesPerIpPerSecond: 100,
  challengesPerIpPerSecond: 100,
  newNamesPerIpPerHour: 600,
};
