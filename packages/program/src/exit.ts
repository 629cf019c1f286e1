import { AditError } from "@adit/core";

/** What a program's exit status says; scripts depend on it. */
export const EXIT_STATUS = {
  ok: 0,
  failure: 1,
  /** The command line, the configuration file, the state directory, or an address that is taken. */
  usage: 2,
  refused: 3,
  /** Not found within `--wait`. */
  "not-found": 4,
  timeout: 5,
} as const;

export type ExitCode = Exclude<keyof typeof EXIT_STATUS, "ok">;

/** Ends the program with a sentence for its user and the exit status of its code. */
export class ExitError extends AditError {
  readonly code: ExitCode;

  constructor(code: ExitCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  get status(): number {
    return EXIT_STATUS[this.code];
  }
}

/**
 * The exit code that an error stands for. An address that UDP could not bind is told by its name, for its class comes with
 * the native QUIC library, which a mistyped option must not load.
 */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof ExitError) return error.code;
  return error instanceof AditError && error.name === "UdpBindError" ? "usage" : "failure";
}

/** The sentence of anything that was thrown. */
export function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}

/** The `code` of a system error (`ECONNREFUSED`) or of one of ours, or null. */
export function codeOf(error: unknown): string | null {
  const code = error instanceof Error && "code" in error ? error.code : null;
  return typeof code === "string" ? code : null;
}

/** An address that could not be bound, in words; anything else is returned as it came. `option` names what to change. */
export function bindFailure(error: unknown, option: string, address: string): unknown {
  const why = {
    EADDRINUSE: "is in use",
    EADDRNOTAVAIL: "is not an address of this machine",
    EACCES: "may not be bound",
  }[codeOf(error) ?? ""];
  return why === undefined
    ? error
    : new ExitError("usage", `${address} ${why}; choose another with ${option}`, { cause: error });
}
