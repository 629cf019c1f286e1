/**
 * `--policy FILE`: which keys may register which names, which keys may connect to what, and how much one key may use. Without a file
 * everybody may register free names and ask for any connector (which has a list of its own, empty by default).
 */
import { ExitError, isPeerId, readConfigFile, sentenceOf } from "@adit/program";
import { z } from "zod";
import { DEFAULT_LIMITS, type Limits } from "./limits.ts";

/** What somebody who asks for a connector, or is one, is known by. */
export interface Target {
  /** Null when it has none. */
  readonly name: string | null;
  readonly peerId: string;
}

interface RegisterRule {
  readonly keys: KeySet;
  readonly names: readonly string[];
}

interface ConnectRule {
  readonly keys: KeySet;
  readonly names: readonly string[];
  readonly peers: KeySet;
}

export class AccessPolicy {
  readonly limits: Limits;
  /** Null: no rules, everybody may. An empty list: nobody. */
  readonly #register: readonly RegisterRule[] | null;
  readonly #connect: readonly ConnectRule[] | null;

  constructor(rules: {
    readonly register?: readonly RegisterRule[] | null;
    readonly connect?: readonly ConnectRule[] | null;
    readonly limits?: Limits;
  }) {
    this.#register = rules.register ?? null;
    this.#connect = rules.connect ?? null;
    this.limits = rules.limits ?? DEFAULT_LIMITS;
  }

  mayRegister(peerId: string, name: string): boolean {
    if (this.#register === null) return true;
    return this.#register.some(
      ({ keys, names }) => keys.has(peerId) && names.some((pattern) => matches(pattern, name)),
    );
  }

  mayConnect(peerId: string, to: Target): boolean {
    if (this.#connect === null) return true;
    return this.#connect.some(
      ({ keys, names, peers }) =>
        keys.has(peerId) &&
        (peers.has(to.peerId) || names.some((pattern) => to.name !== null && matches(pattern, to.name))),
    );
  }
}

/** Nobody wrote one. */
export const OPEN_POLICY = new AccessPolicy({});

/** @throws ExitError `usage`, naming the file, the place in it, what stands there and what was expected. */
export function readPolicyFile(path: string): AccessPolicy {
  let content: unknown;
  try {
    content = readConfigFile(path);
  } catch (error) {
    throw new ExitError("usage", sentenceOf(error).replace(/^--config/, "--policy"), { cause: error });
  }
  return parsePolicy(path, content);
}

const key = z.string().refine((text) => text === "any" || text.startsWith("group:") || isPeerId(text), {
  error: "expected a PeerId (52 characters), group:NAME or any",
});
const namePattern = z.string().regex(/^[a-z0-9*-]{1,40}$/, {
  error: "expected a name of a-z, 0-9 and -, in which * stands for any characters",
});
const target = z.string().refine((text) => key.safeParse(text).success || namePattern.safeParse(text).success, {
  error: "expected a name (* stands for any characters), a PeerId, group:NAME or any",
});
const amount = z.int({ error: "expected a whole number" }).min(1, { error: "expected 1 or more" });

const limitsSchema = z.strictObject({
  "allocations-per-key": amount.optional(),
  "sessions-per-key": amount.optional(),
  "messages-per-second": amount.optional(),
  "registrations-per-minute": amount.optional(),
  "relay-bytes-per-second": amount.optional(),
  "relay-bytes-per-day": amount.optional(),
  "clients-per-ip": amount.optional(),
  "allocations-per-ip": amount.optional(),
  "sessions-per-ip": amount.optional(),
  "handshakes-per-ip-per-second": amount.optional(),
  "challenges-per-ip-per-second": amount.optional(),
  "new-names-per-ip-per-hour": amount.optional(),
});

const schema = z.strictObject({
  groups: z
    .record(z.string(), z.array(z.string().refine(isPeerId, { error: "expected a PeerId (52 characters)" })))
    .optional(),
  register: z.array(z.strictObject({ keys: z.array(key), names: z.array(namePattern).default(["*"]) })).optional(),
  connect: z.array(z.strictObject({ keys: z.array(key), to: z.array(target).default(["*"]) })).optional(),
  limits: limitsSchema.optional(),
});

/** @throws ExitError `usage` */
export function parsePolicy(path: string, content: unknown): AccessPolicy {
  const parsed = schema.safeParse(content);
  if (!parsed.success) {
    throw new ExitError("usage", parsed.error.issues.map((issue) => `${path}: ${inWords(issue, content)}`).join("\n"));
  }
  const { groups = {}, register, connect, limits = {} } = parsed.data;
  const keySet = (keys: readonly string[]): KeySet => KeySet.of(path, keys, groups);
  return new AccessPolicy({
    register: register?.map(({ keys, names }) => ({ keys: keySet(keys), names })) ?? null,
    connect:
      connect?.map(({ keys, to }) => ({
        keys: keySet(keys),
        names: to.filter(isNamePattern),
        peers: keySet(to.filter((text) => !isNamePattern(text))),
      })) ?? null,
    limits: {
      allocationsPerKey: limits["allocations-per-key"] ?? DEFAULT_LIMITS.allocationsPerKey,
      sessionsPerKey: limits["sessions-per-key"] ?? DEFAULT_LIMITS.sessionsPerKey,
      messagesPerSecond: limits["messages-per-second"] ?? DEFAULT_LIMITS.messagesPerSecond,
      registrationsPerMinute: limits["registrations-per-minute"] ?? DEFAULT_LIMITS.registrationsPerMinute,
      relayBytesPerSecond: limits["relay-bytes-per-second"] ?? DEFAULT_LIMITS.relayBytesPerSecond,
      relayBytesPerDay: limits["relay-bytes-per-day"] ?? DEFAULT_LIMITS.relayBytesPerDay,
      clientsPerIp: limits["clients-per-ip"] ?? DEFAULT_LIMITS.clientsPerIp,
      allocationsPerIp: limits["allocations-per-ip"] ?? DEFAULT_LIMITS.allocationsPerIp,
      sessionsPerIp: limits["sessions-per-ip"] ?? DEFAULT_LIMITS.sessionsPerIp,
      handshakesPerIpPerSecond: limits["handshakes-per-ip-per-second"] ?? DEFAULT_LIMITS.handshakesPerIpPerSecond,
      challengesPerIpPerSecond: limits["challenges-per-ip-per-second"] ?? DEFAULT_LIMITS.challengesPerIpPerSecond,
      newNamesPerIpPerHour: limits["new-names-per-ip-per-hour"] ?? DEFAULT_LIMITS.newNamesPerIpPerHour,
    },
  });
}

/** Names have no colon and are shorter than a PeerId; `any` is a key. */
const isNamePattern = (text: string): boolean => text !== "any" && text.length <= 40 && !text.includes(":");

/** Whether the whole name fits, `*` standing for any characters. Takes pattern times name steps at most. */
function matches(pattern: string, name: string): boolean {
  let at = 0;
  let star = -1;
  let restart = 0;
  let i = 0;
  while (i < name.length) {
    if (pattern[at] === "*") {
      star = at++;
      restart = i;
    } else if (pattern[at] === name[i]) {
      at++;
      i++;
    } else if (star >= 0) {
      at = star + 1;
      i = ++restart;
    } else return false;
  }
  while (pattern[at] === "*") at++;
  return at === pattern.length;
}

function inWords(issue: z.core.$ZodIssue, content: unknown): string {
  const place = issue.path.map(String).join(".");
  if (issue.code === "unrecognized_keys") {
    return `unknown key ${issue.keys.join(", ")}${place ? ` in ${place}` : ""}; see docs/operations.md`;
  }
  let value: unknown = content;
  for (const step of issue.path) value = (value as Record<PropertyKey, unknown> | undefined)?.[step];
  return `${place} = ${JSON.stringify(value)}: ${issue.message}`;
}

class KeySet {
  readonly #everybody: boolean;
  readonly #keys: ReadonlySet<string>;

  private constructor(everybody: boolean, keys: ReadonlySet<string>) {
    this.#everybody = everybody;
    this.#keys = keys;
  }

  static of(path: string, keys: readonly string[], groups: Readonly<Record<string, readonly string[]>>): KeySet {
    const all = keys.flatMap((key) => {
      if (!key.startsWith("group:")) return key;
      const members = Object.hasOwn(groups, key.slice(6)) ? groups[key.slice(6)] : undefined;
      if (members) return members;
      throw new ExitError("usage", `${path}: "${key}" is used, and there is no such group under [groups]`);
    });
    return new KeySet(all.includes("any"), new Set(all));
  }

  has(peerId: string): boolean {
    return this.#everybody || this.#keys.has(peerId);
  }
}
