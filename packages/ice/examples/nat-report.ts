/**
 * What a NAT makes of our packets: `bun packages/ice/examples/nat-report.ts HOST:PORT`, a STUN server with two addresses (RFC 5780),
 * such as `adit-intermediate --alternate-address`. With a server that has one address it says what can be said.
 */
import { discoverNat } from "@adit/ice";

const [server] = process.argv.slice(2);
if (!server) {
  console.error("usage: nat-report.ts HOST:PORT (of a STUN server)");
  process.exit(2);
}
const report = await discoverNat({ server });
const say = (what: string, value: unknown): void => console.log(`${what.padEnd(18)}${value ?? "not known"}`);
const yesNo = (value: boolean | null): string | null => (value === null ? null : value ? "yes" : "no");
say("NAT", yesNo(report.nat));
say("public address", report.mapped?.key);
say("mapping", report.mapping);
say("filtering", report.filtering);
say("hairpinning", yesNo(report.hairpin));
say("ports preserved", yesNo(report.portsPreserved));
say("port step", report.portDelta);
console.log(report.reason);
process.exitCode = report.nat === null ? 1 : 0;
