export { type ConnectorValues, connector, type StartEndpoint } from "./connector.ts";
export { makeProgram } from "./program.ts";
export { type ServiceRequest, Services } from "./services.ts";
