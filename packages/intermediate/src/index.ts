export { Credentials, type IssuedCredentials } from "./credentials.ts";
export { type RelayDenial, RelayPolicy, type TurnOwner } from "./relay-policy.ts";
export { Rendezvous, type RendezvousOutput } from "./rendezvous.ts";
export { TurnServer, type TurnServerOptions, type TurnStats } from "./turn-server.ts";
