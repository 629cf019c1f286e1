// A werift-ice connection that echoes datagrams.
import { Candidate, Connection } from "werift-ice";
import { run, say } from "./lines.mjs";

let connection;
run({
  async start({ role, turn }) {
    const relayed = turn && {
      turnServer: [turn.host, turn.port],
      turnUsername: turn.username,
      turnPassword: turn.password,
      turnTransport: turn.transport,
      forceTurn: true,
    };
    connection = new Connection(role === "controlling", { useIpv4: true, useIpv6: false, useTcp: false, ...relayed });
    connection.onData.subscribe((data) => void connection.send(data));
    await connection.gatherCandidates();
    const { localUsername: ufrag, localPassword: pwd, localCandidates } = connection;
    say({ description: { ufrag, pwd, candidates: localCandidates.map((one) => `candidate:${one.toSdp()}`) } });
  },
  async remote({ ufrag, pwd, candidates }) {
    connection.setRemoteParams({ iceLite: false, usernameFragment: ufrag, password: pwd });
    for (const text of candidates) {
      await connection.addRemoteCandidate(Candidate.fromSdp(text.slice("candidate:".length)));
    }
    await connection.addRemoteCandidate(undefined);
    await connection.connect();
    say({ connected: true });
  },
  async close() {
    await connection?.close();
  },
});
