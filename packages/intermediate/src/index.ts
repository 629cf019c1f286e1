export { Credentials, type CredentialsOptions, type IssuedCredentials } from "./credentials.ts";
export { makeProgram } from "./program.ts";
export { type RelayDenial, RelayPolicy, type RelayPolicyOptions, type TurnOwner } from "./relay-policy.ts";
export { Rendezvous, type RendezvousOptions, type RendezvousOutput } from "./rendezvous.ts";
export { Intermediate, type IntermediateOptions } from "./server.ts";
export type { IntermediateStatus } from "./status.ts";
export { TurnServer, type TurnServerOptions, type TurnStats } from "./turn-server.ts";
