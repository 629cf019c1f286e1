import { type Outlook, outlookOf } from "@adit/ice";
import type { NetcheckReport } from "./report.ts";

type Known = Pick<
  NetcheckReport,
  "udp" | "tcp" | "intercepted" | "signIn" | "ipv4" | "ipv6" | "nat" | "portMapping" | "intermediates"
>;

/** What sessions will be like from here. */
export function expectation(known: Known): NetcheckReport["expect"] {
  const direct = directOutlook(known);
  const { intermediates, udp, tcp } = known;
  const answers = udp === true || tcp === true;
  const relay = intermediates.length > 0 ? intermediates.some(({ connected }) => connected) : answers ? null : false;
  const counts = direct === "few" && known.nat?.portDelta != null;
  const also = `${counts ? COUNTS : ""}${hasIpv6(known) && (direct === "few" || direct === "most") ? IPV6_TOO : ""}`;
  const sentence = answers ? `${sentenceOf(direct, relay, known)}${also}` : silence(known);
  return { direct, relay, sentence };
}

const silence = ({ intercepted, signIn }: Known): string => {
  if (!intercepted) return NOTHING;
  const where = signIn === null ? "open any page in a browser" : `open ${signIn} in a browser`;
  return `Something answers in place of the server, as captive portals do: ${where}, sign in, and try again.`;
};

const NOTHING =
  "Nothing answers, so no session begins from here: this network lets neither UDP nor TCP out to the server, or the server is not there.";

const COUNTS =
  " The NAT's ports count up, so that they can often be foretold: then also with those whose NAT is EIM with APDF.";

const IPV6_TOO = " Direct with all that have IPv6, as this side does: no NAT is in the way there.";

/** Beside IPv4. */
const hasIpv6 = ({ ipv4, ipv6 }: Known): boolean => ipv4 !== null && ipv6 !== null && !ipv6.nat;
const isIpv6Alone = ({ ipv4, ipv6 }: Known): boolean => ipv4 === null && ipv6 !== null;

/** Null: not known. */
function directOutlook(known: Known): Outlook | null {
  const { udp, nat, portMapping } = known;
  if (udp !== true) return udp === false ? "none" : null;
  if (isIpv6Alone(known)) return "few";
  if (portMapping?.public) return "all";
  if (nat === null) return null;
  const { mapping, filtering, present } = nat;
  if (!present) return outlookOf("EIM", filtering);
  return mapping === null ? null : outlookOf(mapping, filtering);
}

function sentenceOf(direct: Outlook | null, relay: boolean | null, known: Known): string {
  const { portMapping } = known;
  const relayed = relay === false ? "and no intermediate answers that could relay" : "relayed";
  if (direct !== "none" && isIpv6Alone(known))
    return `Direct with peers that have IPv6; ${relayed} with those that have IPv4 alone, over which no server answered.`;
  switch (direct) {
    case "all":
      return portMapping?.public
        ? "Direct with every peer whose network lets UDP out: the router opens a port."
        : "Direct with every peer whose network lets UDP out.";
    case "most":
      return `Direct with most peers; ${relayed} with those whose NAT gives each destination another port (APDM).`;
    case "few":
      return `Direct with peers that have a public address, a mapped port, or a NAT that lets in all ports of a host (EIM with EIF or ADF); ${relayed} with others.`;
    case "none":
      return relay === false
        ? "Never direct, as UDP is blocked; and no intermediate answers that could relay."
        : "Never direct, as UDP is blocked; sessions are relayed over TCP.";
    default:
      return relay === false
        ? "No intermediate answers, so no session begins from here."
        : "Relayed at least; with whom it is direct cannot be said, as the kind of NAT is not known.";
  }
}
