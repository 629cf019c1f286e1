export {
  AddressError,
  formatHostPort,
  formatIp,
  type IpFamily,
  parseIp,
  parseSocketAddress,
  SocketAddress,
} from "./address.ts";
export {
  concat,
  equalBytes,
  equalSecret,
  fromBase32,
  fromHex,
  fromUtf8,
  toBase32,
  toHex,
  utf8,
} from "./bytes.ts";
export { Counters } from "./counters.ts";
export { AditError } from "./errors.ts";
export { classifyIp, type IpClass, ipInPrefix } from "./ip-class.ts";
export { type LogFields, type Logger, nullLogger } from "./logger.ts";
export { type Random, randomInt, randomU64, seededRandom, systemRandom } from "./random.ts";
export { SmoothedRtt } from "./smoothed-rtt.ts";
export {
  Backoff,
  type BackoffOptions,
  type Clock,
  type Deadline,
  deadlineAt,
  earliest,
  type Millis,
  monotonicClock,
} from "./time.ts";
export { FIRST_RELAY_ID, isRelaySocket, type SocketId, type Transmit } from "./transmit.ts";
