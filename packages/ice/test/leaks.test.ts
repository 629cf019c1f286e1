/** What is closed holds nothing: a program that has nothing left but closed connections ends by itself, with the descriptors it began with. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { isBun, test } from "@adit/harness";

const index = new URL(isBun ? "../src/index.ts" : "../src/index.js", import.meta.url).href;
/** A program that is still there then is held by something. */
const LIMIT_MS = 10_000;

const PREAMBLE = `
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { readdirSync } from "node:fs";
import { createIceConnection, discoverNat } from ${JSON.stringify(index)};
const descriptors = () => (process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0);
// The runtime opens some of its own with the first sockets.
await (await createIceConnection({ role: "controlled", bind: ["127.0.0.1"], tcp: true })).close();
const before = descriptors();
const silent = createSocket("udp4").unref();
await new Promise((done) => silent.bind(0, "127.0.0.1", done));
const server = "127.0.0.1:" + silent.address().port;
`;
const EPILOGUE = `
await new Promise((done) => silent.close(done));
// Sockets are closed behind the back of who asks.
for (let i = 0; i < 100 && descriptors() > before; i++) await new Promise((done) => setTimeout(done, 20));
console.log(descriptors() - before);
`;

const CASES: readonly (readonly [name: string, body: string])[] = [
  [
    "two connected peers",
    `const a = await createIceConnection({ role: "controlling", bind: ["127.0.0.1"] });
     const b = await createIceConnection({ role: "controlled", bind: ["127.0.0.1"] });
     a.setRemoteParameters(b.local);
     b.setRemoteParameters(a.local);
     a.onCandidate = (candidate) => b.addRemoteCandidate(candidate);
     b.onCandidate = (candidate) => a.addRemoteCandidate(candidate);
     await Promise.all([a.connected(), b.connected()]);
     await Promise.all([a.close(), b.close()]);`,
  ],
  [
    "in the middle of gathering, with servers that do not answer, and watched interfaces",
    `const one = await createIceConnection({ role: "controlling", stunServers: [server], watchNetwork: true, tcp: true,
       turnServers: [{ address: server, username: "u", password: "p" }] });
     await one.close();`,
  ],
  ["a NAT report that was aborted", `await discoverNat({ server, signal: AbortSignal.timeout(50) }).catch(() => {});`],
];

for (const [name, body] of CASES) {
  test(`nothing is left of: ${name}`, async (t) => {
    const args = isBun ? ["-e", PREAMBLE + body + EPILOGUE] : ["--input-type=module", "-e", PREAMBLE + body + EPILOGUE];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let err = "";
    child.stdout.on("data", (data) => (out += data));
    child.stderr.on("data", (data) => (err += data));
    const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
    const status = await new Promise((resolve) => child.once("close", (code, signal) => resolve(signal ?? code)));
    clearTimeout(timer);
    t.equal(status, 0, `the program ended with ${status}: ${err}`);
    if (existsSync("/proc/self/fd")) t.equal(out.trim(), "0", "descriptors left");
  });
}
