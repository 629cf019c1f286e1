// A peer connection of libdatachannel (ICE by libjuice). The offerer controls.
import { PeerConnection } from "node-datachannel";
import { describe, sessionDescription } from "./description.mjs";
import { run, say } from "./lines.mjs";

let connection;
let offers;
const candidates = [];
let local = null;

run({
  start({ role }) {
    offers = role === "controlling";
    connection = new PeerConnection("peer", { iceServers: [] });
    connection.onLocalDescription((sdp) => {
      local = sdp;
    });
    connection.onLocalCandidate((candidate) => candidates.push(candidate));
    connection.onGatheringStateChange((state) => {
      if (state === "complete") say({ description: describe(local, candidates) });
    });
    connection.onIceStateChange((state) => {
      if (state === "connected" || state === "completed") say({ connected: true });
      if (state === "failed") say({ error: "libdatachannel: ICE failed" });
    });
    if (offers) connection.createDataChannel("data");
  },
  remote(remote) {
    const type = offers ? "answer" : "offer";
    connection.setRemoteDescription(sessionDescription({ type, ...remote }), type);
  },
  close() {
    connection?.close();
  },
});
