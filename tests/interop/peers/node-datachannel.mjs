// A peer connection of libdatachannel (ICE by libjuice). The offerer controls.
import { PeerConnection } from "node-datachannel";
import { describe, sessionDescription } from "./description.mjs";
import { run, say } from "./lines.mjs";

let connection;
let offers;
const candidates = [];
let local = null;

run({
  start({ role, turn }) {
    offers = role === "controlling";
    const relay = turn && {
      hostname: turn.host,
      port: turn.port,
      username: turn.username,
      password: turn.password,
      relayType: { udp: "TurnUdp", tcp: "TurnTcp" }[turn.transport],
    };
    connection = new PeerConnection("peer", {
      iceServers: relay ? [relay] : [],
      iceTransportPolicy: relay ? "relay" : "all",
    });
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
