import { type Outlook, outlookOf } from "@adit/ice";
import type { NetcheckReport } from "./report.ts";

type Known = Pick<NetcheckReport, "udp" | "tcp" | "intercepted" | "signIn" | "nat" | "portMapping" | "intermediates">;

/** What sessions will be like from here. */
export function expectation(known: Known): NetcheckReport["expect"] {
  const direct = directOutlook(known);
  const { intermediates, udp, tcp } = known;
  const answers = udp === true || tcp === true;
  const relay = intermediates.length > 0 ? intermediates.some(({ connected }) => connected) : answers ? null : false;
  const counts = direct === "few" && known.nat?.portDelta != null;
  const sentence = answers ? `${sentenceOf(direct, relay, known)}${counts ? COUNTS : ""}` : silence(known);
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

/** Null: not known. */
function directOutlook({ udp, nat, portMapping }: Known): Outlook | null {
  if (udp !== true) return udp === false ? "none" : null;
  if (portMapping?.public) return "all";
  if (nat === null) return null;
  const { mapping, filtering, present } = nat;
  if (!present) return outlookOf("EIM", filtering);
  return mapping === null ? null : outlookOf(mapping, filtering);
}

function sentenceOf(direct: Outlook | null, relay: boolean | null, { portMapping }: Known): string {
  const relayed = relay === false ? "and no intermediate answers that could relay" : "relayed";
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
