import type { PortMapReport } from "./driver.ts";
import type { PortMapProtocol } from "./types.ts";

const NAME: Readonly<Record<PortMapProtocol, string>> = { pcp: "PCP", "nat-pmp": "NAT-PMP", upnp: "UPnP" };

/** What came of asking the router, as a clause for a person. */
export function explainPortMap({ gateway, lease, protocols, isSettled }: PortMapReport): string {
  if (lease) {
    const made = `${lease.external} at the router ${lease.gateway} by ${NAME[lease.protocol]}`;
    if (lease.isPublic) return lease.lifetimeMs === null ? `${made}, until it is removed` : made;
    return `${made}, but that address is not public: there is another NAT behind the router`;
  }
  if (gateway === null) return isSettled ? "no router was found" : "looking for a router";
  if (!isSettled) return `asking the router ${gateway}`;
  const present = protocols.filter(({ status: { kind } }) => kind === "present");
  if (present.length > 0)
    return `the router ${gateway} speaks ${present.map(({ protocol }) => NAME[protocol]).join(", ")}`;
  const refusals = protocols.flatMap(({ protocol, status }) =>
    status.kind === "refused" ? [`${NAME[protocol]}: ${status.why}`] : [],
  );
  if (refusals.length > 0) return `the router ${gateway} refuses (${refusals.join("; ")})`;
  if (protocols.length === 0)
    return `not made, as the socket is not bound to the address that leads to the router ${gateway}`;
  return `the router ${gateway} speaks neither ${protocols.map(({ protocol }) => NAME[protocol]).join(" nor ")}`;
}
