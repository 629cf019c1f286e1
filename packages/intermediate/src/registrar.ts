/** Whether a key gets the name that it asks for: the policy, the quotas, and who had it first. */
import type { Counters, Logger, Millis, SocketAddress } from "@adit/core";
import type { WireErrorCode } from "@adit/signaling";
import { type AccessPolicy, OPEN_POLICY } from "./access-policy.ts";
import { Accounts } from "./accounts.ts";
import { IpLimits } from "./ip-limits.ts";
import { MemoryNameStore, type NameStore, NameStoreError } from "./names/name-store.ts";

/** Names of peers, as the programs take them too. */
const NAME = /^[a-z0-9-]{1,40}$/;

export type RegistrationRefusal =
  | "policy-register"
  | "quota-names"
  | "ip-names"
  | "name-taken"
  | "names-full"
  | "names-unavailable";

export interface RegistrarOptions {
  /** Who owns which name; forgotten at the end of the process unless given. */
  readonly names?: NameStore | undefined;
  /** Asked at each request, so that a policy that was read anew counts at once. */
  readonly policy?: (() => AccessPolicy) | undefined;
  readonly accounts?: Accounts | undefined;
  readonly ipLimits?: IpLimits | undefined;
  /** Unix time, ms: when a name was taken. */
  readonly unixMs?: (() => number) | undefined;
}

export interface Refusal {
  readonly code: WireErrorCode;
  /** For the person at the other end. */
  readonly message: string;
}

interface Applicant {
  readonly peerId: string;
  readonly observed: SocketAddress;
}

export class Registrar {
  readonly policy: () => AccessPolicy;
  readonly accounts: Accounts;
  readonly #names: NameStore;
  readonly #ipLimits: IpLimits;
  readonly #unixMs: () => number;
  readonly #counters: Counters<RegistrationRefusal>;
  readonly #log: Logger;

  constructor(options: RegistrarOptions, counters: Counters<RegistrationRefusal>, log: Logger) {
    this.policy = options.policy ?? (() => OPEN_POLICY);
    this.accounts = options.accounts ?? new Accounts();
    this.#names = options.names ?? new MemoryNameStore();
    this.#ipLimits = options.ipLimits ?? new IpLimits(() => this.accounts.limits);
    this.#unixMs = options.unixMs ?? (() => Date.now());
    this.#counters = counters;
    this.#log = log;
  }

  /** Null when the name is this key's, now if not before. */
  deny(now: Millis, applicant: Applicant, name: string): Refusal | null {
    const { peerId } = applicant;
    if (!NAME.test(name)) return { code: "bad-message", message: "a name is 1 to 40 of a-z, 0-9 and -" };
    if (!this.policy().mayRegister(peerId, name)) {
      const message = `this intermediate's policy does not let ${peerId} register "${name}"; ask whoever runs it`;
      return this.#refuse(applicant, name, "policy-register", { code: "not-allowed", message });
    }
    if (!this.accounts.of(`peer:${peerId}`).takeRegistration(now)) {
      return { code: "too-many", message: "your key registers too often; wait a minute" };
    }
    try {
      return this.#take(now, applicant, name);
    } catch (error) {
      if (!(error instanceof NameStoreError)) throw error;
      this.#log.error("names-unavailable", { code: error.code, message: error.message });
      const message = "this intermediate cannot look up names just now; its operator has to look at its log";
      return this.#refuse(applicant, name, "names-unavailable", { code: "internal", message });
    }
  }

  /** While names cannot be read, everybody keeps his. */
  stillOwns(peerId: string, name: string): boolean {
    try {
      return this.#names.ownerOf(name) === peerId;
    } catch (error) {
      if (!(error instanceof NameStoreError)) throw error;
      this.#log.error("names-unavailable", { code: error.code, message: error.message });
      return true;
    }
  }

  #take(now: Millis, applicant: Applicant, name: string): Refusal | null {
    const { peerId, observed } = applicant;
    if (this.#names.ownerOf(name) === null && !this.#ipLimits.takeName(now, observed.ip)) {
      const message = "too many new names from your address; try later";
      return this.#refuse(applicant, name, "ip-names", { code: "too-many", message });
    }
    const taken = this.#names.take(name, peerId, this.#unixMs());
    switch (taken.is) {
      case "owned":
        if (taken.fresh) this.#log.info("name-taken", { name, peerId, address: observed.key });
        return null;
      case "foreign": {
        const message = `the name "${name}" belongs to another key; choose another one, or ask the operator`;
        return this.#refuse(applicant, name, "name-taken", { code: "name-taken", message });
      }
      case "too-many": {
        const full = taken.limit === "names";
        const message = full
          ? "this intermediate takes no new names; ask the operator"
          : "your key owns too many names; ask the operator to release some";
        return this.#refuse(applicant, name, full ? "names-full" : "quota-names", { code: "too-many", message });
      }
    }
  }

  #refuse({ peerId, observed }: Applicant, name: string, reason: RegistrationRefusal, refusal: Refusal): Refusal {
    this.#counters.add(reason);
    this.#log.info("registration-refused", { name, peerId, address: observed.key, reason });
    return refusal;
  }
}
