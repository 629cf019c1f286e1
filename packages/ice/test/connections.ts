import { fromUtf8, utf8 } from "@adit/core";
import type { T } from "@adit/harness";
import type { Candidate } from "../src/candidate.ts";
import { createIceConnection, type IceConnection } from "../src/driver/connection.ts";
import type { IceConnectionOptions } from "../src/driver/options.ts";

export const loopback = { bind: ["127.0.0.1"] };

/** Two connections of which each hears the other's parameters and candidates at once; and what the first found. */
export async function connect(
  t: T,
  a: Partial<IceConnectionOptions> = {},
  b: Partial<IceConnectionOptions> = {},
): Promise<readonly [IceConnection, IceConnection, Candidate[]]> {
  const left = await createIceConnection({ role: "controlling", ...loopback, ...a });
  t.teardown(() => left.close());
  const right = await createIceConnection({ role: "controlled", ...loopback, ...b });
  t.teardown(() => right.close());
  const candidates: Candidate[] = [];
  left.setRemoteParameters(right.local);
  right.setRemoteParameters(left.local);
  left.onCandidate = (candidate) => {
    if (candidate) candidates.push(candidate);
    right.addRemoteCandidate(candidate);
  };
  right.onCandidate = (candidate) => left.addRemoteCandidate(candidate);
  return [left, right, candidates];
}

export async function exchange(t: T, a: IceConnection, b: IceConnection): Promise<void> {
  const [atA, atB] = [a[Symbol.asyncIterator](), b[Symbol.asyncIterator]()];
  for (let i = 0; i < 20; i++) {
    t.ok(a.send(utf8(`ping ${i}`)));
    t.equal(fromUtf8(t.must((await atB.next()).value)), `ping ${i}`);
    t.ok(b.send(utf8(`pong ${i}`)));
    t.equal(fromUtf8(t.must((await atA.next()).value)), `pong ${i}`);
  }
}
