// node ice-meet.mjs NAME COMMAND...: meetings of IceConnection with a foreign peer, a process of its own each, in both roles. The
// peer speaks lines of JSON: it is told {start, role} and {remote: description}, it says {description}, {connected}, {error}.
// With ICE_TURN in the environment the peer relays over that server. The last line counts the meetings.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import {
  candidateOf,
  createIceConnection,
  formatCandidate,
  formatCandidateAttribute,
  parseCandidateAttribute,
} from "../../packages/ice/dist/src/index.js";

const [name, command, ...args] = process.argv.slice(2);
const LIMIT_MS = 20_000;
/** Long enough for a consent check each way (RFC 7675: 4 to 6 s). */
const CONSENT_MS = 7_000;

class Peer {
  #child;
  #waiting = new Map();
  #said = new Map();
  can = { data: false, sameRole: false };

  constructor() {
    this.#child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.#heard(line));
    this.#child.on("exit", (code) => this.#settle("error", { error: `the peer ended with ${code}` }));
    this.#child.stdin.on("error", () => {});
  }

  tell(message) {
    this.#child.stdin.write(`${JSON.stringify(message)}\n`);
  }

  /** The next time that it says something with this key. */
  says(key) {
    if (this.#said.has(key)) return Promise.resolve(this.#said.get(key));
    if (this.#said.has("error")) return Promise.reject(new Error(this.#said.get("error")));
    return new Promise((resolve, reject) => this.#waiting.set(key, { resolve, reject }));
  }

  async end() {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    if (this.#child.exitCode !== null) return;
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), 3_000);
    await ended;
    clearTimeout(timer);
  }

  #heard(line) {
    if (!line.startsWith("{")) return;
    const message = JSON.parse(line);
    for (const key of Object.keys(message)) this.#settle(key, message);
  }

  #settle(key, message) {
    this.#said.set(key, message[key]);
    this.#waiting.get(key)?.resolve(message[key]);
    if (key === "error") for (const { reject } of this.#waiting.values()) reject(new Error(message.error));
    this.#waiting.delete(key);
  }
}

function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function until(holds, ms, what) {
  const endsAt = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > endsAt) throw new Error(`${what}: not within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** TCP alone: `ours-passive`, the peer connects; `ours-active`, we do. */
const tcp = process.env.ICE_TCP ?? null;

function isTold({ transport, tcpType }) {
  if (tcp === null) return true;
  return transport === "tcp" && (tcp === "ours-passive" || tcpType === "active");
}

const isHeard = ({ transport, tcpType }) =>
  tcp === null || (transport === "tcp" && (tcp === "ours-active" || tcpType === "active"));

async function meeting({ ours, theirs, data, consentMs, turn = null }) {
  const peer = new Peer();
  const connection = await createIceConnection({ role: ours, tcp: tcp !== null });
  try {
    peer.tell({ start: true, role: theirs, turn });
    const candidates = [];
    const gathered = new Promise((resolve) => {
      connection.onCandidate = (candidate) => {
        if (candidate === null) resolve();
        else if (isTold(candidate)) candidates.push(formatCandidate(candidate));
      };
    });
    await within(LIMIT_MS, gathered, "gathering");
    const { ufrag, pwd } = connection.local;
    const offer = { ufrag, pwd, candidates };
    // An offerer speaks first: a browser that is to be controlled answers our description, and cannot describe itself before.
    if (theirs === "controlled") peer.tell({ remote: offer });
    const description = await within(LIMIT_MS, peer.says("description"), "the peer's description");
    if (theirs !== "controlled") peer.tell({ remote: offer });
    /** For each mDNS name whether it was resolved. */
    const hidden = [];
    for (const text of description.candidates) {
      const attribute = parseCandidateAttribute(text);
      if (!attribute) throw new Error(`cannot read ${text}`);
      const again = formatCandidateAttribute(attribute);
      if (again !== text.replace(/^a=/, "")) throw new Error(`${text} is written again as ${again}`);
      const candidate = candidateOf(attribute);
      if (attribute.address.endsWith(".local")) {
        if (isHeard(attribute)) hidden.push(await connection.addRemoteCandidateText(text));
      } else if (candidate && isHeard(candidate)) connection.addRemoteCandidate(candidate);
    }
    connection.addRemoteCandidate(null);
    const begun = performance.now();
    const { ufrag: theirUfrag, pwd: theirPwd, options = [] } = description;
    if (!connection.setRemoteParameters({ ufrag: theirUfrag, pwd: theirPwd, options })) {
      throw new Error(`parameters refused: ${JSON.stringify(description)}`);
    }
    await within(LIMIT_MS, connection.connected(), "our connection");
    await within(LIMIT_MS, peer.says("connected"), "the peer's connection");
    await until(() => connection.path?.nominated, LIMIT_MS, "nomination");
    const tookMs = performance.now() - begun;
    const { local, remote } = connection.path;
    if (process.env.ICE_MDNS && !(hidden.length > 0 && hidden.every(Boolean) && remote.mdnsName)) {
      throw new Error(`mDNS names were not resolved: ${JSON.stringify(hidden)}, ${remote.type} ${remote.mdnsName}`);
    }
    if (tcp && `ours-${local.tcpType}` !== tcp)
      throw new Error(`the path is ${local.transport} ${local.tcpType ?? ""}`);
    if (turn && remote.address.ip !== turn.host)
      throw new Error(`the path does not lead over the relay: ${remote.address.key}`);
    if (data) await exchange(connection);
    if (consentMs > 0) {
      const before = connection.path.consentUntil;
      await new Promise((resolve) => setTimeout(resolve, consentMs));
      if (!connection.path?.nominated) throw new Error("the nominated pair is gone");
      if (connection.path.consentUntil <= before) throw new Error("consent was not renewed");
      if (data) await exchange(connection);
    }
    return tookMs;
  } finally {
    await connection.close();
    await peer.end();
  }
}

/** The peer echoes what it gets. */
async function exchange(connection) {
  const reader = connection[Symbol.asyncIterator]();
  for (let i = 0; i < 10; i++) {
    connection.send(new TextEncoder().encode(`ping ${i}`));
    const { value } = await within(LIMIT_MS, reader.next(), "an echo");
    const text = new TextDecoder().decode(value);
    if (text !== `ping ${i}`) throw new Error(`sent "ping ${i}", got "${text}"`);
  }
}

const data = !process.env.ICE_ONLY;
const meetings = [];
if (process.env.ICE_TURN) {
  // The peer relays over a TURN server: "HOST:PORT USERNAME PASSWORD TRANSPORT...".
  const [server, username, password, ...transports] = process.env.ICE_TURN.split(" ");
  const [host, port] = server.split(":");
  for (const transport of transports) {
    const turn = { host, port: Number(port), username, password, transport };
    meetings.push({ ours: "controlling", theirs: "controlled", data, consentMs: 0, turn });
    meetings.push({ ours: "controlled", theirs: "controlling", data, consentMs: 0, turn });
  }
} else {
  meetings.push({ ours: "controlling", theirs: "controlled", data, consentMs: CONSENT_MS });
  meetings.push({ ours: "controlled", theirs: "controlling", data, consentMs: CONSENT_MS });
  if (data) {
    meetings.push({ ours: "controlling", theirs: "controlling", data, consentMs: 0 });
    meetings.push({ ours: "controlled", theirs: "controlled", data, consentMs: 0 });
  }
}
let failed = 0;
await Promise.all(
  meetings.map(async (one) => {
    const relayed = one.turn ? `, theirs relayed over ${one.turn.transport}` : "";
    const over = tcp === null ? "" : `, TCP, ${tcp}`;
    const title = `${name}: ours ${one.ours}, theirs ${one.theirs}${relayed}${over}`;
    try {
      const tookMs = await meeting(one);
      console.log(`ok ${title}, nominated after ${tookMs.toFixed(0)} ms`);
    } catch (error) {
      failed++;
      console.log(`FAILED ${title}: ${error.message}`);
    }
  }),
);
console.log(`${meetings.length - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
