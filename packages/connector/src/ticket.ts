import { formatHostPort } from "@adit/core";
import { ExitError, type IntermediateAddress, type Pins, sentenceOf } from "@adit/program";
import type { Identity } from "@adit/quic";
import { issueTicket } from "@adit/transport";

export interface TicketValues {
  readonly intermediate: readonly IntermediateAddress[];
  /** None: all that are exposed. */
  readonly service: readonly string[];
  /** How long from now, ms. */
  readonly expires: number;
}

/** Its expiry counts in seconds. */
const MIN_EXPIRES_MS = 1_000;

/**
 * A new ticket of this connector, for the first intermediate that is named, or the one that it has met.
 * @throws ExitError `usage` for one that has expired when it is printed, and when it is not clear which intermediate that is, or what its key is.
 */
export function ticket(
  values: TicketValues,
  identity: Identity,
  pins: Pick<Pins, "get" | "intermediates">,
  wallClockMs: number = Date.now(),
): string {
  if (values.expires < MIN_EXPIRES_MS) throw new ExitError("usage", "--expires: a ticket holds for a second at least");
  const expiresAtS = Math.floor((wallClockMs + values.expires) / 1000);
  const intermediate = intermediateOf(values, pins);
  try {
    return issueTicket(identity, { intermediate, services: values.service, expiresAtS });
  } catch (cause) {
    throw new ExitError("usage", sentenceOf(cause), { cause });
  }
}

function intermediateOf({ intermediate: [named] }: TicketValues, pins: Pick<Pins, "get" | "intermediates">) {
  if (named) {
    const { host, port, key } = named;
    const peerId = named.peerId ?? pins.get("intermediates", key);
    if (peerId !== null) return { peerId, host, port };
    throw new ExitError(
      "usage",
      `the key of ${key} is not known here; write --intermediate PEERID@${key}, or let the connector meet it first`,
    );
  }
  const met = pins.intermediates();
  const [only] = met;
  if (only && met.length === 1) return only;
  const why = only
    ? `this connector has met several (${met.map(({ host, port }) => formatHostPort(host, port)).join(", ")})`
    : "this connector has met none yet";
  throw new ExitError(
    "usage",
    `--intermediate [PEERID@]HOST:PORT is missing (or intermediate in the --config file): ${why}`,
  );
}
