import { formatHostPort } from "@adit/core";
import { ExitError, type IntermediateAddress, sentenceOf, type Target } from "@adit/program";
import { readTicket, type Ticket } from "@adit/transport";

/** Where to go, and what lets us in there. */
export interface Destination {
  readonly target: Exclude<Target, { kind: "ticket" }>;
  readonly ticket: Ticket | null;
  /** In the order of preference, at least one. */
  readonly intermediates: readonly IntermediateAddress[];
}

/** A name may begin so; what was meant may as well be the first characters of a ticket. */
export const LIKE_A_TICKET = /^adit1/;

/**
 * What `--to` and `--intermediate` say together: a ticket names its intermediate itself.
 * @throws ExitError `usage` without an intermediate or with a damaged ticket, `refused` when the ticket has expired.
 */
export function destinationOf(
  { to, intermediate }: { readonly to: Target; readonly intermediate: readonly IntermediateAddress[] },
  wallClockMs: number = Date.now(),
): Destination {
  if (to.kind !== "ticket") {
    if (intermediate.length > 0) return { target: to, ticket: null, intermediates: intermediate };
    if (to.kind === "name" && LIKE_A_TICKET.test(to.name)) {
      const hint = `if "${to.name}" is a connector's name, name its --intermediate too`;
      throw new ExitError("usage", `--to: the ticket is cut short; copy all of it (${hint})`);
    }
    const hint =
      "(or intermediate in the --config file): the intermediate that introduces the two; only with a ticket it is not needed";
    throw new ExitError("usage", `--intermediate [PEERID@]HOST:PORT is missing ${hint}`);
  }
  const ticket = read(to.text);
  const expiry = ticket.expiresAtS * 1000;
  if (wallClockMs >= expiry) {
    const [end, here] = [expiry, wallClockMs].map((at) => new Date(at).toISOString());
    throw new ExitError("refused", `the ticket expired at ${end}, and here it is ${here}; ask for a new one`);
  }
  return {
    target: { kind: "peer", peerId: ticket.connector },
    ticket,
    intermediates: intermediate.length > 0 ? intermediate : [addressOf(ticket)],
  };
}

function read(text: string): Ticket {
  try {
    return readTicket(text);
  } catch (cause) {
    throw new ExitError("usage", `--to: ${sentenceOf(cause)}`, { cause });
  }
}

function addressOf({ intermediate: { peerId, host, port } }: Ticket): IntermediateAddress {
  const key = formatHostPort(host, port);
  return { peerId, host, port, key };
}
