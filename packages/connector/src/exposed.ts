import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { closest, serviceName } from "@adit/program";

/** Which services the connector of a state directory exposed when it last ran, for who makes tickets there: a name a line. */
const FILE = "exposed";

/** Notes the services. Without the note nobody is warned; it is nothing to fail for. */
export function noteExposed(stateDir: string, services: readonly string[]): void {
  try {
    writeFileSync(join(stateDir, FILE), services.map((service) => `${service}\n`).join(""), { mode: 0o600 });
  } catch {
    // a state directory that can only be read
  }
}

/** A sentence for each service that was not exposed when the connector last ran; none where it has not run yet. */
export function warnOfUnexposed(stateDir: string, services: readonly string[]): readonly string[] {
  const exposed = readExposed(stateDir);
  if (exposed.length === 0) return [];
  return services
    .filter((service) => !exposed.includes(service))
    .map((service) => {
      const near = closest(service, exposed);
      const hint = near === null ? "" : ` (did you mean ${near}?)`;
      return `the connector exposed no "${service}" when it last ran, but ${exposed.join(", ")}${hint}; this ticket opens it once there is --expose ${service}=...`;
    });
}

function readExposed(stateDir: string): readonly string[] {
  try {
    const lines = readFileSync(join(stateDir, FILE), "utf8").split("\n");
    return lines.filter((line) => serviceName.parse(line) !== null);
  } catch {
    return [];
  }
}
