/**
 * bun bench/ice/connect.ts [--runs 100]: two ICE agents in one process on one address. From the moment at which both sides have the
 * other's parameters and candidates to the first byte in both directions: this project beside werift-ice and node-datachannel
 * (libjuice), in turn, so that a noisy second hits all alike. Run by bench/ice/run.sh, in a network namespace with one address.
 */
import { parseArgs } from "node:util";
import { type IceServer, PeerConnection } from "node-datachannel";
import { Connection } from "werift-ice";
import { type Candidate, createIceConnection, type IceConnection } from "../../packages/ice/src/index.ts";

const { values } = parseArgs({ options: { runs: { type: "string", default: "100" } } });
const runs = Number(values.runs);
const LIMIT_MS = 10_000;
const BYTE = Buffer.from([1]);

/** Two agents that have gathered. `meet` hands over parameters and candidates. */
interface Duo {
  /** @returns the milliseconds at which both were through, by name of what was reached; the last is the first byte both ways. */
  meet(): Promise<ReadonlyMap<string, number>>;
  close(): Promise<void>;
}

async function ours(): Promise<Duo> {
  const a = await createIceConnection({ role: "controlling", taMs: 5 });
  const b = await createIceConnection({ role: "controlled", taMs: 5 });
  const [fromA, fromB] = await Promise.all([gathered(a), gathered(b)]);
  return {
    async meet() {
      const marks = new Marks();
      a.setRemoteParameters(b.local);
      for (const candidate of fromB) a.addRemoteCandidate(candidate);
      b.setRemoteParameters(a.local);
      for (const candidate of fromA) b.addRemoteCandidate(candidate);
      const greet = async (one: IceConnection): Promise<void> => {
        await one.connected();
        one.send(BYTE);
      };
      await Promise.all([greet(a), greet(b), first(a), first(b)]);
      return marks.and("data");
    },
    close: async () => void (await Promise.all([a.close(), b.close()])),
  };
}

const first = async (one: IceConnection): Promise<void> => {
  for await (const _ of one) return;
};

function gathered(one: IceConnection): Promise<readonly (Candidate | null)[]> {
  const found: (Candidate | null)[] = [];
  return new Promise((resolve) => {
    one.onCandidate = (candidate) => {
      found.push(candidate);
      if (!candidate) resolve(found);
    };
  });
}

async function werift(): Promise<Duo> {
  const options = { useIpv4: true, useIpv6: false, useTcp: false };
  const a = new Connection(true, options);
  const b = new Connection(false, options);
  await Promise.all([a.gatherCandidates(), b.gatherCandidates()]);
  const hand = async (from: Connection, to: Connection): Promise<void> => {
    to.setRemoteParams({ iceLite: false, usernameFragment: from.localUsername, password: from.localPassword });
    for (const candidate of from.localCandidates) await to.addRemoteCandidate(candidate);
    await to.addRemoteCandidate(undefined);
  };
  return {
    async meet() {
      const marks = new Marks();
      const heard = [a, b].map((one) => new Promise<void>((resolve) => one.onData.subscribe(() => resolve())));
      await Promise.all([hand(a, b), hand(b, a)]);
      await Promise.all([a, b].map((one) => one.connect().then(() => one.send(BYTE))));
      await Promise.all(heard);
      return marks.and("data");
    },
    close: async () => void (await Promise.all([a.close(), b.close()])),
  };
}

/** Its data come with DTLS and SCTP, which the two others do not have: so the moment at which ICE was connected is told as well. */
async function datachannel(): Promise<Duo> {
  const none: IceServer[] = [];
  const a = new PeerConnection("a", { iceServers: none });
  const b = new PeerConnection("b", { iceServers: none });
  const candidates = { a: [] as [string, string][], b: [] as [string, string][] };
  a.onLocalCandidate((candidate, mid) => candidates.a.push([candidate, mid]));
  b.onLocalCandidate((candidate, mid) => candidates.b.push([candidate, mid]));
  const complete = [a, b].map(
    (one) => new Promise<void>((resolve) => one.onGatheringStateChange((state) => state === "complete" && resolve())),
  );
  const described = [a, b].map(
    (one) => new Promise<string>((resolve) => one.onLocalDescription((sdp) => resolve(bare(sdp)))),
  );
  const connected = [a, b].map(
    (one) =>
      new Promise<void>((resolve) =>
        one.onIceStateChange((state) => (state === "connected" || state === "completed") && resolve()),
      ),
  );
  const heard = new Promise<void>((resolve) => {
    b.onDataChannel((channel) => {
      channel.onMessage(() => {
        resolve();
        channel.sendMessage("b");
      });
    });
  });
  const channel = a.createDataChannel("data");
  const answered = new Promise<void>((resolve) => channel.onMessage(() => resolve()));
  channel.onOpen(() => channel.sendMessage("a"));
  // The answerer makes its description from the offer; without candidates it can check nothing yet.
  const [offer, answer] = described as [Promise<string>, Promise<string>];
  b.setRemoteDescription(await offer, "offer");
  const answerText = await answer;
  await Promise.all(complete);
  return {
    async meet() {
      const marks = new Marks();
      a.setRemoteDescription(answerText, "answer");
      for (const [candidate, mid] of candidates.b) a.addRemoteCandidate(candidate, mid);
      for (const [candidate, mid] of candidates.a) b.addRemoteCandidate(candidate, mid);
      await Promise.all(connected);
      marks.and("ICE alone");
      await Promise.all([heard, answered]);
      return marks.and("data");
    },
    async close() {
      a.close();
      b.close();
    },
  };
}

/** A description without its candidates. */
const bare = (sdp: string): string =>
  sdp
    .split("\r\n")
    .filter((text) => !/^a=(candidate:|end-of-candidates)/.test(text))
    .join("\r\n");

class Marks {
  readonly #begun = performance.now();
  readonly #at = new Map<string, number>();

  and(name: string): ReadonlyMap<string, number> {
    return this.#at.set(name, performance.now() - this.#begun);
  }
}

function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${LIMIT_MS} ms`)), LIMIT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const contestants: readonly [string, () => Promise<Duo>][] = [
  ["@adit/ice", ours],
  ["werift-ice", werift],
  ["node-datachannel", datachannel],
];
const samples = new Map<string, number[]>();
const failures = new Map<string, number>();
for (let run = -2; run < runs; run++) {
  for (const [name, make] of contestants) {
    const duo = await within(make(), `${name}: gathering`);
    try {
      for (const [mark, ms] of await within(duo.meet(), name)) {
        const key = `${name}, ${mark}`;
        if (run >= 0) samples.set(key, [...(samples.get(key) ?? []), ms]);
      }
    } catch (error) {
      if (run >= 0) failures.set(`${error}`, (failures.get(`${error}`) ?? 0) + 1);
    } finally {
      await within(duo.close(), `${name}: closing`);
    }
  }
}
console.log(`first byte both ways, ${runs} runs`.padEnd(34), "     p50      p95      max   ms");
for (const [name, of] of samples) {
  const sorted = of.sort((x, y) => x - y);
  const at = (p: number) =>
    (sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN).toFixed(1).padStart(8);
  console.log(name.padEnd(34), at(0.5), at(0.95), at(1), of.length < runs ? `  ${of.length} of ${runs}` : "");
}
for (const [failure, count] of failures) console.log(`${count} x ${failure}`);
process.exit(0);
