/**
 * Two peers in one process: `bun packages/ice/examples/two-peers.ts [stun HOST:PORT] [turn HOST:PORT USER PASSWORD]`.
 * What one says about itself is handed to the other here by a function call; between two machines any channel will do.
 */
import { createIceConnection, formatCandidate, type IceConnection, parseCandidate } from "@adit/ice";

const [stun, turn, user = "", password = ""] = servers(process.argv.slice(2));
const options = {
  stunServers: stun ? [stun] : [],
  turnServers: turn ? [{ address: turn, username: user, password }] : [],
};
const alice = await createIceConnection({ role: "controlling", ...options });
const bob = await createIceConnection({ role: "controlled", ...options });

const gathered = [introduce("alice", alice, bob), introduce("bob", bob, alice)];

await Promise.all([alice.connected(), bob.connected()]);
alice.send(new TextEncoder().encode("hello, bob"));
for await (const datagram of bob) {
  console.log(`bob got "${new TextDecoder().decode(datagram)}"`);
  break;
}

// The first path is there long before the last candidate: here they are waited for, to show them all.
await Promise.all(gathered);
const { path } = alice;
console.log(
  `alice sends from ${path?.local.type} ${path?.local.address.key} to ${path?.remote.type} ${path?.remote.address.key}`,
);
for (const pair of alice.stats) {
  const trip = pair.rttMs === null ? "" : `, ${pair.rttMs.toFixed(1)} ms`;
  const why = pair.nominatedBecause ?? pair.failure ?? "";
  console.log(`  ${pair.local.type} -> ${pair.remote.type} ${pair.remote.address.key}: ${pair.state}${trip} ${why}`);
}
await Promise.all([alice.close(), bob.close()]);

/** Sends parameters and candidates over: lines of text, as they would travel by any signaling. Resolves after the last candidate. */
function introduce(name: string, from: IceConnection, to: IceConnection): Promise<void> {
  to.setRemoteParameters(from.local);
  return new Promise((resolve) => {
    from.onCandidate = (candidate) => {
      if (candidate) console.log(`${name}: ${formatCandidate(candidate)}`);
      else resolve();
      to.addRemoteCandidate(candidate && parseCandidate(formatCandidate(candidate)));
    };
  });
}

function servers(words: readonly string[]): (string | undefined)[] {
  const stunAt = words.indexOf("stun");
  const turnAt = words.indexOf("turn");
  return [stunAt < 0 ? undefined : words[stunAt + 1], ...(turnAt < 0 ? [] : words.slice(turnAt + 1, turnAt + 4))];
}
