// A peer connection in a headless Chromium. The page fetches what it is told and posts what it says; the offerer controls.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { attribute, describe, sessionDescription } from "./description.mjs";
import { run, say } from "./lines.mjs";

/** Runs in the page. */
const page = async () => {
  const post = (path, body) => fetch(path, { method: "POST", body: JSON.stringify(body) });
  try {
    const { offers, remote, configuration } = await (await fetch("/start")).json();
    const connection = new RTCPeerConnection(configuration);
    const candidates = [];
    const gathered = new Promise((resolve) => {
      connection.onicecandidate = ({ candidate }) =>
        candidate?.candidate ? candidates.push(candidate.candidate) : candidate === null && resolve();
    });
    connection.oniceconnectionstatechange = () => post("/state", connection.iceConnectionState);
    if (offers) {
      connection.createDataChannel("data");
      await connection.setLocalDescription(await connection.createOffer());
    } else {
      await connection.setRemoteDescription({ type: "offer", sdp: remote });
      await connection.setLocalDescription(await connection.createAnswer());
    }
    await gathered;
    await post("/description", { sdp: connection.localDescription.sdp, candidates });
    if (offers) await connection.setRemoteDescription({ type: "answer", sdp: await (await fetch("/answer")).text() });
  } catch (error) {
    await post("/error", String(error));
  }
};

const profile = mkdtempSync(join(tmpdir(), "adit-chromium-"));
let browser = null;
let offers = false;
let configuration = {};
let told = null;
const asked = [];

const server = createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  const answer = () => response.end(sessionDescription({ type: "answer", ...told }));
  switch (request.url) {
    case "/":
      response.setHeader("content-type", "text/html");
      response.end(`<script>(${page})()</script>`);
      return;
    case "/start": {
      const remote = offers ? null : sessionDescription({ type: "offer", ...told });
      response.end(JSON.stringify({ offers, remote, configuration }));
      return;
    }
    case "/answer":
      if (told) answer();
      else asked.push(answer);
      return;
    case "/description": {
      const { sdp, candidates } = JSON.parse(body);
      if (!attribute(sdp, "ice-ufrag")) say({ error: `no ice-ufrag in ${sdp}` });
      say({ description: describe(sdp, candidates) });
      break;
    }
    case "/state": {
      const state = JSON.parse(body);
      if (state === "connected" || state === "completed") say({ connected: true });
      if (state === "failed") say({ error: "Chromium: ICE failed" });
      break;
    }
    case "/error":
      say({ error: JSON.parse(body) });
      break;
  }
  response.end();
});

async function launch() {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  browser = spawn(
    process.env.CHROMIUM,
    [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--disable-background-networking",
      // By default host candidates carry names of mDNS in place of addresses.
      ...(process.env.CHROMIUM_MDNS ? [] : ["--disable-features=WebRtcHideLocalIpsWithMdns"]),
      "--remote-debugging-port=0",
      `--user-data-dir=${profile}`,
      `http://127.0.0.1:${server.address().port}/`,
    ],
    // A process group of its own: what is started here is a script, and the browser has helpers.
    { stdio: "ignore", detached: true },
  );
  browser.on("error", (error) => say({ error: `Chromium: ${error.message}` }));
}

/** False: nobody is left in that process group. */
function signalGroup(pid, signal) {
  try {
    return process.kill(-pid, signal);
  } catch (error) {
    if (error.code === "ESRCH") return false;
    throw error;
  }
}

run({
  async start({ role, turn }) {
    offers = role === "controlling";
    if (turn) {
      const { host, port, transport, username, password: credential } = turn;
      const urls = `turn:${host}:${port}?transport=${transport}`;
      configuration = { iceServers: [{ urls, username, credential }], iceTransportPolicy: "relay" };
    }
    if (offers) await launch();
  },
  async remote(remote) {
    told = remote;
    if (!offers) await launch();
    for (const answer of asked) answer();
  },
  async close() {
    if (browser?.pid !== undefined) {
      // Until the kernel has taken the last of them they write to the profile.
      while (signalGroup(browser.pid, "SIGKILL")) await sleep(10);
    }
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  },
});
