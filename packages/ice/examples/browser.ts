/**
 * ICE with a browser: `bun packages/ice/examples/browser.ts [PORT]`, then open the address that it prints. The page makes an offer as any
 * WebRTC page does; this side answers with its own ICE parameters and candidates and connects. What comes over the path then
 * is the browser's DTLS, which this package does not speak: hand it to a DTLS stack, together with `connection.send`.
 */
import { createServer } from "node:http";
import {
  type Candidate,
  candidateOf,
  createIceConnection,
  formatCandidate,
  formatIceDescription,
  type IceConnection,
  parseCandidateAttribute,
  parseIceDescription,
} from "@adit/ice";

const MAX_OFFER_BYTES = 64 * 1024;
/** A connection is closed this long after it was made: nobody speaks over it. */
const STAY_MS = 10_000;

const page = `<!doctype html><title>ICE</title><pre id="log"></pre><script type="module">
const log = (text) => { document.getElementById("log").textContent += text + "\\n"; };
const connection = new RTCPeerConnection();
connection.oniceconnectionstatechange = () => log("ICE: " + connection.iceConnectionState);
connection.createDataChannel("data");
await connection.setLocalDescription(await connection.createOffer());
await new Promise((resolve) => { connection.onicecandidate = ({ candidate }) => candidate ?? resolve(); });
const response = await fetch("/offer", { method: "POST", body: connection.localDescription.sdp });
await connection.setRemoteDescription({ type: "answer", sdp: await response.text() });
</script>`;

const server = createServer(async (request, response) => {
  if (request.method !== "POST") return void response.setHeader("content-type", "text/html").end(page);
  let offer = "";
  for await (const chunk of request) {
    offer += chunk;
    if (offer.length > MAX_OFFER_BYTES) return void response.writeHead(413).end();
  }
  const answer = await answerTo(offer);
  response.writeHead(answer ? 200 : 400).end(answer ?? "no ICE parameters in the offer");
});
server.listen(Number(process.argv[2] ?? 8080), "127.0.0.1", () => {
  const address = server.address();
  console.log(`open http://127.0.0.1:${typeof address === "object" ? address?.port : address}/`);
});

/** The answer, when all candidates are known: with trickle (RFC 8838) they would follow one by one. */
async function answerTo(offer: string): Promise<string | null> {
  const theirs = parseIceDescription(offer);
  if (!theirs.parameters) return null;
  // The offerer controls (RFC 8445 §6.1.1), so this side is controlled.
  const ours = await createIceConnection({ role: "controlled" });
  const candidates = await gathered(ours);
  ours.setRemoteParameters(theirs.parameters);
  for (const attribute of theirs.candidates) {
    // A browser hides its host addresses behind names (mDNS). Its checks come all the same, and tell where from.
    const candidate = candidateOf(attribute);
    if (candidate) ours.addRemoteCandidate(candidate);
  }
  ours.addRemoteCandidate(null);
  void follow(ours);
  const ice = formatIceDescription({
    parameters: ours.local,
    candidates: candidates.flatMap((candidate) => parseCandidateAttribute(formatCandidate(candidate)) ?? []),
    ended: true,
    lite: false,
    pacingMs: null,
  });
  const mid = /^a=mid:(\S+)/m.exec(offer)?.[1] ?? "0";
  return [
    "v=0",
    "o=- 1 1 IN IP4 127.0.0.1",
    "s=-",
    "t=0 0",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "c=IN IP4 0.0.0.0",
    `a=mid:${mid}`,
    "a=setup:active",
    "a=sctp-port:5000",
    // That of your DTLS certificate. Without DTLS any will do: ICE connects, and the page waits for a handshake that does not come.
    `a=fingerprint:sha-256 ${Array.from({ length: 32 }, () => "00").join(":")}`,
    ice,
  ].join("\r\n");
}

function gathered(connection: IceConnection): Promise<readonly Candidate[]> {
  const found: Candidate[] = [];
  return new Promise((resolve) => {
    connection.onCandidate = (candidate) => (candidate ? found.push(candidate) : resolve(found));
  });
}

/** Says how it goes, and ends a while later. */
async function follow(connection: IceConnection): Promise<void> {
  try {
    const { remote, rttMs } = await connection.connected();
    console.log(
      `connected to ${remote.type} ${remote.address.key}${rttMs === null ? "" : ` in ${rttMs.toFixed(1)} ms`}`,
    );
  } catch (error) {
    console.log(`not connected: ${error instanceof Error ? error.message : error}`);
  }
  setTimeout(() => void connection.close(), STAY_MS);
}
