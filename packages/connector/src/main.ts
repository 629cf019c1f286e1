import { runProgram } from "@adit/program";
import { makeProgram } from "./program.ts";

await runProgram(
  makeProgram(async (options) => {
    const { startEndpoint } = await import("@adit/transport");
    return startEndpoint(options);
  }),
);
