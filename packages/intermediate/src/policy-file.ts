/** The policy file while the program runs: read at the start, and again on SIGHUP. */
import type { Logger } from "@adit/core";
import { sentenceOf } from "@adit/program";
import { type AccessPolicy, OPEN_POLICY, readPolicyFile } from "./access-policy.ts";

export class PolicyFile {
  readonly #path: string | null;
  readonly #log: Logger;
  #current: AccessPolicy;
  #failures = 0;

  /** @throws ExitError `usage` */
  constructor(path: string | null, log: Logger) {
    this.#path = path;
    this.#log = log;
    this.#current = path === null ? OPEN_POLICY : readPolicyFile(path);
  }

  get current(): AccessPolicy {
    return this.#current;
  }

  /** Times that the file could not be taken since it last could. */
  get failures(): number {
    return this.#failures;
  }

  /** A file that is not right changes nothing, and is told in the log. Whether it counts now. */
  reload(): boolean {
    if (this.#path === null) {
      this.#log.info("policy-reloaded", { message: "there is no --policy file; nothing changed" });
      return true;
    }
    try {
      this.#current = readPolicyFile(this.#path);
      this.#failures = 0;
      this.#log.info("policy-reloaded", { path: this.#path });
      return true;
    } catch (error) {
      this.#failures++;
      this.#log.error("policy-kept", { message: `the old policy stays in force: ${sentenceOf(error)}` });
      return false;
    }
  }
}
