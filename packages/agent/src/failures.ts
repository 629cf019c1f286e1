import { ExitError, type Pins, sentenceOf } from "@adit/program";
import { SessionError } from "@adit/transport";
import { type Destination, LIKE_A_TICKET } from "./destination.ts";

export interface FailureContext {
  readonly target: Destination["target"];
  /** Our own PeerId: what the other side's `--allow` must list. */
  readonly peerId: string;
  readonly waitMs: number;
  readonly intermediate: string;
  readonly pins: Pins;
}

export const targetText = (target: Destination["target"]): string =>
  target.kind === "name" ? target.name : target.peerId;

/** Whether asking again can never help without somebody changing something. An ExitError is a decision already. */
export const isPermanent = (error: unknown): boolean =>
  error instanceof ExitError || (error instanceof SessionError && error.permanent);

/** Why there is no session, as a sentence that says what to do, with the program's exit status. */
export function sessionFailure(error: unknown, context: FailureContext): unknown {
  if (!(error instanceof SessionError)) return error;
  const { target, peerId, waitMs, intermediate, pins } = context;
  const said = sentenceOf(error);
  const name = targetText(target);
  switch (error.code) {
    case "not-found":
      return new ExitError(
        "not-found",
        `no connector ${target.kind === "name" ? "named" : "with the PeerId"} ${name} was found at ${intermediate} within ${waitMs / 1000} s; ` +
          "is it running, and is --to right? --wait says how long to look" +
          (target.kind === "name" && LIKE_A_TICKET.test(name) ? "; if it was to be a ticket, it is cut short" : ""),
        { cause: error },
      );
    case "peer-changed": {
      const pinned = target.kind === "name" ? pins.get("peers", target.name) : null;
      return new ExitError("refused", pinned === null ? said : pins.changed("peers", name, pinned, null), {
        cause: error,
      });
    }
    case "not-allowed": {
      // Whoever refused may have said which key it would have to list.
      const hint = said.includes(peerId) ? "" : `; whoever runs it can let this agent in with --allow ${peerId}`;
      // The intermediate speaks of itself, a connector of "the connector".
      const who = said.startsWith("this intermediate") ? `the intermediate ${intermediate}` : name;
      return new ExitError("refused", `${who} does not let this agent in: ${said}${hint}`, { cause: error });
    }
    case "refused":
    case "intermediate-changed":
    case "unsupported-version":
      return new ExitError("refused", said, { cause: error });
    case "timeout":
      return new ExitError("timeout", said, { cause: error });
    case "intermediate-unreachable": {
      const [first] = intermediate.split(", ");
      const hint = `adit-agent netcheck --intermediate ${first} tells what gets through`;
      return new ExitError("timeout", `${said}; ${hint}`, { cause: error });
    }
    case "closed":
      return new ExitError("failure", said, { cause: error });
  }
}
