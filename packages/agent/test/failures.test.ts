import { test } from "@adit/harness";
import { ExitError, type Pins } from "@adit/program";
import { SessionError, type SessionErrorCode } from "@adit/transport";
import { isPermanent, sessionFailure } from "../src/failures.ts";

const OWN = "a".repeat(52);
const OTHER = "b".repeat(52);

const fail = (code: SessionErrorCode, said: string, pinned: string | null = null, name = "office"): ExitError => {
  const pins = {
    get: () => pinned,
    changed: (_kind: string, key: string, before: string) => `${key} was ${before}`,
  } as unknown as Pins;
  const target = { kind: "name", name } as const;
  const context = { target, peerId: OWN, waitMs: 10_000, intermediate: "192.0.2.1:4433", pins };
  const failure = sessionFailure(new SessionError(code, said), context);
  if (!(failure instanceof ExitError)) throw new Error(`${code} is no exit`);
  return failure;
};

test("who is not let in reads the option that would, once, and who it was that refused", (t) => {
  const bare = fail("not-allowed", "this peer is not on the list").message;
  t.match(bare, /^office does not let this agent in: .*; whoever runs it can let this agent in with --allow a{52}$/);
  const told = fail("not-allowed", `the connector does not allow ${OWN}; add --allow ${OWN}`).message;
  t.equal(told.split("--allow").length, 2);
  const byPolicy = fail(
    "not-allowed",
    `this intermediate's policy does not let ${OWN} connect to "office"; ask whoever runs it`,
  );
  t.notOk(byPolicy.message.includes("--allow"), "which would not help");
  t.match(fail("not-allowed", "this intermediate takes listed keys").message, /^the intermediate 192\.0\.2\.1:4433 /);
});

test("each end of an attempt has its exit status, and what cannot be helped by asking again is permanent", (t) => {
  const codes: readonly (readonly [SessionErrorCode, string])[] = [
    ["not-found", "not-found"],
    ["refused", "refused"],
    ["intermediate-changed", "refused"],
    ["unsupported-version", "refused"],
    ["timeout", "timeout"],
    ["intermediate-unreachable", "timeout"],
    ["closed", "failure"],
  ];
  for (const [code, exit] of codes) t.equal(fail(code, "said").code, exit, code);
  t.match(fail("not-found", "said").message, /no connector named office was found at 192\.0\.2\.1:4433 within 10 s/);
  t.match(fail("not-found", "said", null, "adit1abc").message, /; if it was to be a ticket, it is cut short$/);
  t.match(
    fail("intermediate-unreachable", "it does not answer").message,
    /^it does not answer; adit-agent netcheck --intermediate 192\.0\.2\.1:4433 tells/,
  );
  t.equal(fail("peer-changed", "another key", OTHER).message, `office was ${OTHER}`);
  t.equal(fail("peer-changed", "another key").message, "another key", "nothing is pinned: nothing is to be forgotten");
  const permanent = codes.filter(([code]) => isPermanent(new SessionError(code, "said"))).map(([code]) => code);
  t.same(permanent, ["refused", "intermediate-changed", "unsupported-version"]);
});
