export { type ConnectorValues, connector, type StartEndpoint } from "./connector.ts";
export { makeProgram } from "./program.ts";
export { type Dialing, type ServiceRequest, Services } from "./services.ts";
